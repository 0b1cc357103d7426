"""A scripted server over real sockets: each connection plays a coroutine over raw bytes.

    async with ScriptedServer(answering(body=b"{}")) as server:
        ...  # connect to server.port; afterwards look at server.requests

A script takes a `Peer`, one accepted connection, and may do anything with it: read requests,
write bytes, wait for an `asyncio.Event` of the test, cut with FIN or RST. Connection number n
plays script number n; the last script is played again for all later connections. When a script
returns, its connection is closed. A script's own failure fails the test when the server is left;
a client that leaves in the middle is not a failure.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

Script = Callable[["Peer"], Awaitable[None]]


@dataclass(frozen=True)
class Request:
    """One request as the server read it; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    head: bytes = field(repr=False)


class Peer:
    """One accepted connection, in the hands of a script.

    Attributes:
        is_left: set when its script has ended, for whatever reason.
    """

    def __init__(
        self, server: "ScriptedServer", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.is_left = asyncio.Event()
        self.reader = reader
        self.writer = writer

    async def read_head(self) -> tuple[str, str, dict[str, str], bytes]:
        """Read request line and headers; the body stays unread."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        method, target, _ = line.split(" ", 2)
        headers = {}
        for each in fields:
            name, _, value = each.partition(":")
            headers[name.lower()] = value.strip()
        return method, target, headers, head

    async def request(self) -> Request:
        """Read one whole request, and note it in `server.requests`."""
        method, target, headers, head = await self.read_head()
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        request = Request(method, target, headers, body, head)
        self.server.requests.append(request)
        return request

    async def write(self, data: bytes) -> None:
        """Send raw bytes; waits while the client does not read."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(
        self, body: bytes = b"", status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a whole answer with content-length."""
        length = {"content-length": str(len(body))}
        await self.write(build_head(status, length | dict(headers or {})) + body)

    async def begin_chunked(
        self, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send the head of a chunked answer."""
        coding = {"transfer-encoding": "chunked"}
        await self.write(build_head(status, coding | dict(headers or {})))

    async def begin_sse(self) -> None:
        """Send the head of a chunked event stream."""
        await self.begin_chunked(headers={"content-type": "text/event-stream"})

    async def chunk(self, data: bytes) -> None:
        """Send one chunk."""
        await self.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def frames(self, frames: Iterable[str]) -> None:
        """Send server-sent events, each one chunk; a frame is what stands after `data: `."""
        for frame in frames:
            await self.chunk(f"data: {frame}\n\n".encode())

    async def end_chunked(self) -> None:
        """Send the last chunk."""
        await self.write(b"0\r\n\r\n")

    def cut(self) -> None:
        """End the connection with FIN."""
        self.writer.close()

    def reset(self) -> None:
        """End the connection with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the client has left; what it still sends is thrown away."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass


class ScriptedServer:
    """An asyncio server that plays scripts; see the module's text.

    Attributes:
        port: where it listens.
        requests: what `Peer.request` has read, in order, over all connections.
        peers: the connections accepted so far.
    """

    def __init__(
        self, *scripts: Script, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[Request] = []
        self.peers: list[Peer] = []
        self.host = host
        self.port = 0
        self._scripts = scripts
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []

    @property
    def url(self) -> str:
        """The server's root, without a slash at the end."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accept, self.host, 0, ssl=self._tls, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for peer in self.peers:
            with suppress(AttributeError):  # asyncio's closing transports lose their loop
                peer.writer.transport.abort()
        await self._server.wait_closed()
        if error is None and self._failures:
            raise self._failures[0]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts[min(len(self.peers), len(self._scripts) - 1)]
        peer = Peer(self, reader, writer)
        self.peers.append(peer)
        task = asyncio.get_running_loop().create_task(self._play(script, peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _play(self, script: Script, peer: Peer) -> None:
        try:
            await script(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has left
        except Exception as failure:  # noqa: BLE001 - kept for the test that is running
            self._failures.append(failure)
        finally:
            peer.is_left.set()
            peer.writer.close()


def build_head(status: int, headers: Mapping[str, str]) -> bytes:
    """Write a status line and headers, with the blank line."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Scripted\r\n{lines}\r\n".encode("latin-1")


def answering(
    body: bytes = b"{}", status: int = 200, headers: Mapping[str, str] | None = None
) -> Script:
    """Build a script that gives every request the same answer and keeps the connection."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(body, status, headers)

    return script


def sending(data: bytes) -> Script:
    """Build a script that reads one request, sends raw bytes and closes with FIN."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.write(data)

    return script


async def wait_until(is_true: Callable[[], bool], within_s: float = 10) -> None:
    """Let the loop turn until something holds that no event tells of."""
    async with asyncio.timeout(within_s):
        while not is_true():  # noqa: ASYNC110 - such as a transport's own state
            await asyncio.sleep(0)
