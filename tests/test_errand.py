"""Errands run a coroutine in place, wait for signals and futures alike, and can be cancelled."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest

from trunkline.errand import Errand, Signal


def start(coroutine: Coroutine[Any, Any, None]) -> tuple[Errand, list[Errand]]:
    ended: list[Errand] = []
    errand = Errand(asyncio.get_running_loop(), coroutine, ended.append)
    errand.step()
    return errand, ended


async def test_it_runs_to_the_end_at_once() -> None:
    said: list[str] = []

    async def work() -> None:
        said.append("done")

    errand, ended = start(work())
    assert said == ["done"]
    assert ended == [errand]
    assert errand.cancel() is False


async def test_a_signal_resumes_it_inside_set_result() -> None:
    said: list[str] = []
    waiter = None

    async def work() -> None:
        nonlocal waiter
        waiter = Signal(asyncio.get_running_loop())
        await waiter
        said.append("resumed")

    ended: list[Errand] = []
    loop = asyncio.get_running_loop()
    loop.call_soon(Errand(loop, work(), ended.append).step)  # in a callback, as protocols do
    await asyncio.sleep(0)
    assert isinstance(waiter, Signal)
    assert not waiter.done()
    waiter.set_result(None)
    assert said == ["resumed"]
    assert waiter.done()
    assert len(ended) == 1


async def test_a_signal_that_is_set_is_not_waited_for() -> None:
    async def work() -> None:
        signal = Signal(asyncio.get_running_loop())
        signal.set_result(None)
        await signal

    _, ended = start(work())
    assert len(ended) == 1


async def test_a_task_waits_for_a_signal_as_for_a_future() -> None:
    loop = asyncio.get_running_loop()
    place = ContextVar("place", default="outside")
    said: list[str] = []

    async def work(signal: Signal) -> None:
        place.set("inside")
        await signal
        said.append(place.get())

    signal = Signal(loop)
    task = loop.create_task(work(signal))
    await asyncio.sleep(0)
    signal.set_result(None)
    assert said == []  # not in here: a task takes its steps in turns of the loop
    await task
    assert said == ["inside"]


async def test_a_task_that_waits_for_a_signal_can_be_cancelled() -> None:
    loop = asyncio.get_running_loop()
    signal = Signal(loop)

    async def work() -> None:
        await signal

    task = loop.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert signal.done()
    assert signal.cancel() is False


async def test_a_task_may_bound_its_wait_for_a_signal() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await Signal(asyncio.get_running_loop())


@pytest.mark.parametrize(
    "wait",
    [
        lambda: asyncio.sleep(0),
        lambda: asyncio.sleep(0.001),
        lambda: asyncio.to_thread(int),
        lambda: asyncio.get_running_loop().create_task(asyncio.sleep(0)),
        lambda: asyncio.wait([asyncio.get_running_loop().create_task(asyncio.sleep(0))]),
        lambda: asyncio.Event().wait(),
    ],
    ids=["bare-yield", "timer", "thread", "task", "wait", "event"],
)
async def test_it_waits_for_whatever_asyncio_has(wait: Callable[[], Any]) -> None:
    ended = asyncio.Event()

    async def work() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(wait(), 0.05)

    errand = Errand(asyncio.get_running_loop(), work(), lambda _: ended.set())
    errand.step()
    async with asyncio.timeout(10):
        await ended.wait()


@pytest.mark.parametrize("kind", ["signal", "future", "task"])
async def test_cancelling_throws_where_it_waits(kind: str) -> None:
    loop = asyncio.get_running_loop()
    said: list[str] = []
    inner = loop.create_task(asyncio.Event().wait()) if kind == "task" else None

    async def work() -> None:
        try:
            if kind == "signal":
                await Signal(asyncio.get_running_loop())
            elif inner is not None:
                await inner
            else:
                await loop.create_future()
        except asyncio.CancelledError as error:
            said.append(str(error))
            raise

    errand, ended = start(work())
    assert errand.cancel(msg="enough") is True
    assert errand.cancel() is False  # once is enough
    assert said == []  # never inside the call: it may come from the errand itself
    await asyncio.sleep(0)
    assert said == ["enough"]
    assert ended == [errand]
    if inner is not None:
        with pytest.raises(asyncio.CancelledError):
            await inner


async def test_a_cancelled_errand_may_still_say_its_last_words() -> None:
    said: list[str] = []

    async def work() -> None:
        try:
            await Signal(asyncio.get_running_loop())
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            said.append("last words")

    errand, ended = start(work())
    errand.cancel()
    async with asyncio.timeout(10):
        while not ended:  # noqa: ASYNC110 - turns of the loop, not time
            await asyncio.sleep(0)
    assert said == ["last words"]
    assert errand.cancel() is False


async def test_what_it_fails_with_is_told_to_the_loop() -> None:
    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))

    async def work() -> None:
        raise ValueError("a bug")

    _, ended = start(work())
    assert len(ended) == 1
    assert str(told[0]["exception"]) == "a bug"
    loop.set_exception_handler(None)


async def test_a_late_signal_does_not_touch_what_was_cancelled() -> None:
    signal = Signal(asyncio.get_running_loop())

    async def work() -> None:
        await signal

    errand, ended = start(work())
    errand.cancel()
    await asyncio.sleep(0)
    assert ended == [errand]
    signal.set_result(None)
    assert signal.done()


async def test_a_cancel_wins_over_a_future_that_is_done_in_the_same_turn() -> None:
    loop = asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()
    seen: list[str] = []

    async def work() -> None:
        try:
            await first
        except asyncio.CancelledError:
            seen.append("cancelled")
        await second
        seen.append("second")

    errand = Errand(loop, work(), lambda _: seen.append("end"))
    errand.step()
    errand.cancel()
    first.set_result(None)
    for _ in range(5):
        await asyncio.sleep(0)
    assert seen == ["cancelled"]
    second.set_result(None)
    for _ in range(5):
        await asyncio.sleep(0)
    assert seen == ["cancelled", "second", "end"]
