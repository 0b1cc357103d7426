"""Sends together what was written in one turn of the event loop (docs/decisions/0015)."""

import asyncio
from typing import Final

LARGE_BYTES: Final = 16 * 1024
"""What is longer goes out at once, so that it shows at once whether its reader keeps up."""


class Outbox:
    """Keeps small writes to the end of a turn of the event loop.

    Who sends one by one wakes the other side for each, and goes through the kernel each time with
    cold caches. Whatever else is written to a transport must be behind a ``flush``.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending: list[tuple[asyncio.Transport, bytes]] = []

    def send(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write to a transport at the end of this turn, if it is open then."""
        pending = self._pending
        if not pending:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self.flush)
        pending.append((transport, data))
        if len(data) > LARGE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write all that is here now."""
        pending, self._pending = self._pending, []
        for transport, data in pending:
            try:
                transport.write(data)
            except Exception as error:  # noqa: BLE001 - of one connection; the others go on
                if self._loop is not None and not transport.is_closing():
                    told = {"message": "a write failed", "exception": error, "transport": transport}
                    self._loop.call_exception_handler(told)
