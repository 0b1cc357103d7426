"""Single calls as ``trunkline usage`` shows them: a list of them, and one with its attempts."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from trunkline.cli.table import format_time
from trunkline.ledger.sheet import (
    align_cells,
    count_places,
    format_usd,
    show_text,
    write_cells,
    write_usd,
)
from trunkline.store.posting import AttemptRow, EntryRow, Posting

Form = Literal["table", "json", "csv"]

_TOKENS: Final = tuple(name for name in EntryRow.__struct_fields__ if name.endswith("_tokens"))
_RARE: Final = _TOKENS[2:]
_FIELDS: Final = ("id", "at", *EntryRow.__struct_fields__[1:], "cost_usd")
_HIDDEN: Final = ("at_us", "cost_micros")
_HEAD: Final = ("id", "time", "account", "key", "model", "target", "status", "source")
_NUMBERS: Final = ("input", "output", "cost")


def write_calls(calls: Sequence[EntryRow], form: Form) -> str:
    """Calls, in the order that they are given in."""
    if form == "json":
        rows = [_describe_call(call) for call in calls]
        return msgspec.json.format(msgspec.json.encode(rows)).decode() + "\n"
    if form == "csv":
        return write_cells(_FIELDS, ([*_describe_call(call).values()] for call in calls))
    return "\n".join(_list_lines(calls)) + "\n" if calls else "No calls.\n"


def write_call(found: Posting, form: Form) -> str:
    """One call and its attempts, as lines for people or as JSON."""
    call = _describe_call(found.entry)
    attempts = [_describe_attempt(attempt) for attempt in found.attempts]
    if form == "json":
        call["attempts"] = attempts
        return msgspec.json.format(msgspec.json.encode(call)).decode() + "\n"
    lines = _describe_lines(call)
    for attempt in attempts:
        lines += ["", f"attempt {attempt.pop('number')}", *_describe_lines(attempt)]
    return "\n".join(lines) + "\n"


def _list_lines(calls: Sequence[EntryRow]) -> list[str]:
    places = count_places(call.cost_micros or 0 for call in calls)
    rows = []
    for call in calls:
        priced = call.cost_micros is not None
        texts = (
            call.id,
            format_time(call.at_us) or "",
            call.account_id,
            call.key_id,
            call.model,
            call.target,
            f"{call.status} {call.code}".strip(),
            call.usage_source,
        )
        cost = format_usd(call.cost_micros or 0, places) if priced else ""
        numbers = (f"{call.input_tokens:,}", f"{call.output_tokens:,}", cost)
        rows.append([text or "-" for text in (*texts, *numbers)])
    head = [word.upper() for word in (*_HEAD, *_NUMBERS)]
    return [*align_cells(head, rows, len(_HEAD))]


def _describe_call(call: EntryRow) -> dict[str, Any]:
    fields = msgspec.structs.asdict(call)
    return {"id": fields.pop("id"), "at": format_time(call.at_us), **fields, **_add_usd(call)}


def _describe_attempt(attempt: AttemptRow) -> dict[str, Any]:
    fields = msgspec.structs.asdict(attempt)
    del fields["entry_id"]
    return {**fields, **_add_usd(attempt)}


def _add_usd(row: EntryRow | AttemptRow) -> dict[str, str | None]:
    return {"cost_usd": None if row.cost_micros is None else write_usd(row.cost_micros)}


def _describe_lines(fields: dict[str, Any]) -> list[str]:
    """A line a field; tokens of kinds that were not used are left out."""
    shown = {
        name: value
        for name, value in fields.items()
        if name not in _HIDDEN and (value or name not in _RARE)
    }
    width = max(map(len, shown)) + 2
    return [f"{name.ljust(width)}{_show(name, value)}" for name, value in shown.items()]


def _show(name: str, value: Any) -> str:
    if value is None or value == "":
        return "no price" if name == "cost_usd" else "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else show_text(value)
