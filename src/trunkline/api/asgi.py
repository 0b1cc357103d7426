"""The ASGI door: inference handlers behind any ASGI server, or in a test.

ASGI specification 3.0, HTTP connection scope (read 2026-11-21).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from trunkline.api.stall import PATIENCE_S
from trunkline.errors import body_too_large
from trunkline.exchange import Headers, cut_chunk, read_head
from trunkline.wishes import read_wishes

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class AsgiExchange:
    """An exchange over ASGI's messages: writes are queued, ``pump`` sends them in order."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self.wishes = read_wishes(self.headers)
        self.started = False
        self.gone = False
        self.ended = False
        self.was_cut = False
        self.idle_s = PATIENCE_S
        self.server = asyncio.current_task()
        self.body_read = asyncio.Event()
        self._receive = receive
        self._send = send
        self._queue: asyncio.Queue[Message | None] = asyncio.Queue()
        self._taken = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def paused(self) -> bool:
        """See ``Exchange``."""
        return not self._queue.empty() and not self.gone

    async def drain(self) -> None:
        """See ``Exchange``."""
        self._wait_on(self._taken)
        try:
            await self._queue.join()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _wait_on(self, taken: int) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.idle_s, self._look, taken)

    def _look(self, taken: int) -> None:
        """Drop a client that has taken nothing; the connection itself is the server's."""
        if self._taken > taken:
            self._wait_on(self._taken)
        elif self.server is not None:
            self.gone = True
            self.server.cancel()

    def take_body(self, limit_bytes: int) -> None:
        """See ``Exchange``: what ASGI has of it must be asked for."""

    async def read_body(self, limit_bytes: int) -> bytes:
        """See ``Exchange``."""
        announced = self.headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > limit_bytes:
            raise body_too_large(limit_bytes)
        body = bytearray()
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                raise asyncio.CancelledError
            body += message.get("body", b"")
            if len(body) > limit_bytes:
                raise body_too_large(limit_bytes)
            if not message.get("more_body", False):
                self.body_read.set()
                return bytes(body)

    def answer(self, status: int, head: bytes, body: bytes) -> None:
        """See ``Exchange``."""
        self._start(status, [*read_head(head), (b"content-length", b"%d" % len(body))])
        self.end(body if self.method != "HEAD" else b"")

    def start(self, status: int, head: bytes) -> None:
        """See ``Exchange``."""
        self._start(status, read_head(head))

    def _start(self, status: int, headers: Headers) -> None:
        self.started = True
        self._put({"type": "http.response.start", "status": status, "headers": headers})

    def write(self, data: bytes) -> bool:
        """See ``Exchange``."""
        self._put({"type": "http.response.body", "body": data, "more_body": True})
        return not self.gone

    def write_chunk(self, chunk: bytes) -> bool:
        """See ``Exchange``: the server behind ASGI frames by itself."""
        return self.write(cut_chunk(chunk))

    def end(self, last: bytes = b"") -> None:
        """See ``Exchange``."""
        self._put({"type": "http.response.body", "body": last, "more_body": False})
        self._close()

    def cut(self) -> None:
        """See ``Exchange``."""
        self.was_cut = not self.ended
        self._close()

    def _put(self, message: Message) -> None:
        if not self.ended:
            self._queue.put_nowait(message)

    def _close(self) -> None:
        if not self.ended:
            self.ended = True
            self._queue.put_nowait(None)

    async def pump(self) -> None:
        """Send what is queued until the end; the server's back-pressure holds here."""
        while True:
            message = await self._queue.get()
            if message is None:
                return
            await self._send(message)
            self._taken += 1
            self._queue.task_done()

    async def watch(self, task: asyncio.Task[None]) -> None:
        """Cancel the handler when the client leaves; needs the body to be read first."""
        await self.body_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        task.cancel()


async def serve_exchange(
    handler: Callable[[AsgiExchange], Awaitable[None]],
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Run an inference handler as an ASGI application.

    Raises:
        ConnectionAbortedError: the answer must not look complete; ASGI servers drop the
            connection when an application fails in the middle of a body.
    """
    exchange = AsgiExchange(scope, receive, send)
    task = asyncio.ensure_future(_run(handler, exchange))
    watch = asyncio.create_task(exchange.watch(task))
    try:
        await exchange.pump()
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        if exchange.gone:
            await asyncio.wait([task])
            raise ConnectionAbortedError("the client takes nothing of its answer") from None
        # The server stops: the handler writes its last words, which must still go out.
        await exchange.pump()
        raise
    finally:
        watch.cancel()
    if exchange.was_cut and not exchange.gone:
        raise ConnectionAbortedError("the answer was cut on purpose: it is not complete")


async def _run(handler: Callable[[AsgiExchange], Awaitable[None]], exchange: AsgiExchange) -> None:
    try:
        await handler(exchange)
    finally:
        exchange.cut()
