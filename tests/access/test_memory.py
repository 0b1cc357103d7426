"""Remembered answers: fresh, honoured, bounded, and asked for once."""

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence

import pytest

from access.clock import Clock
from trunkline.access.memory import Freshness, Memory, UnreachableError

FRESHNESS = Freshness(fresh_s=5, honoured_s=60, look_up_s=30, retry_s=1, size=3)


class Source:
    """A store of names: answers, fails, or hangs, as it is told."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.asked: list[list[str]] = []
        self.fails = False
        self.began = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def __call__(self, names: Sequence[str]) -> Mapping[str, str]:
        self.asked.append(list(names))
        self.began.set()
        self.open.wait()
        if self.fails:
            raise OSError("the database is gone")
        return {name: self.answers[name] for name in names if name in self.answers}


def make_memory(source: Source, freshness: Freshness = FRESHNESS) -> tuple[Memory[str, str], Clock]:
    clock = Clock()
    return Memory[str, str](source, freshness, clock), clock


async def test_an_answer_is_fresh_for_as_long_as_said() -> None:
    source = Source(a="1")
    memory, clock = make_memory(source)
    assert memory.peek("a") is None
    assert await memory.find("a") == "1"
    source.answers["a"] = "2"
    clock.now_s += 4.9
    assert (memory.peek("a"), await memory.find("a")) == ("1", "1")
    clock.now_s += 0.1
    assert memory.peek("a") is None
    assert await memory.find("a") == "2"
    assert memory.peek("a") == "2"
    assert source.asked == [["a"], ["a"]]


async def test_an_answer_in_use_is_asked_for_anew_before_it_is_too_old() -> None:
    source = Source(a="1")
    memory, clock = make_memory(source)
    await memory.find("a")
    await memory.find("x")
    source.answers["a"] = "2"
    clock.now_s += 2.5
    source.open.clear()
    assert [memory.peek("a"), await memory.find("a"), memory.peek("a")] == ["1", "1", "1"]
    assert await memory.find("x") is None  # not asked for by itself: unknown keys cost nothing
    source.open.set()
    await memory.close()
    assert memory.peek("a") == "2"
    clock.now_s += 4.9
    assert memory.peek("a") == "2"
    await memory.close()
    assert source.asked == [["a"], ["x"], ["a"], ["a"]]


async def test_nobody_waits_for_a_store_that_hung_while_answers_were_fresh() -> None:
    source = Source(a="1")
    freshness = Freshness(look_up_s=0.01, stale_s=30)
    memory, clock = make_memory(source, freshness)
    await memory.find("a")
    source.open.clear()
    clock.now_s += 2.5
    assert memory.peek("a") == "1"
    async with asyncio.timeout(20):
        while memory._retry_at_s is None:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.001)
        clock.now_s += 2.5
        assert memory.peek("a") is None
        assert await memory.find("a") == "1"
    source.open.set()
    await memory.close()


async def test_who_is_known_waits_less_for_a_store_that_hangs() -> None:
    source = Source(a="1")
    memory, clock = make_memory(source, Freshness(look_up_s=30, stale_s=0))
    await memory.find("a")
    source.open.clear()
    clock.now_s += 5
    async with asyncio.timeout(20):
        assert await memory.find("a") == "1"
    source.open.set()
    await memory.close()


async def test_freshness_counts_from_the_question() -> None:
    source = Source(a="1")
    source.open.clear()
    memory, clock = make_memory(source)
    question = asyncio.create_task(memory.find("a"))
    await asyncio.to_thread(source.began.wait)
    clock.now_s += 5  # the answer was true at some time in between
    source.open.set()
    assert await question == "1"
    assert memory.peek("a") is None


async def test_what_does_not_exist_is_remembered_too() -> None:
    source = Source()
    memory, clock = make_memory(source)
    assert await memory.find("x") is None
    assert await memory.find("x") is None
    assert len(source.asked) == 1
    source.answers["x"] = "new"
    clock.now_s += 5
    assert await memory.find("x") == "new"


async def test_a_removed_name_is_forgotten() -> None:
    source = Source(a="1")
    memory, clock = make_memory(source)
    await memory.find("a")
    del source.answers["a"]
    clock.now_s += 5
    assert await memory.find("a") is None
    assert memory.peek("a") is None


async def test_many_who_ask_at_once_cost_one_look_up_a_name() -> None:
    source = Source(a="1", b="2")
    source.open.clear()
    memory, _ = make_memory(source)
    first = asyncio.create_task(memory.find("a"))
    await asyncio.to_thread(source.began.wait)
    more = [asyncio.create_task(memory.find(name)) for name in "abbaab"]
    await asyncio.sleep(0)
    source.open.set()
    assert await first == "1"
    assert await asyncio.gather(*more) == ["1", "2", "2", "1", "1", "2"]
    assert source.asked == [["a"], ["b"]]


async def test_one_who_leaves_does_not_take_the_answer_away() -> None:
    source = Source(a="1")
    source.open.clear()
    memory, _ = make_memory(source)
    leaving, staying = (asyncio.create_task(memory.find("a")) for _ in range(2))
    await asyncio.to_thread(source.began.wait)
    leaving.cancel()
    source.open.set()
    assert await staying == "1"
    assert leaving.cancelled()


async def test_unknown_names_push_out_only_each_other() -> None:
    source = Source(a="1")
    memory, _ = make_memory(source)
    await memory.find("a")
    for number in range(10):
        await memory.find(f"unknown {number}")
    assert memory.peek("a") == "1"
    assert (len(memory._known), len(memory._unknown)) == (1, 3)


async def test_the_oldest_answer_goes_first() -> None:
    source = Source(**dict.fromkeys("abcd", "1"))
    memory, clock = make_memory(source)
    for name in "abc":
        await memory.find(name)
    clock.now_s += 5
    await memory.find("a")  # asked for again, so it is the newest now
    await memory.find("d")
    assert set(memory._known) == {"c", "a", "d"}


async def test_while_the_store_fails_the_last_answers_are_honoured(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Source(a="1")
    memory, clock = make_memory(source)
    await memory.find("a")
    await memory.find("x")
    source.fails = True
    for _ in range(11):
        clock.now_s += 5
        assert await memory.find("a") == "1"
        assert await memory.find("x") is None
    clock.now_s += 4.9
    assert await memory.find("a") == "1"
    clock.now_s += 0.1  # now 60 s old
    with pytest.raises(UnreachableError):
        await memory.find("a")
    with pytest.raises(UnreachableError):
        await memory.find("never asked before")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    await memory.close()


async def test_a_failing_store_is_asked_once_in_a_while() -> None:
    source = Source(a="1")
    memory, clock = make_memory(source)
    await memory.find("a")
    source.fails = True
    clock.now_s += 5
    for _ in range(20):
        assert await memory.find("a") == "1"
    assert len(source.asked) == 2
    clock.now_s += 1
    for _ in range(20):
        assert await memory.find("a") == "1"
    await memory.close()
    assert len(source.asked) == 3


async def test_a_store_that_is_back_counts_again() -> None:
    source = Source(a="1")
    memory, clock = make_memory(source)
    await memory.find("a")
    source.fails = True
    clock.now_s += 5
    await memory.find("a")
    source.fails = False
    source.answers["a"] = "2"
    clock.now_s += 1
    assert await memory.find("a") == "1"  # nobody waits; the look-up is under way
    await memory.close()
    assert memory.peek("a") == "2"


async def test_a_store_that_hangs_counts_as_failing() -> None:
    source = Source(a="1")
    memory, clock = make_memory(source, Freshness(look_up_s=0, size=3))
    with pytest.raises(UnreachableError):
        await memory.find("a")
    await memory.close()
    assert await memory.find("a") == "1"
    clock.now_s += 5
    source.open.clear()
    assert await memory.find("a") == "1"
    with pytest.raises(UnreachableError):
        await memory.find("b")
    source.open.set()
    await memory.close()


async def test_a_store_that_hangs_does_not_collect_questions_without_end() -> None:
    source = Source()
    source.open.clear()
    memory, _ = make_memory(source, Freshness(look_up_s=0, size=3))
    for number in range(10):
        with pytest.raises(UnreachableError):
            await memory.find(str(number))
    assert len(memory._asked) == 3
    source.open.set()
    await memory.close()
    assert len(memory._asked) == 0
