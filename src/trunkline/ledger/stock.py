"""The segments of a journal: made ahead of need, in a thread, and removed when done with."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from trunkline.ledger.segment import Segment, create_segment, find_path

RETRY_S: Final = 1.0

_log = logging.getLogger(__name__)


class Stock:
    """Makes and removes the segments of one journal; used by one thread only.

    Its own thread lives as long as it takes to make one segment. ``trouble`` says why none could
    be made, or is None; a full disk, a quota and a limit on the size of files are alike.

    Args:
        directory: the journal's folder.
        segment_bytes: the size of each.
        clock: seconds, for the time between two tries.
    """

    def __init__(self, directory: Path, segment_bytes: int, clock: Callable[[], float]) -> None:
        self.trouble: str | None = None
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._clock = clock
        self._made: deque[Segment] = deque()
        self._next = 1
        self._oldest = 1
        self._retry_at_s = 0.0
        self._thread: threading.Thread | None = None

    def take(self) -> Segment | None:
        """A segment that is ready, or None; they come in order."""
        return self._made.popleft() if self._made else None

    def order(self, floor: int) -> None:
        """Have one more segment made in the thread, and those before ``floor`` removed.

        Does nothing while an order is being worked on, and for a while after one has failed.
        """
        if self._is_busy() or self._clock() < self._retry_at_s:
            return
        self._thread = None
        thread = threading.Thread(target=self._work, args=(floor,), name="journal", daemon=True)
        with suppress(RuntimeError):  # no threads to be had, or the process ends
            thread.start()
            self._thread = thread

    def wait(self, floor: int) -> None:
        """Wait until what was ordered last is there; if nothing was, make one now.

        A try that failed a moment ago is not repeated.
        """
        if self._thread is not None:
            self.finish()
        elif self._clock() >= self._retry_at_s:
            self._work(floor)

    def finish(self) -> None:
        """Wait for the thread."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _work(self, floor: int) -> None:
        try:
            self._remove(floor)
            segment = create_segment(self._directory, self._next, self._segment_bytes)
        except OSError as error:
            self._retry_at_s = self._clock() + RETRY_S
            if self.trouble is None:
                _log.warning("no room for the ledger's journal in %s: %s", self._directory, error)
            self.trouble = f"no room for the ledger's journal: {error.strerror or error}"
            return
        self._next += 1
        self._made.append(segment)
        if self.trouble is not None:
            _log.warning("there is room for the ledger's journal again")
        self.trouble = None

    def _remove(self, floor: int) -> None:
        while self._oldest < floor:
            find_path(self._directory, self._oldest).unlink(missing_ok=True)
            self._oldest += 1
