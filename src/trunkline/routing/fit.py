"""Fits a request to a target: which pair of formats, and what had to change for it."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from trunkline.chat import ChatRequest, TextRequest
from trunkline.errors import GatewayError
from trunkline.routing.ask import Ask, Fitted, Request
from trunkline.routing.table import Columns, Route, Row, Target
from trunkline.routing.tapping import (
    TAPPED,
    tap_chat,
    tap_completion,
    tap_embedding,
    tap_text,
)
from trunkline.routing.translation import (
    find_format,
    translate_chat,
    translate_completion,
    translate_prompt,
)
from trunkline.wire import (
    llm_engine,
    openai_chat,
    openai_embedding,
    openai_failure,
    openai_text,
    sgp,
)
from trunkline.wire.change import Changes
from trunkline.wire.image import find_addresses, has_images
from trunkline.wire.llama_cpp_content import check_content
from trunkline.wire.template import TEMPLATES, fill_template
from trunkline.wire.upstream_failure import Said

RAW_MAX_TOKENS: Final = 100
"""SGP's own default for models that take a raw prompt; OpenAI's text API would stop at 16."""


class ClientFormat(msgspec.Struct, frozen=True):
    """One client dialect: how its body is read and how it is fitted to a target.

    ``done``: its streams end with ``[DONE]``.
    """

    name: str
    read: Callable[[bytes], Request]
    fit: Callable[[Any, Route, Target, Ask], Fitted]
    done: bool = False


def find_read_said(target: Target) -> Callable[[bytes, Mapping[bytes, bytes]], Said]:
    """The reader of a target's error answers: body and headers."""
    wire = target.row.wire
    if wire == "llm-engine":
        return llm_engine.read_said
    return openai_failure.read_said if wire in TAPPED else find_format(wire).read_said


def find_foreign_images(request: Request, route: Route, target: Target) -> list[str]:
    """Addresses of images that the target does not fetch itself: it must be given bytes.

    None for a target that takes no images: it will refuse them, so nothing is to be fetched.
    """
    if target.row.images != "data" or not _sees(request, route, target):
        return []
    return find_addresses(request)


def _sees(request: Request, route: Route, target: Target) -> bool:
    """Whether the target may be shown images with this request."""
    if _is_blind(route.columns, target.row):
        return False
    return not (isinstance(request, TextRequest) and is_raw(route, target))


def _is_blind(columns: Columns, row: Row) -> bool:
    return columns.images is False or row.images == "none"


def is_raw(route: Route, target: Target) -> bool:
    """Whether a native completion goes to the target as a raw prompt."""
    return route.columns.prompt_mode != "user_message" and "text" in target.row.serves


def _fit_completion(request: TextRequest, route: Route, target: Target, ask: Ask) -> Fitted:
    columns, changes, row = route.columns, ask.changes, target.row
    _note_stand_in(route, changes)
    if not request.tempered:
        changes.assume("temperature")
    mode = columns.prompt_mode
    raw = is_raw(route, target)
    if mode != "user_message" and not raw:
        changes.rename("prompt", "messages")
    if request.images and not _sees(request, route, target):
        raise _no_images(request.model, "images")
    if target.upstream:
        check_content(request)
    if raw and mode in TEMPLATES:
        stop = (*request.stop, *TEMPLATES[mode].stop)
        prompt = fill_template(mode, request.prompt)
        request = msgspec.structs.replace(request, prompt=prompt, stop=stop)
        changes.note(f"template:{mode}")
    request = _fit_parameters(request, columns, changes, raw=raw)
    metadata: dict[str, object] = {"model": target.model, "provider": target.provider}
    if route.stand_in:
        metadata["stand_in"] = True
    if raw and row.wire == "llm-engine":
        return translate_prompt(request, target, ask, metadata)
    if row.wire in TAPPED:
        return tap_completion(request, target, ask, metadata, raw=raw)
    return translate_completion(request, columns, target, ask, metadata)


def _fit_parameters(
    request: TextRequest, columns: Columns, changes: Changes, *, raw: bool
) -> TextRequest:
    """SGP's own defaults, and what OpenAI's reasoning models ignore at SGP."""
    more: dict[str, Any] = {}
    if raw and request.reasoning_effort is not None:
        changes.drop("reasoning_effort")
        more["reasoning_effort"] = None
    if columns.fixed_sampling:
        changes.drop("temperature")
        more["temperature"] = None
    default = columns.default_max_tokens or (RAW_MAX_TOKENS if raw else None)
    if request.max_tokens is None and default is not None:
        changes.default("max_tokens", default)
        more["max_tokens"] = default
    return msgspec.structs.replace(request, **more) if more else request


def _fit_chat(*, done: bool) -> Callable[[ChatRequest, Route, Target, Ask], Fitted]:
    def fit(request: ChatRequest, route: Route, target: Target, ask: Ask) -> Fitted:
        if route.stand_in:
            _note_stand_in(route, ask.changes)
        columns, row = route.columns, target.row
        if _is_blind(columns, row) and has_images(request):
            raise _no_images(request.model, "messages")
        if target.upstream:
            check_content(request)
        fit_wire = tap_chat if row.wire in TAPPED else translate_chat
        return fit_wire(request, columns, target, ask, done=done)

    return fit


def _fit_text(request: ChatRequest, route: Route, target: Target, ask: Ask) -> Fitted:
    _note_stand_in(route, ask.changes)
    return tap_text(request, target, ask)


def _fit_embedding(request: ChatRequest, route: Route, target: Target, ask: Ask) -> Fitted:
    _note_stand_in(route, ask.changes)
    return tap_embedding(request, target, ask)


def _note_stand_in(route: Route, changes: Changes) -> None:
    if route.stand_in:
        changes.note("stand_in")


def _no_images(model: str, param: str) -> GatewayError:
    return GatewayError("invalid_request", f"Model '{model}' takes no images.", param=param)


SGP_COMPLETION: Final = ClientFormat("sgp.completion", sgp.read_request, _fit_completion)
SGP_CHAT: Final = ClientFormat("sgp.chat", openai_chat.read_request, _fit_chat(done=False))
OPENAI_CHAT: Final = ClientFormat(
    "openai.chat", openai_chat.read_request, _fit_chat(done=True), done=True
)
OPENAI_TEXT: Final = ClientFormat("openai.text", openai_text.read_request, _fit_text, done=True)
OPENAI_EMBEDDING: Final = ClientFormat(
    "openai.embedding", openai_embedding.read_request, _fit_embedding
)
