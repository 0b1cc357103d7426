"""Keeps a streamed answer alive while its upstream is silent."""

import asyncio
from collections.abc import Callable
from typing import Final

from trunkline.exchange import Exchange

PING: Final = b": ping\n\n"
"""A comment: the only sort of keep-alive that no official client trips over."""


class Heartbeat:
    """Starts the answer when its status can be held back no longer, then pings through silence.

    One lazy timer: a write only notes the time. Clients that parse every line break on
    comments, so none is sent while data flows (docs/contract.md, Streams).

    Args:
        exchange: the streamed exchange.
        start: decides status and headers; called once, if content has not come by ``hold_s``.
        hold_s: how long the status is held back for the first content.
        every_s: silence after which a comment is sent.

    Attributes:
        written_s: when the newest piece was written (loop time); who knows the time sets it.
    """

    __slots__ = ("_every_s", "_exchange", "_loop", "_start", "_timer", "written_s")

    def __init__(
        self, exchange: Exchange, start: Callable[[], None], hold_s: float, every_s: float
    ) -> None:
        self._exchange = exchange
        self._start = start
        self._every_s = every_s
        self._loop = asyncio.get_running_loop()
        self.written_s = 0.0
        self._timer = self._loop.call_later(hold_s, self._hold_over)

    def note_write(self) -> None:
        """Silence begins anew."""
        self.written_s = self._loop.time()

    def stop(self) -> None:
        """No more comments."""
        self._timer.cancel()

    def _hold_over(self) -> None:
        if not self._exchange.started:
            self._start()
            self._ping()
        self._arm()

    def _ping(self) -> None:
        if not self._exchange.paused:
            self._exchange.write(PING)
        self.note_write()

    def _arm(self) -> None:
        self._timer = self._loop.call_at(self.written_s + self._every_s, self._beat)

    def _beat(self) -> None:
        if self._loop.time() - self.written_s >= self._every_s:
            self._ping()
        self._arm()
