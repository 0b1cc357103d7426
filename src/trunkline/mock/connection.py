"""One accepted connection: reads requests, and gives raw control over what is sent and how."""

import asyncio
import socket
import struct
from collections import deque
from typing import Final, NamedTuple, Protocol, cast

import httptools

_LINGER: Final = struct.pack("ii", 1, 0)
"""Closing with this socket option sends RST."""


class Request(NamedTuple):
    """One whole request; names of headers in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Player(Protocol):
    """Who answers requests."""

    def meet(self, connection: "Connection") -> None:
        """A connection was accepted; it may be ended at once."""

    def answer(self, connection: "Connection", request: Request) -> None:
        """Answer a request, and call ``connection.end_answer`` afterwards."""

    def leave(self, connection: "Connection") -> None:
        """The connection is gone."""


class Connection(asyncio.Protocol):
    """An HTTP/1.1 connection in the mock's hands; one request at a time is answered."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self._waiting: deque[Request] = deque()
        self._is_answering = False
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body = b""
        self._is_last = False
        self.is_lost = False
        self.is_ending = False
        self.task: asyncio.Task[None] | None = None

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        # A cast, not a check: uvloop's transports derive from no asyncio class.
        self.transport = cast(asyncio.Transport, transport)
        self._player.meet(self)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self.is_ending:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            self.close()
            raise (error.__context__ or error) from None  # a plan's own fault: the loop tells
        except httptools.HttpParserError:
            self.close()

    def connection_lost(self, _error: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self.is_lost = True
        self._may_write.set()
        self._player.leave(self)

    def pause_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        self._may_write.set()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._target, self._headers, self._body = b"", {}, b""

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The head is read."""
        if self._headers.get("expect", "").lower() == "100-continue":
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """A request is read."""
        method = self._parser.get_method().decode("latin-1")
        request = Request(method, self._target.decode("latin-1"), self._headers, self._body)
        self._is_last = self._headers.get("connection", "").lower() == "close"
        self._waiting.append(request)
        self._go_on()

    # What the player calls.

    @property
    def host(self) -> str:
        """The client's address."""
        name = self.transport.get_extra_info("peername")
        return str(name[0]) if name else ""

    def write(self, data: bytes) -> None:
        """Send bytes; what was not yet sent waits in memory, see ``drain``."""
        if not self.transport.is_closing():
            self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has read enough; raises where it has left."""
        await self._may_write.wait()
        if self.is_lost:
            raise ConnectionResetError

    def close(self) -> None:
        """End the connection with FIN, behind all that was written."""
        self.is_ending = True
        self.transport.close()

    def reset(self) -> None:
        """End the connection with RST; what was not yet sent is lost."""
        self.is_ending = True
        sock = self.transport.get_extra_info("socket")
        if sock is not None and not self.is_lost:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        self.transport.abort()

    def end_answer(self) -> None:
        """An answer is complete: the next request may come."""
        self._is_answering = False
        self.task = None
        if self._is_last and not self._waiting:
            self.close()
        else:
            self._go_on()

    def _go_on(self) -> None:
        if self._waiting and not self._is_answering and not self.is_ending:
            self._is_answering = True
            self._player.answer(self, self._waiting.popleft())
