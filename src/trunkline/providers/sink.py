"""Takes the body of an answer where it arrives, inside the callback of the socket."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trunkline.providers.connection import Connection

Take = Callable[[bytes], bool]
"""Takes a piece of the body; true when its own reader is slow and wants to be waited for."""

TakeChunk = Callable[[bytes, int, float], bool | None]
"""Takes a chunk with its framing: the bytes, where its data begins, when it came (loop time).

Its data ends two bytes before the end. Returns what ``Take`` does, or None, and has done nothing,
for a chunk that it does not know: that goes the long way.
"""

_LIMIT_BYTES: Final = 1024
"""Chunks of more data go the long way."""
DECLINES: Final = 16
"""Reads in a row that did not fit the short way, after which some are not offered to it."""
UNOFFERED: Final = 64
"""How many are not; then two are tried, for what a stream says may change in its middle."""
_SIZE_LINES: Final = {
    len(line) + size + 2: line for size in range(1, _LIMIT_BYTES) for line in (b"%x\r\n" % size,)
}
"""The size line of a chunk by the length of the whole chunk."""


def _decline(_chunk: bytes, _start: int, _now: float) -> None:
    """A ``TakeChunk`` that knows none."""


def _decline_read(connection: "Connection") -> bool:
    """Not the short way; where it is so again and again, the offer costs more than it gains."""
    connection.declined += 1
    if connection.declined >= DECLINES:
        connection.declined = DECLINES - 2
        connection.unoffered = UNOFFERED
    return False


class Sink:
    """Takes a body piece by piece where it arrives, without a turn of the loop for each.

    Args:
        take: takes a piece.
        take_chunk: the short way of a piece that comes as one chunk of its own, if there is one.
        idle_s: longest silence between two pieces.
        total_at: when the whole answer must have come (loop time).

    Attributes:
        progress: counts what has come that is more than a sign of life, if that can be told. Then
            only what it counts breaks a silence, and before the first of it there is none.
        first_at: when the first of it must have come (loop time).
    """

    __slots__ = (
        "_idle_s",
        "_seen",
        "_seen_at",
        "_take",
        "_take_chunk",
        "_total_at",
        "error",
        "first_at",
        "is_full",
        "progress",
    )

    def __init__(
        self, take: Take, take_chunk: TakeChunk | None, idle_s: float, total_at: float
    ) -> None:
        self._take = take
        self._take_chunk = take_chunk or _decline
        self._idle_s = idle_s
        self._total_at = total_at
        self._seen = 0
        self._seen_at = 0.0
        self.progress: Callable[[], int] | None = None
        self.first_at = 0.0
        self.is_full = False
        self.error: Exception | None = None

    @property
    def is_mute(self) -> bool:
        """Nothing has come but signs of life."""
        return self.progress is not None and not self.progress()

    def find_deadline(self, heard_at: float, now: float) -> float:
        """Until when to wait for the next piece after one that came at ``heard_at`` (loop time).

        Called when a wait begins and when its time is up, so that no piece has to be looked at:
        what came since the last look is taken to have come with the newest piece. A stream of
        nothing but signs of life hence ends after ``idle_s`` at the soonest, twice that at last.
        """
        if self.progress is None:
            return min(self._total_at, heard_at + self._idle_s)
        seen = self.progress()
        if not seen:
            return min(self.first_at, now + self._idle_s)
        if seen != self._seen:
            self._seen, self._seen_at = seen, heard_at
        return min(self._total_at, self._seen_at + self._idle_s)

    def give(self, connection: "Connection") -> None:
        """Hand on what has come; who waits for the body is woken when that cannot go on."""
        now = connection.loop.time()
        if now > self._total_at:
            connection.sink = None
            connection.expire(self._total_at)
            return
        connection.heard_at = now
        chunks = connection.chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        try:
            self.is_full = self._take(data)
        except Exception as error:  # noqa: BLE001 - raised again where the body is awaited
            self.error = error
        if self.is_full or self.error is not None:
            connection.sink = None
            connection.wake()

    def give_chunk(self, connection: "Connection", data: bytes) -> bool:
        """Hand on a read that is one whole chunk; false, and nothing done, for any other.

        Only where the parser stands between two chunks: there it misses nothing by not seeing
        one. The size must be written as almost all servers write it, without extensions.
        """
        line = _SIZE_LINES.get(len(data))
        if line is None or not data.endswith(b"\r\n"):
            return _decline_read(connection)
        if not data.startswith(line) and data[: len(line)] != line.upper():
            return _decline_read(connection)
        now = connection.loop.time()
        try:
            is_full = self._take_chunk(data, len(line), now)
        except Exception as error:  # noqa: BLE001 - as in ``give``
            self.error = error
            is_full = True
        if is_full is None:
            return _decline_read(connection)
        connection.declined = 0
        connection.heard_at = now
        if is_full:
            self.is_full = True
            connection.sink = None
            connection.wake()
        return True
