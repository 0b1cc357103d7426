"""Lets go of a client that takes nothing of what it is sent."""

import asyncio
from typing import Final

PATIENCE_S: Final = 60.0
"""How long a client may take nothing, where its route says nothing else."""


class Stall:
    """Watches what is left to send on a connection, and drops it when nothing of it leaves.

    Closing would not do: that sends what is left first. Reset, the connection and the bytes that
    wait on it are gone at once. Watches only while somebody waits for the client.

    Args:
        loop: the loop of the connection.
        transport: the connection.
    """

    __slots__ = ("_left_bytes", "_loop", "_timer", "_transport", "_within_s")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self._loop = loop
        self._transport = transport
        self._timer: asyncio.TimerHandle | None = None
        self._within_s = 0.0
        self._left_bytes = 0

    def start(self, within_s: float) -> None:
        """Drop the client if it takes nothing for ``within_s``, now or later on."""
        self.stop()
        self._within_s = within_s
        self._left_bytes = self._transport.get_write_buffer_size()
        self._timer = self._loop.call_later(within_s, self._look)

    def stop(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        left_bytes = self._transport.get_write_buffer_size()
        if left_bytes and left_bytes >= self._left_bytes:
            self._transport.abort()
        elif left_bytes:
            self.start(self._within_s)
