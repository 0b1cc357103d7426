"""Small writes leave at the end of a turn of the loop, in their order; large ones at once."""

import asyncio
from typing import Any

from trunkline.outbox import LARGE_BYTES, Outbox


class Wire(asyncio.Transport):
    """Notes what is written, by whom."""

    def __init__(self, name: str, written: list[tuple[str, bytes]]) -> None:
        super().__init__()
        self.is_closed = False
        self.breaks = False
        self._name = name
        self._written = written

    def write(self, data: Any) -> None:
        if self.breaks or self.is_closed:
            raise OSError("broken")
        self._written.append((self._name, data))

    def is_closing(self) -> bool:
        return self.is_closed


async def test_what_is_sent_in_a_turn_leaves_behind_it_in_order() -> None:
    written: list[tuple[str, bytes]] = []
    one, two = Wire("one", written), Wire("two", written)
    outbox = Outbox()
    outbox.send(one, b"1")
    outbox.send(two, b"2")
    outbox.send(one, b"3")
    assert written == []
    await asyncio.sleep(0)
    assert written == [("one", b"1"), ("two", b"2"), ("one", b"3")]
    outbox.send(two, b"4")
    await asyncio.sleep(0)
    assert written[3:] == [("two", b"4")]


async def test_a_flush_leaves_nothing_for_the_end_of_the_turn() -> None:
    written: list[tuple[str, bytes]] = []
    outbox = Outbox()
    outbox.send(Wire("one", written), b"1")
    outbox.flush()
    assert written == [("one", b"1")]
    await asyncio.sleep(0)
    assert written == [("one", b"1")]


async def test_what_is_large_leaves_at_once_and_behind_what_was_there() -> None:
    written: list[tuple[str, bytes]] = []
    wire = Wire("one", written)
    outbox = Outbox()
    outbox.send(wire, b"small")
    outbox.send(wire, b"x" * (LARGE_BYTES + 1))
    assert [data[:5] for _, data in written] == [b"small", b"xxxxx"]


async def test_who_was_closed_or_breaks_keeps_nothing_from_the_others() -> None:
    written: list[tuple[str, bytes]] = []
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    closed, broken, well = Wire("closed", written), Wire("broken", written), Wire("well", written)
    outbox = Outbox()
    for wire in (closed, broken, well):
        outbox.send(wire, b"data")
    closed.is_closed = broken.breaks = True
    await asyncio.sleep(0)
    assert written == [("well", b"data")]
    assert [context["transport"] for context in told] == [broken]
