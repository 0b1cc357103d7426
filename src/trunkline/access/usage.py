"""When a key was last used, written to the store now and then, never while a call waits."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

_EVERY_US: Final = 60_000_000
_SIZE: Final = 10_000

_log = logging.getLogger(__name__)


class LastUse:
    """Notes which keys are in use and writes it in batches, at most once a minute a key.

    Args:
        write: writes one time (microseconds since 1970, UTC) for many key ids; runs in a thread.
    """

    def __init__(self, write: Callable[[Sequence[str], int], None]) -> None:
        self._write = write
        self._noted: dict[str, int] = {}
        self._due: dict[str, int] = {}
        self._writer: asyncio.Task[None] | None = None

    def note(self, key_id: str, now_us: int, written_us: int | None) -> None:
        """Note that a key is in use; ``written_us`` is what the store says about it so far."""
        if now_us - max(written_us or 0, self._noted.get(key_id, 0)) < _EVERY_US:
            return
        if len(self._noted) >= _SIZE:
            self._noted.clear()  # costs at most one early write a key
        self._noted[key_id] = self._due[key_id] = now_us
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_due())

    async def close(self) -> None:
        """Wait until everything noted is written."""
        if self._writer is not None:
            await asyncio.wait((self._writer,))

    async def _write_due(self) -> None:
        while self._due:
            due, self._due = self._due, {}
            try:
                await asyncio.to_thread(self._write, [*due], max(due.values()))
            except Exception as error:  # noqa: BLE001 - a note for people; no call depends on it
                _log.warning("when keys were last used could not be written", exc_info=error)
