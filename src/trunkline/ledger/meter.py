"""Reads off what an attempt used, and who says so. Pure."""

from collections.abc import Sequence
from typing import Final

import msgspec

from trunkline.call import Reading
from trunkline.events import Usage
from trunkline.ledger.entry import NO_TOKENS, Tokens, UsageSource

BYTES_PER_TOKEN: Final = 4
"""The rule of thumb for text that nobody counted: English runs at about four bytes a token."""


def read_usage(usage: Usage) -> Tokens:
    """A provider's usage as tokens by kind."""
    heard = usage.prompt_tokens_details
    said = usage.completion_tokens_details
    if heard is None and said is None:
        return Tokens(usage.prompt_tokens, usage.completion_tokens)
    return Tokens(
        usage.prompt_tokens,
        usage.completion_tokens,
        (heard and heard.cached_tokens) or 0,
        (heard and heard.cache_write_tokens) or 0,  # UNSET is false too
        (said and said.reasoning_tokens) or 0,
        (heard and heard.audio_tokens) or 0,
        (said and said.audio_tokens) or 0,
    )


def measure(
    readings: Sequence[Reading], request_bytes: int, *, complete: bool, sent: int
) -> tuple[Tokens, UsageSource]:
    """What an attempt used, and the weakest source of it.

    Args:
        readings: one of each reply, several where alternatives were asked for one by one.
        request_bytes: the size of the client's request, for an estimate of the input.
        complete: the answer came whole. A provider's count in an answer that did not is its
            count so far: right for what had passed, and called ``counted``; but some count when
            they begin and again at the end, and then more pieces have passed than they said.
        sent: how many requests had gone out and were not refused: where one of them has no reply
            yet, its input was probably read.
    """
    if complete and len(readings) == 1 == sent:
        usage = readings[0].usage
        if usage is not None:
            return read_usage(usage), "provider"
    total: tuple[Tokens, UsageSource] | None = None
    for reading in readings:
        usage = reading.usage
        counted = usage or reading.counted
        part: tuple[Tokens, UsageSource]
        if usage is not None and complete:
            part = read_usage(usage), "provider"
        elif counted is not None and (usage is None or counted.completion_tokens >= reading.pieces):
            part = read_usage(counted), "counted"
        elif counted is not None:
            part = msgspec.structs.replace(read_usage(counted), output=reading.pieces), "estimated"
        else:
            part = Tokens(request_bytes // BYTES_PER_TOKEN, reading.pieces), "estimated"
        if total is None:
            total = part
        else:
            total = add_tokens(total[0], part[0]), weaken(total[1], part[1])
    for _ in range(sent - len(readings)):
        unheard = Tokens(request_bytes // BYTES_PER_TOKEN)
        total = (add_tokens(total[0], unheard) if total else unheard), "estimated"
    return total or (NO_TOKENS, "none")


def add_tokens(one: Tokens, other: Tokens) -> Tokens:
    """The sum, kind by kind."""
    return Tokens(
        one.input + other.input,
        one.output + other.output,
        one.cached + other.cached,
        one.cache_write + other.cache_write,
        one.reasoning + other.reasoning,
        one.audio_input + other.audio_input,
        one.audio_output + other.audio_output,
    )


_STRENGTH: Final[tuple[UsageSource, ...]] = ("none", "estimated", "counted", "provider")


def weaken(one: UsageSource, other: UsageSource) -> UsageSource:
    """The weaker of two sources."""
    return min(one, other, key=_STRENGTH.index)
