"""Which targets of a route can go on with an answer that broke, and how they are asked to."""

from collections.abc import Iterator

import msgspec

from trunkline.chat import TextRequest
from trunkline.errors import GatewayError
from trunkline.routing.ask import Ask, Fitted, Request
from trunkline.routing.fit import ClientFormat, is_raw
from trunkline.routing.table import Route, Target
from trunkline.wire.anthropic_model import read_model
from trunkline.wire.continuation import Way, asks_for_thoughts
from trunkline.wire.splice import ContinuedPair
from trunkline.wire.transcript import RecordedPair, Said

_LAST_CLAUDE = (4, 5)
"""Newer Claudes answer 400 to a last message of the assistant ("What's new in Claude 4.6",
Prefill removal, read 2026-11-22)."""


def find_way(request: Request, route: Route, target: Target) -> Way | None:
    """How a target is asked to go on with an answer; None where it cannot."""
    row = target.row
    if isinstance(request, TextRequest) and is_raw(route, target):
        return "prompt"
    if row.prefill == "none" or asks_for_thoughts(request):
        return None
    if row.wire in ("anthropic", "bedrock"):
        claude = read_model(target.model)
        takes = claude.version <= _LAST_CLAUDE and (claude.is_claude or row.wire == "anthropic")
        way: Way = "blocks" if row.wire == "bedrock" else "assistant"
        return way if takes else None
    if row.wire != "openai" or route.columns.reasoning:
        return None
    return row.prefill


def list_able(request: Request, route: Route, broken: str) -> Iterator[Target]:
    """The targets that can go on, the one whose label is ``broken`` last."""
    able = [each for each in route.targets if not each.on and find_way(request, route, each)]
    yield from (each for each in able if each.label != broken)
    yield from (each for each in able if each.label == broken)


def record_streams(form: ClientFormat) -> ClientFormat:
    """The same format, its streams kept along."""

    def fit(request: Request, route: Route, target: Target, ask: Ask) -> Fitted:
        return _record(form.fit(request, route, target, ask))

    return msgspec.structs.replace(form, fit=fit)


def continue_streams(form: ClientFormat, said: Said) -> ClientFormat:
    """The same format for what is left of an answer; the changes say that it is continued."""

    def fit(request: Request, route: Route, target: Target, ask: Ask) -> Fitted:
        fitted = form.fit(request, route, target, ask)
        way = find_way(request, route, target)
        if way is None or len(fitted.pairs) != 1:
            raise GatewayError("invalid_request", "This target cannot go on with an answer.")
        ask.changes.note(f"resumed:{target.label}")
        return _record(Fitted((ContinuedPair(fitted.pairs[0], way, said),)))

    return msgspec.structs.replace(form, fit=fit)


def _record(fitted: Fitted) -> Fitted:
    if len(fitted.pairs) != 1:
        return fitted
    return Fitted((RecordedPair(fitted.pairs[0]),))
