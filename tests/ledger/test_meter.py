"""What an attempt used, and who says so."""

import msgspec
import pytest

from trunkline.events import CompletionDetails, PromptDetails, Usage
from trunkline.ledger.entry import NO_TOKENS, Tokens, UsageSource
from trunkline.ledger.meter import measure, read_usage

TOLD = Usage(7, 3, 10)
BODY_BYTES = 40


class Reply(msgspec.Struct):
    usage: Usage | None = None
    counted: Usage | None = None
    pieces: int = 0
    finish_reason: str | None = None


SILENT = Reply(pieces=2)
SPEAKING = Reply(usage=TOLD, pieces=9)
GUESS = Tokens(BODY_BYTES // 4)


@pytest.mark.parametrize(
    ("replies", "sent", "complete", "used", "source"),
    [
        ([], 0, False, NO_TOKENS, "none"),
        ([], 1, False, GUESS, "estimated"),
        ([SPEAKING], 1, True, Tokens(7, 3), "provider"),
        ([Reply(usage=TOLD, pieces=3)], 1, False, Tokens(7, 3), "counted"),
        # It counted at the beginning, and more has come since.
        ([SPEAKING], 1, False, Tokens(7, 9), "estimated"),
        ([Reply(counted=TOLD)], 1, True, Tokens(7, 3), "counted"),
        ([SILENT], 1, True, Tokens(10, 2), "estimated"),
        ([SPEAKING, SPEAKING], 2, True, Tokens(14, 6), "provider"),
        ([SPEAKING, SILENT], 2, False, Tokens(17, 11), "estimated"),
        # An alternative that has told nothing yet was served all the same.
        ([SPEAKING], 3, False, Tokens(27, 9), "estimated"),
        ([], 2, False, Tokens(20), "estimated"),
    ],
)
def test_the_weakest_source_counts(
    replies: list[Reply], sent: int, complete: bool, used: Tokens, source: UsageSource
) -> None:
    assert measure(replies, BODY_BYTES, complete=complete, sent=sent) == (used, source)


def test_tokens_by_kind() -> None:
    usage = Usage(
        100,
        50,
        150,
        PromptDetails(audio_tokens=3, cached_tokens=40, cache_write_tokens=5),
        CompletionDetails(audio_tokens=2, reasoning_tokens=20),
    )
    assert read_usage(usage) == Tokens(100, 50, 40, 5, 20, 3, 2)
    assert read_usage(TOLD) == Tokens(7, 3)
