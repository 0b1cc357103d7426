"""Runs a handler's coroutine in place: at once, and on again the moment its wait is over.

An ``asyncio.Task`` takes a turn of the event loop for its first step and another for every wake.
An errand takes its steps inside the callback that brings the data (docs/decisions/0008).
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from functools import partial
from typing import Any

import msgspec


class Signal(msgspec.Struct, eq=False):
    """What an errand or a task waits for: one waiter.

    An errand is resumed inside ``set_result``, a task in the loop's next turn: to a task it is a
    future, as far as a task asks.

    Args:
        loop: the running loop.
    """

    _loop: asyncio.AbstractEventLoop
    resume: Callable[[], object] | None = None
    _is_set: bool = False
    _is_cancelled: bool = False

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

    # What asyncio's tasks ask of what they wait for.

    @property
    def _asyncio_future_blocking(self) -> bool:
        return True

    @_asyncio_future_blocking.setter
    def _asyncio_future_blocking(self, _value: bool) -> None:
        """Nothing is kept: it is yielded by its own ``__await__`` alone."""

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """See ``asyncio.Future``."""
        return self._loop

    def add_done_callback(self, call: Callable[["Signal"], object], *, context: Context) -> None:
        """See ``asyncio.Future``."""
        self.resume = partial(self._loop.call_soon, call, self, context=context)

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002 - as a future's
        """See ``asyncio.Future``."""
        if self._is_set:
            return False
        self._is_cancelled = True
        self.set_result(None)
        return True

    def result(self) -> None:
        """See ``asyncio.Future``."""
        if self._is_cancelled:
            raise asyncio.CancelledError


class Errand(msgspec.Struct, eq=False):
    """A coroutine that is run in place; ``cancel`` works as a task's does.

    Inside, ``asyncio.current_task()`` is None: what needs a task (``asyncio.timeout``, task
    groups) must be given one of its own.

    Args:
        loop: the running loop.
        coroutine: what to run; it handles its own errors, save ``CancelledError``.
        on_end: called once, when the coroutine has ended.
    """

    _loop: asyncio.AbstractEventLoop
    _coroutine: Coroutine[Any, Any, None]
    _on_end: Callable[["Errand"], None]
    _waits_for: Signal | asyncio.Future[Any] | None = None
    _is_cancelling: bool = False
    _is_done: bool = False

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
        self._waits_for = None  # its end may be on its way to ``_wake`` already
        self._is_cancelling = False
        self._go(self._coroutine.throw, asyncio.CancelledError(*([msg] if msg else [])))

    def _go(self, move: Callable[[Any], Any], value: Any) -> None:
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
