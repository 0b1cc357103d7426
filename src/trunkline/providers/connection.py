"""One connection to an upstream: bytes out, parsed answers in, and a clock on every wait.

The hottest code of the gateway. llhttp calls C functions for headers and body pieces
(``dict.__setitem__``, ``list.append``), a wait is one bare future, and the timer stays armed
from exchange to exchange, so that an exchange on a kept-alive connection makes no timer.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Literal, cast

import httptools

from trunkline.errand import Signal
from trunkline.providers.sink import Sink
from trunkline.repeat import LEARN_TIMES, Repeat, learn_answer

IDLE: Final = 0
"""In the pool: any byte that comes now is a fault."""
WAITING: Final = 1
"""A request is on its way, no final status has come."""
BODY: Final = 2
"""Status and headers are here, the body has not ended."""
DONE: Final = 3
"""The answer has ended as its framing says."""

Failure = Literal["closed", "malformed", "oversized", "timeout"]

MAX_HEAD_BYTES: Final = 64 << 10
MAX_HEADERS: Final = 256
MAX_UNREAD_BYTES: Final = 256 << 10
"""Above this, reading pauses until the unread body is taken."""
SLICE_BYTES: Final = 64 << 10
"""Request bodies above this go out slice by slice, as fast as the upstream takes them."""
_TICK_S: Final = 0.002
"""A timer may fire this much early: event loops round to milliseconds."""


class Connection(asyncio.Protocol):
    """The protocol of one upstream connection; used by one exchange at a time.

    Args:
        loop: the loop that it lives on.
        on_idle_end: called when the connection ends while it rests in the pool.
    """

    __slots__ = (
        "_chunk_ends",
        "_feed",
        "_fields",
        "_get_status",
        "_is_between_chunks",
        "_is_lost",
        "_keeps_alive",
        "_learn_times",
        "_on_idle_end",
        "_quiet_bytes",
        "_repeat",
        "_timer",
        "_timer_at",
        "_unread_bytes",
        "_waiter",
        "chunks",
        "deadline",
        "declined",
        "failure",
        "fields",
        "heard_at",
        "idle_since",
        "is_read_paused",
        "is_reusable",
        "is_write_paused",
        "loop",
        "on_body",
        "on_chunk_complete",
        "on_chunk_header",
        "on_header",
        "phase",
        "sink",
        "status",
        "transport",
        "unoffered",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_idle_end: Callable[["Connection"], None]
    ) -> None:
        self.loop = loop
        self.phase = IDLE
        self.status = 0
        self.failure: Failure | None = None
        self.fields: Mapping[bytes, bytes] = {}
        self.chunks: list[bytes] = []
        self.idle_since = 0.0
        self.is_reusable = True
        self.is_read_paused = False
        self.is_write_paused = False
        self._is_lost = False
        self._on_idle_end = on_idle_end
        self._waiter: Signal | None = None
        self.deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._unread_bytes = 0
        self._quiet_bytes = 0
        self.sink: Sink | None = None
        self.heard_at = 0.0
        self.declined = self.unoffered = 0
        self._is_between_chunks = False
        self._repeat: Repeat | None = None
        self._learn_times = LEARN_TIMES
        # Not empty where the newest chunk has ended; kept by functions of C, as the headers are.
        self._chunk_ends: list[None] = []
        self.on_chunk_header = self._chunk_ends.clear
        self.on_chunk_complete = partial(self._chunk_ends.append, None)
        self._fields: dict[bytes, bytes] = {}
        self.on_header = self._fields.__setitem__
        self.on_body = self.chunks.append
        parser = httptools.HttpResponseParser(self)
        self._feed: Callable[[bytes], object] = parser.feed_data
        self._get_status: Callable[[], int] = parser.get_status_code
        self._keeps_alive: Callable[[], bool] = parser.should_keep_alive

    # What the pool and the exchange call.

    def begin(self) -> None:
        """Make ready for one exchange."""
        if not self.is_reusable:  # ended between its making and its use
            self.failure = "closed"
        self.phase = WAITING
        self._quiet_bytes = 0
        self.declined = self.unoffered = 0
        self._fields.clear()

    def write(self, data: bytes | memoryview) -> None:
        """Hand bytes to the transport, unless it is gone."""
        if self.failure is None:
            self.transport.write(data)

    def wait(self, deadline: float) -> Signal:
        """Return an awaitable that ends when something has changed, or the deadline (loop time).

        Who awaits it looks at ``phase``, ``chunks`` and ``failure`` and may have to wait again.
        """
        if self._timer is None or deadline < self._timer_at:
            self._arm_timer(deadline)
        self.deadline = deadline
        self._waiter = waiter = Signal(self.loop)
        return waiter

    def take(self) -> bytes:
        """Take the unread body, and let reading go on."""
        chunks = self.chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._unread_bytes = 0
        if self.is_read_paused:
            self._resume_reading()
        return data

    def rest(self) -> None:
        """Forget the exchange that ended, before the connection goes back to the pool."""
        self.phase = IDLE
        self.idle_since = self.loop.time()
        if self.chunks:
            self.take()

    def abort(self) -> None:
        """Close at once, so that the upstream sees us leave; may be called again."""
        self.is_reusable = False
        if not self._is_lost:  # asyncio's transports fail when aborted after their end
            self.transport.abort()

    def expire(self, deadline: float) -> None:
        """Fail because a deadline has passed that nobody was waiting for."""
        self.deadline = deadline
        self._fail("timeout")

    @property
    def is_untouched(self) -> bool:
        """Whether no byte of an answer has come in this exchange."""
        return self.phase == WAITING and self._quiet_bytes == 0

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # A cast, not a check: uvloop's transports derive from no asyncio class.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came, wake who waits for it, and pause if nobody takes it."""
        sink = self.sink
        if sink is not None and self._is_between_chunks and sink.give_chunk(self, data):
            return
        phase = self.phase
        if phase == IDLE:
            self._end_idle()
            return
        if self._repeat is not None and phase == WAITING and self._take_repeat(self._repeat, data):
            return
        if not self._parse(data, phase):
            return
        # A chunk has ended, and not a byte of the next one is here: such a byte would be part
        # of a size line, and where that ends so too, its chunk has begun.
        # One that does not fit the short way, as those before it, goes the long way for a while.
        is_offered = not self.unoffered
        self.unoffered -= not is_offered
        ends = bool(self._chunk_ends) and data.endswith(b"\r\n")
        self._is_between_chunks = is_offered and ends
        if not self.chunks:
            self._note_quiet(len(data))
        elif sink is not None:
            self._quiet_bytes = 0
            sink.give(self)
        else:
            self._quiet_bytes = 0
            self._unread_bytes += len(data)
            if self._unread_bytes > MAX_UNREAD_BYTES:
                self._pause_reading()
        if self._waiter is not None and (self.chunks or self.phase != phase):
            self.wake()

    def _parse(self, data: bytes, phase: int) -> bool:
        """Give the parser what came; False where the answer has failed."""
        if len(data) > MAX_HEAD_BYTES and phase == WAITING and not _has_small_head(data):
            self._fail("oversized")
            return False
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # Bytes after a whole answer spoil the connection, not the answer.
            self.is_reusable = False
            if self.phase != DONE:
                self._fail("malformed")
                return False
        if phase == WAITING and self.phase == DONE and self._learn_times:
            self._learn(data)
        return True

    def _take_repeat(self, repeat: Repeat, data: bytes) -> bool:
        """Take a whole answer that has the head of the one before, if it is that."""
        if self._quiet_bytes or self.failure is not None:
            return False
        body, missing = repeat.match(data) or (b"", 0)
        if missing or not body:
            return False
        self._learn_times = LEARN_TIMES
        self.fields = repeat.headers
        self.chunks.append(body)
        self.phase = DONE
        self.wake()
        return True

    def _learn(self, data: bytes) -> None:
        """Know the next answer if it has the head of this one, which came whole."""
        self._learn_times -= 1
        if self.is_reusable and len(self.chunks) == 1:
            self._repeat = learn_answer(data, self.fields)

    def eof_received(self) -> None:
        """Take the peer's end of sending as the end of the connection."""
        self._end(is_clean=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits, and let go of what would keep this object alive."""
        self._is_lost = True
        self._end(is_clean=exc is None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._feed = self._get_status = self._keeps_alive = _do_nothing

    def pause_writing(self) -> None:
        """Note that the upstream does not keep up with the request body."""
        self.is_write_paused = True

    def resume_writing(self) -> None:
        """Let the request body go on."""
        self.is_write_paused = False
        self.wake()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Refuse an answer that nobody asked for; the parser stops at what is raised here."""
        if self.phase != WAITING:
            raise ValueError
        self._repeat = None  # it would follow the answer before this one, with its status

    def on_headers_complete(self) -> None:
        """Keep status and headers of the final answer; interim ones (1xx) are passed over."""
        status = self._get_status()
        if status < 200:
            self._fields.clear()
            return
        self.status = status
        self.fields = self._fields.copy()  # trailers are written to the original
        self.phase = BODY
        if len(self.fields) > MAX_HEADERS:
            self._fail("oversized")

    def on_message_complete(self) -> None:
        """Note the end of the answer, and whether the connection may serve another."""
        self._chunk_ends.clear()
        if self.phase == BODY:
            self.phase = DONE
            if not self._keeps_alive():
                self.is_reusable = False

    # Inside.

    def _note_quiet(self, size_bytes: int) -> None:
        """Heads, chunk sizes and trailers that never become body must end somewhere."""
        if self.phase != DONE:
            self._quiet_bytes += size_bytes
            if self._quiet_bytes > MAX_HEAD_BYTES:
                self._fail("oversized")

    def wake(self) -> None:
        """End the wait of who waits for this connection."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _fail(self, failure: Failure) -> None:
        if self.failure is None:
            self.failure = failure
        self.abort()
        self.wake()

    def _end(self, *, is_clean: bool) -> None:
        if self.phase == IDLE:
            self._end_idle()
            return
        self.is_reusable = False
        if self.phase == BODY and is_clean and self.failure is None and self._ends_with_peer():
            self.phase = DONE
        elif self.phase != DONE and self.failure is None:
            self.failure = "closed"
        self.wake()

    def _end_idle(self) -> None:
        if self.is_reusable:
            self.abort()
            self._on_idle_end(self)

    def _ends_with_peer(self) -> bool:
        """Whether the body has no length of its own (RFC 9112 section 6.3, rule 8)."""
        fields = {name.lower(): value.lower() for name, value in self.fields.items()}
        coding = fields.get(b"transfer-encoding", b"")
        return b"content-length" not in fields and b"chunked" not in coding

    def _pause_reading(self) -> None:
        if not self.is_read_paused and not self.transport.is_closing():
            self.is_read_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        self.is_read_paused = False
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _arm_timer(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self.loop.call_at(deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        """Look at the clock; a wait that began after the timer was set has a later deadline."""
        self._timer = None
        if self._waiter is None:
            return
        now = self.loop.time()
        if self.sink is not None:
            self.deadline = self.sink.find_deadline(self.heard_at, now)
        if now + _TICK_S < self.deadline:
            self._arm_timer(self.deadline)
        else:
            self._fail("timeout")


def _has_small_head(data: bytes) -> bool:
    return data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES) >= 0


def _do_nothing(*_: Any) -> Any:
    """Stand in for a parser that is gone."""
    return 0
