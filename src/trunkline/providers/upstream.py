"""The HTTP/1.1 client: requests to one origin over kept-alive connections."""

import asyncio
from typing import Final

from trunkline.call import Deadlines
from trunkline.outbox import Outbox
from trunkline.providers.connection import SLICE_BYTES, WAITING, Connection
from trunkline.providers.dial import ConnectFailed, Dialer, TlsOptions, build_context
from trunkline.providers.origin import Origin, parse_base_url
from trunkline.providers.proxy import find_proxy, parse_proxy
from trunkline.providers.response import Response, choose_reading, explain

__all__ = [
    "ConnectFailed",
    "Origin",
    "Response",
    "TlsOptions",
    "Upstream",
    "find_proxy",
    "parse_base_url",
]

_STALE_WITHIN_S: Final = 1.0
"""An end this soon after the request crossed it on the way; a later one may follow paid work."""


class Upstream:
    """The connections to one origin: taken, made and kept for the next request.

    Args:
        origin: scheme, host and port.
        tls: trust and identity; the system's authorities where None.
        proxy: ``http://[user:password@]host:port`` of a forward proxy.
        max_idle: how many connections wait for the next request.
        idle_keep_s: how long, in seconds, one waits.
        dialer: opens the connections, instead of one that is made of ``tls`` and ``proxy``.

    Attributes:
        stale_within_s: a kept connection that ends without a byte this soon, in seconds, after
            a request was closed before it saw it, and the request is sent once more.

    Raises:
        ValueError: a TLS file or the proxy's address cannot be used.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        tls: TlsOptions | None = None,
        proxy: str | None = None,
        max_idle: int = 100,
        idle_keep_s: float = 30,
        dialer: Dialer | None = None,
    ) -> None:
        self.origin = origin
        self.stale_within_s = _STALE_WITHIN_S
        self._max_idle = max_idle
        self._idle_keep_s = idle_keep_s
        self._idle: list[Connection] = []
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outbox = Outbox()
        way = parse_proxy(proxy) if proxy else None
        if dialer is None:
            context = build_context(tls or TlsOptions()) if origin.scheme == "https" else None
            dialer = Dialer(origin, context, way)
        self._dialer = dialer
        self._forward = way if origin.scheme == "http" else None

    async def send(self, head: bytes, body: bytes, deadlines: Deadlines) -> Response:
        """Send one request and return when the final status and headers have come.

        Args:
            head: request line and header lines, each ended by CR LF, without content-length
                and without the blank line.
            body: the whole body.
            deadlines: ``first_token_s`` bounds the wait for the head once the body is out.

        Raises:
            ConnectFailed: no connection came about; nothing was sent.
            GatewayError: ``upstream_timeout`` past a deadline; ``upstream_error`` when the
                upstream closed or sent what is no answer.
        """
        loop = self._loop or self._find_loop()
        start = now = loop.time()
        connection = self._take(now) if self._idle else None
        is_kept = connection is not None
        if self._forward is not None:
            head = self._write_absolute(head)
        while True:
            if connection is None:
                connection = await self._connect(loop, deadlines)
                now = loop.time()
            total_at = start + deadlines.total_s
            connection.begin()
            try:
                if len(body) > SLICE_BYTES:
                    await self._upload(connection, head, body, (deadlines.idle_s, total_at))
                    now = loop.time()
                elif connection.failure is None:
                    whole = b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
                    self._outbox.send(connection.transport, whole)
                head_at = min(now + deadlines.first_token_s, total_at)
                while connection.phase == WAITING and connection.failure is None:
                    await connection.wait(head_at)
            except BaseException:
                connection.abort()
                raise
            if connection.failure is None:
                # Two look-ups, not ten lower-cased names: these are the ways it is written.
                fields, status = connection.fields, connection.status
                packed = b"content-encoding" in fields or b"Content-Encoding" in fields
                build = choose_reading(fields) if packed else Response
                times = deadlines, head_at, total_at
                return build(status, fields, self.origin, connection, *times, self._release)
            if not (is_kept and self._is_stale(connection, now)):
                raise explain(self.origin, connection, deadlines, total_at)
            is_kept = False
            connection = None

    async def close(self) -> None:
        """Close the connections that wait; those in use close when their answer is closed."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        while self._idle:
            self._idle.pop().abort()
        await asyncio.sleep(0)  # lets the transports go before the loop may

    def _find_loop(self) -> asyncio.AbstractEventLoop:
        """The loop that all connections live on, looked up once: it costs a system call."""
        self._loop = asyncio.get_running_loop()
        return self._loop

    def _release(self, connection: Connection) -> None:
        """Take a connection back whose answer has ended."""
        connection.rest()
        if self._is_closed or len(self._idle) >= self._max_idle:
            connection.abort()
            return
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = connection.loop.call_later(self._idle_keep_s, self._close_expired)

    def _take(self, now: float) -> Connection | None:
        """Take the connection that rested least; what rested too long is closed."""
        oldest = now - self._idle_keep_s
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    async def _connect(self, loop: asyncio.AbstractEventLoop, deadlines: Deadlines) -> Connection:
        within_s = min(deadlines.connect_s, deadlines.total_s)
        # A task of its own: dialling has time limits, which an errand cannot have.
        dialling = loop.create_task(
            self._dialer.open(lambda: Connection(loop, self._forget), within_s)
        )
        try:
            return await dialling
        except asyncio.CancelledError:
            dialling.add_done_callback(_leave)
            raise

    async def _upload(
        self, connection: Connection, head: bytes, body: bytes, limits: tuple[float, float]
    ) -> None:
        """Send a long body as fast as the upstream takes it; stop when it answers before."""
        idle_s, total_at = limits
        connection.write(b"%bcontent-length: %d\r\n\r\n" % (head, len(body)))
        view = memoryview(body)
        for start in range(0, len(body), SLICE_BYTES):
            connection.write(view[start : start + SLICE_BYTES])
            while connection.is_write_paused and connection.phase == WAITING:
                if connection.failure is not None:
                    return
                await connection.wait(min(connection.loop.time() + idle_s, total_at))
            if connection.phase != WAITING:
                connection.is_reusable = False
                return

    def _is_stale(self, connection: Connection, sent_at: float) -> bool:
        """Whether the upstream had closed a kept connection before it saw this request."""
        return (
            connection.failure == "closed"
            and connection.is_untouched
            and connection.loop.time() - sent_at <= self.stale_within_s
        )

    def _write_absolute(self, head: bytes) -> bytes:
        """Put the whole URL into the request line, for a proxy (RFC 9112 section 3.2.2)."""
        proxy = self._forward
        if proxy is None:
            return head
        place = b" http://" + self.origin.authority.encode() + b"/"
        return head.replace(b" /", place, 1) + proxy.credential_line

    def _forget(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def _close_expired(self) -> None:
        self._sweep = None
        if not self._idle:
            return
        loop = self._idle[0].loop
        oldest = loop.time() - self._idle_keep_s
        expired = [each for each in self._idle if each.idle_since <= oldest]
        self._idle = [each for each in self._idle if each.idle_since > oldest]
        for connection in expired:
            connection.abort()
        if self._idle:
            self._sweep = loop.call_at(
                self._idle[0].idle_since + self._idle_keep_s, self._close_expired
            )


def _leave(dialling: asyncio.Task[Connection]) -> None:
    """Close a connection that came about in the moment in which its call was cancelled."""
    if not dialling.cancelled() and dialling.exception() is None:
        dialling.result().abort()
