"""Runs a handler's coroutine in place: at once, and on again the moment its wait is over.

An ``asyncio.Task`` takes a turn of the event loop for its first step and another for every wake.
An errand takes its steps inside the callback that brings the data (docs/decisions/0008).
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any


class Signal:
    """What an errand waits for: one waiter, resumed inside ``set_result``.

    Shaped like the part of ``asyncio.Future`` that a protocol needs of a waiter.
    """

    __slots__ = ("_is_set", "resume")

    def __init__(self) -> None:
        self._is_set = False
        self.resume: Callable[[], None] | None = None

    def done(self) -> bool:
        """Whether the wait is over."""
        return self._is_set

    def set_result(self, _result: None) -> None:
        """End the wait; call it last, for the waiter runs on in here."""
        self._is_set = True
        resume, self.resume = self.resume, None
        if resume is not None:
            resume()

    def __await__(self) -> Generator["Signal", None, None]:
        if not self._is_set:
            yield self


def make_waiter(loop: asyncio.AbstractEventLoop) -> "Signal | asyncio.Future[None]":
    """What the running coroutine can await: a signal in an errand, a future in a task."""
    return Signal() if asyncio.current_task(loop) is None else loop.create_future()


class Errand:
    """A coroutine that is run in place; ``cancel`` works as a task's does.

    Inside, ``asyncio.current_task()`` is None: what needs a task (``asyncio.timeout``, task
    groups) must be given one of its own.

    Args:
        loop: the running loop.
        coroutine: what to run; it handles its own errors, save ``CancelledError``.
        on_end: called once, when the coroutine has ended.
    """

    __slots__ = ("_coroutine", "_is_cancelling", "_is_done", "_loop", "_on_end", "_waits_for")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, None],
        on_end: Callable[["Errand"], None],
    ) -> None:
        self._loop = loop
        self._coroutine = coroutine
        self._on_end = on_end
        self._waits_for: Signal | asyncio.Future[Any] | None = None
        self._is_cancelling = False
        self._is_done = False

    def step(self) -> None:
        """Run to the next wait, or to the end."""
        self._go(self._coroutine.send, None)

    def _wake(self, waited_for: object) -> None:
        """A future is done; where the errand was cancelled that very moment, nobody waits."""
        if waited_for is self._waits_for:
            self.step()

    def cancel(self, msg: object = None) -> bool:
        """Throw ``CancelledError`` into the coroutine in the loop's next turn."""
        if self._is_done or self._is_cancelling:
            return False
        self._is_cancelling = True
        self._loop.call_soon(self._throw, msg)
        return True

    def _throw(self, msg: object) -> None:
        if self._is_done:
            return
        waits_for = self._waits_for
        if isinstance(waits_for, Signal):
            waits_for.resume = None
        elif waits_for is not None:
            waits_for.remove_done_callback(self._wake)
            waits_for.cancel()
        self._is_cancelling = False
        self._go(self._coroutine.throw, asyncio.CancelledError(*([msg] if msg else [])))

    def _go(self, move: Callable[[Any], Any], value: Any) -> None:
        self._waits_for = None
        try:
            waits_for = move(value)
        except (StopIteration, asyncio.CancelledError):
            self._end()
        except (KeyboardInterrupt, SystemExit):
            self._end()
            raise
        except BaseException as error:  # noqa: BLE001 - as for a task: the loop tells of it
            self._end()
            self._loop.call_exception_handler(
                {"message": "a handler failed outside its own guard", "exception": error}
            )
        else:
            self._waits_for = waits_for
            if type(waits_for) is Signal:
                waits_for.resume = self.step
            elif waits_for is None:  # a bare yield: asyncio.sleep(0)
                self._loop.call_soon(self.step)
            else:
                waits_for._asyncio_future_blocking = False  # noqa: SLF001 - the protocol of await
                waits_for.add_done_callback(self._wake)

    def _end(self) -> None:
        self._is_done = True
        self._on_end(self)
