"""Last use: noted at once, written in batches, rarely."""

import logging
from collections.abc import Sequence

import pytest

from trunkline.access.usage import LastUse

MINUTE_US = 60_000_000
NOW_US = 1_800_000_000_000_000


class Pages:
    def __init__(self) -> None:
        self.written: list[tuple[list[str], int]] = []
        self.fails = False

    def write(self, key_ids: Sequence[str], now_us: int) -> None:
        self.written.append((list(key_ids), now_us))
        if self.fails:
            raise OSError("disk full")


async def test_keys_in_use_are_written_together() -> None:
    pages = Pages()
    usage = LastUse(pages.write)
    for key_id in ("a", "b", "a"):
        usage.note(key_id, NOW_US, None)
    await usage.close()
    assert pages.written == [(["a", "b"], NOW_US)]


async def test_a_key_is_written_once_a_minute() -> None:
    pages = Pages()
    usage = LastUse(pages.write)
    for second in range(125):
        usage.note("a", NOW_US + second * 1_000_000, None)
        await usage.close()
    assert [now_us - NOW_US for _, now_us in pages.written] == [0, MINUTE_US, 2 * MINUTE_US]


async def test_what_another_process_wrote_counts() -> None:
    pages = Pages()
    usage = LastUse(pages.write)
    usage.note("a", NOW_US, NOW_US - MINUTE_US + 1)
    await usage.close()
    assert pages.written == []
    usage.note("a", NOW_US, NOW_US - MINUTE_US)
    await usage.close()
    assert pages.written == [(["a"], NOW_US)]


async def test_a_failed_write_is_logged_and_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pages = Pages()
    pages.fails = True
    usage = LastUse(pages.write)
    usage.note("a", NOW_US, None)
    await usage.close()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    pages.fails = False
    usage.note("b", NOW_US, None)
    await usage.close()
    assert pages.written[-1] == (["b"], NOW_US)


async def test_what_is_noted_stays_small() -> None:
    usage = LastUse(Pages().write)
    for number in range(10_001):
        usage.note(str(number), NOW_US, None)
    assert len(usage._noted) == 1
    await usage.close()
