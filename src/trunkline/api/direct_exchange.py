"""The exchange of the direct door, on uvicorn's own connection."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from trunkline.api.stall import PATIENCE_S
from trunkline.errand import Errand
from trunkline.errors import body_too_large
from trunkline.exchange import cut_chunk
from trunkline.wishes import Wishes

if TYPE_CHECKING:
    from trunkline.api.direct import DirectProtocol

Handler = Callable[["DirectExchange"], Coroutine[Any, Any, None]]

CLOSE: Final = b"connection: close\r\n\r\n"
LINGER_S: Final = 5.0
"""How long a body that nobody wants is read on, so that the client sees the answer."""


class DirectExchange(msgspec.Struct, eq=False):
    """An exchange on uvicorn's own connection; stands where uvicorn expects its cycle.

    The attributes ``response_complete``, ``disconnected``, ``keep_alive`` and
    ``message_event`` are what the surrounding protocol reads and sets.
    """

    _protocol: "DirectProtocol"
    _handler: Handler
    method: str
    headers: Mapping[bytes, bytes]
    wishes: Wishes
    _http11: bool
    keep_alive: bool
    body: bytes | bytearray = b""
    more_body: bool = True
    expects_continue: bool = False
    started: bool = False
    disconnected: bool = False
    response_complete: bool = False
    idle_s: float = PATIENCE_S
    task: Errand | None = None
    _head: bytes | None = None
    _chunked: bool = False
    _waiter: asyncio.Future[None] | None = None

    def follow(self) -> "DirectExchange":
        """The exchange of the next request on the connection, which differs in its body only."""
        return DirectExchange(
            self._protocol,
            self._handler,
            self.method,
            self.headers,
            self.wishes,
            self._http11,
            self.keep_alive,
        )

    # What uvicorn's protocol calls.

    @property
    def message_event(self) -> "DirectExchange":
        """Uvicorn wakes its cycle through an event; ours is woken through ``set``."""
        return self

    def set(self) -> None:
        """Something arrived, or the client left."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self.disconnected and self.task is not None:
            self.task.cancel()

    def run(self) -> None:
        """Start the handler, once."""
        if self.task is None:
            protocol = self._protocol
            self.task = Errand(protocol.loop, self._handler(self), self._note_end)
            tasks: set[Any] = protocol.tasks  # uvicorn asks them what errands answer as well
            tasks.add(self.task)
            self.task.step()

    def _note_end(self, task: Errand) -> None:
        tasks: set[Any] = self._protocol.tasks
        tasks.discard(task)
        if not self.response_complete and not self.disconnected:
            self.cut()

    # The exchange that handlers see.

    @property
    def gone(self) -> bool:
        """See ``Exchange``."""
        return self.disconnected

    @property
    def paused(self) -> bool:
        """See ``Exchange``."""
        return self._protocol.flow.write_paused and not self.disconnected

    async def drain(self) -> None:
        """See ``Exchange``."""
        stall = self._protocol.watch_stall(self.idle_s)
        try:
            await self._protocol.flow.drain()
        finally:
            stall.stop()

    def take_body(self, limit_bytes: int) -> bytes | None:
        """See ``Exchange``."""
        if self.more_body or len(self.body) > limit_bytes:
            return None
        return bytes(self.body)

    async def read_body(self, limit_bytes: int) -> bytes:
        """See ``Exchange``."""
        protocol = self._protocol
        announced = self.headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > limit_bytes:
            raise body_too_large(limit_bytes)
        while self.more_body and len(self.body) <= limit_bytes:
            if self.expects_continue:
                self.expects_continue = False
                protocol.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            protocol.flow.resume_reading()
            self._waiter = protocol.loop.create_future()
            await self._waiter
        if len(self.body) > limit_bytes:
            raise body_too_large(limit_bytes)
        return bytes(self.body)

    def answer(self, status: int, head: bytes, body: bytes) -> None:
        """See ``Exchange``."""
        self.started = True
        if self.disconnected:
            return
        protocol = self._protocol
        protocol.outbox.send(
            protocol.transport,
            b"%b%b%bcontent-length: %d\r\n%b%b"
            % (
                STATUS_LINE[status],
                protocol.write_default_headers(),
                head,
                len(body),
                b"\r\n" if self.keep_alive else CLOSE,
                b"" if self.method == "HEAD" else body,
            ),
        )
        self._complete()

    def start(self, status: int, head: bytes) -> None:
        """See ``Exchange``."""
        self.started = True
        # HTTP/1.0 knows no chunks: the end of the connection ends the body.
        self._chunked = self._http11
        self._head = b"%b%b%b%b%b" % (
            STATUS_LINE[status],
            self._protocol.write_default_headers(),
            head,
            b"transfer-encoding: chunked\r\n" if self._chunked else b"",
            b"\r\n" if self.keep_alive else CLOSE,
        )

    def write(self, data: bytes) -> bool:
        """See ``Exchange``."""
        if self.disconnected or self.response_complete:
            return False
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._head is not None:
            data = self._head + data
            self._head = None
        protocol = self._protocol
        protocol.outbox.send(protocol.transport, data)
        return protocol.flow.write_paused

    def write_chunk(self, chunk: bytes) -> bool:
        """See ``Exchange``."""
        if not self._chunked or self._head is not None:
            return self.write(cut_chunk(chunk))
        if self.disconnected or self.response_complete:
            return False
        protocol = self._protocol
        protocol.outbox.send(protocol.transport, chunk)
        return protocol.flow.write_paused

    def end(self, last: bytes = b"") -> None:
        """See ``Exchange``."""
        if self.disconnected or self.response_complete:
            return
        if self._chunked:
            last = b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last) if last else b"0\r\n\r\n"
        self._protocol.send((self._head or b"") + last)
        self._head = None
        self._complete()

    def cut(self) -> None:
        """See ``Exchange``."""
        if self.disconnected or self.response_complete:
            return
        self.response_complete = True
        if self._head is not None:
            self._protocol.send(self._head)
        self._protocol.close_sent(self.idle_s)

    def _complete(self) -> None:
        self.response_complete = True
        protocol = self._protocol
        if self.more_body:
            # Closing now would reset the connection under the answer: read on a while.
            self.keep_alive = False
            protocol.flow.resume_reading()
            protocol.loop.call_later(LINGER_S, protocol.close_sent)
        elif not self.keep_alive:
            protocol.close_sent(self.idle_s)
        elif self._protocol.flow.write_paused:
            protocol.watch_stall(self.idle_s)
        protocol.on_response_complete()
