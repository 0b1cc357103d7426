"""Cuts what is written of a call to the room there is; its numbers stay right. Pure."""

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from trunkline.ledger.entry import Attempt, Entry, Opening, sum_attempts

TEXT_CHARS: Final = 64
CUT: Final = "…"
"""Stands at the end of a text that was cut."""
_CUT_BYTES: Final = len(CUT.encode())
_STR_BYTES: Final = 4
"""MessagePack may write the length of a text with so many bytes less where it is shorter."""

Encode = Callable[[Entry], bytes]


def trim_opening(opening: Opening) -> Opening:
    """An opening with short texts; a name of a model may be what a client made up."""
    return replace(
        opening,
        model=_trim(opening.model),
        operation=_trim(opening.operation),
        target=_trim(opening.target),
    )


def trim_entry(entry: Entry, encode: Encode, limit_bytes: int) -> bytes | None:
    """The entry in at most ``limit_bytes``; None if that cannot be.

    What goes first: the end of ``changes``; the end of every other text; and where there were many
    attempts, the single numbers of the earlier ones, of which the sum stays. Charges stay whole.
    """
    data = encode(entry)
    if len(data) > limit_bytes:
        room = len(entry.changes.encode()) - (len(data) - limit_bytes)
        entry = replace(entry, changes=_trim_bytes(entry.changes, room))
        data = encode(entry)
    if len(data) > limit_bytes:
        entry = _trim_texts(entry)
        data = encode(entry)
    while len(data) > limit_bytes and len(entry.attempts) > 1:
        entry = replace(entry, attempts=_join_first(entry.attempts))
        data = encode(entry)
    return data if len(data) <= limit_bytes else None


def _trim(text: str) -> str:
    return text if len(text) <= TEXT_CHARS else text[: TEXT_CHARS - 1] + CUT


def _trim_bytes(text: str, size: int) -> str:
    if len(text.encode()) <= size:
        return text
    keep = size - _CUT_BYTES - _STR_BYTES
    return text.encode()[:keep].decode(errors="ignore") + CUT if keep > 0 else ""


def _trim_texts(entry: Entry) -> Entry:
    attempts = (
        replace(
            attempt,
            target=_trim(attempt.target),
            code=_trim(attempt.code),
            finish_reason=_trim(attempt.finish_reason),
        )
        for attempt in entry.attempts
    )
    return replace(
        entry,
        opening=trim_opening(entry.opening),
        attempts=tuple(attempts),
        code=_trim(entry.code),
    )


def _join_first(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """The same sums with one attempt less."""
    first, second, *others = attempts
    tokens, cost_micros, source = sum_attempts((first, second))
    joined = replace(second, tokens=tokens, cost_micros=cost_micros, usage_source=source)
    return joined, *others
