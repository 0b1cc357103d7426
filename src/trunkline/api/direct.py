"""The direct door: inference routes served inside uvicorn's protocol, without ASGI.

The server keeps the sockets, signals, workers, TLS, keep-alive time-outs and graceful stop;
every path that is not an inference route goes through ASGI as usual (docs/decisions/0004).
"""

import asyncio
import time
from asyncio.events import TimerHandle
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
)
from uvicorn.server import ServerState

from trunkline.api.direct_exchange import CLOSE, DirectExchange, Handler
from trunkline.api.stall import PATIENCE_S, Stall
from trunkline.call import make_request_id
from trunkline.errors import GatewayError
from trunkline.exchange import write_head
from trunkline.outbox import Outbox
from trunkline.repeat import LEARN_TIMES, Repeat, learn_request
from trunkline.wire.failure import write_failure, write_failure_headers
from trunkline.wishes import read_wishes

HEAD_LIMIT_BYTES: Final = 65536
_TICK_S: Final = 0.002
"""A timer may fire this much early: event loops round to milliseconds."""


class DirectProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with the inference routes taken out of ASGI.

    ``config.app`` must have ``inference``, a handler by raw path, and an ``outbox``.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.fields: dict[bytes, bytes] = {}
        # The parser calls C for each header, not Python; a header sent twice counts once.
        self.on_header = self.fields.__setitem__  # type: ignore[method-assign, assignment]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._routes: Mapping[bytes, Handler] = cast(Any, self.app).inference
        self.outbox: Outbox = cast(Any, self.app).outbox
        self._default_list: object = None
        self._default_bytes = b""
        self._in_head = False
        self._is_between = True
        self._repeat: Repeat | None = None
        self._learn_times = LEARN_TIMES
        self._head_bytes = 0
        self._raw_left_bytes = 0
        self._due: DirectExchange | None = None
        self._idle_since_s = 0.0
        self._idle_timer: TimerHandle | None = None
        self._stall: Stall | None = None

    def write_default_headers(self) -> bytes:
        """Uvicorn's own headers (the date, renewed each second) as bytes."""
        headers = self.server_state.default_headers
        if headers is not self._default_list:
            self._default_list = headers
            self._default_bytes = b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._default_bytes

    def send(self, data: bytes) -> None:
        """Write to the client, together with what else is written in this turn of the loop."""
        self.outbox.send(self.transport, data)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP with the same body as every other failure."""
        error = GatewayError("invalid_request", msg)
        request_id = make_request_id(time.time_ns())
        head = write_head(write_failure_headers(error, request_id))
        body = write_failure(error, request_id)
        lines = b"%b%b%bcontent-length: %d\r\n%b%b"
        parts = (STATUS_LINE[400], self.write_default_headers(), head, len(body), CLOSE, body)
        self.send(lines % parts)
        self.close_sent()

    def data_received(self, data: bytes) -> None:
        """Bytes of a request; a head that does not end is refused."""
        if self._raw_left_bytes:
            rest = self._take_raw(data)
            self._run_due()
            if rest:
                self.data_received(rest)
            return
        is_fresh = self._is_between
        if is_fresh and self._repeat is not None and self._take_repeat(self._repeat, data):
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._take_raw(data[offer.args[0] :])
        except httptools.HttpParserError:
            self._due = None
            self.send_400_response("This is not an HTTP/1.1 request.")
            return
        if is_fresh and self._learn_times and not self._in_head:
            self._learn(data)
        self._run_due()
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT_BYTES and not self.transport.is_closing():
                self.send_400_response("The request's headers are too large.")

    def _take_repeat(self, repeat: Repeat, data: bytes) -> bool:
        """Start a request that repeats the one before, if it does and nothing is under way."""
        before: Any = self.cycle
        if not isinstance(before, DirectExchange) or not before.response_complete:
            return False
        if self.transport.is_closing():
            return False
        found = repeat.match(data)
        if found is None:
            return False
        self._learn_times = LEARN_TIMES
        if self._stall is not None:
            self._stall.stop()
        exchange = before.follow()
        cycle: Any = exchange
        self.cycle = cycle
        body, self._raw_left_bytes = found
        if self._raw_left_bytes:
            self.on_body(body)
            self._run_due()
        else:
            exchange.body = body
            exchange.more_body = False
            exchange.run()
        return True

    def _learn(self, data: bytes) -> None:
        """Know the next request if it has the head of this one, which came in one read."""
        exchange: Any = self.cycle
        if isinstance(exchange, DirectExchange):
            self._learn_times -= 1
            if exchange.method == "POST" and exchange.keep_alive:
                self._repeat = learn_request(data, exchange.headers)

    def _run_due(self) -> None:
        """Start the handler of the request that is complete, now that the parser has returned."""
        due, self._due = self._due, None
        if due is not None:
            due.run()

    def _take_raw(self, data: bytes) -> bytes:
        """Take the body of a request that the parser has not seen, or not to its end.

        That is one with a head that repeats, and one that offers another protocol. None is spoken
        here, and an offer may be passed over (RFC 9110, 7.8); but the parser stops at the head of
        such a request and leaves the body to us.

        Returns:
            What follows the body; nothing behind such an offer, which ends the connection.
        """
        exchange: Any = self.cycle
        if not isinstance(exchange, DirectExchange) or not self._raw_left_bytes:
            return b""
        rest = data[self._raw_left_bytes :] if exchange.keep_alive else b""
        piece = data[: self._raw_left_bytes]
        self._raw_left_bytes -= len(piece)
        if piece:
            self.on_body(piece)
        if not self._raw_left_bytes:
            self._complete_message(exchange)
        return rest

    def on_message_begin(self) -> None:
        """A request begins; the ASGI scope is built only for ASGI's routes."""
        if self._stall is not None:
            self._stall.stop()
        self._in_head = True
        self._is_between = False
        self._repeat = None  # it would follow the request before it, which is now this one
        self._head_bytes = 0
        self.url = b""
        self.fields.clear()

    def on_headers_complete(self) -> None:
        """The request line and headers are here: choose the door."""
        self._in_head = False
        handler = self._routes.get(self.url) or self._routes.get(self.url.partition(b"?")[0])
        if handler is None:
            url = self.url
            super().on_message_begin()
            self.url = url
            for name, value in self.fields.items():
                super().on_header(name, value)
            super().on_headers_complete()
            return
        parser = self.parser
        before: Any = self.cycle
        headers = {name.lower(): value for name, value in self.fields.items()}
        exchange = DirectExchange(
            self,
            handler,
            parser.get_method().decode("ascii"),
            headers,
            read_wishes(headers),
            http11 := parser.get_http_version() == "1.1",
            http11 and parser.should_keep_alive(),
        )
        exchange.expects_continue = headers.get(b"expect", b"").lower() == b"100-continue"
        cycle: Any = exchange
        self.cycle = cycle
        if before is not None and not before.response_complete:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        elif exchange.expects_continue:
            self._due = exchange

    def on_response_complete(self) -> None:
        """An answer has gone out: the next pipelined request, or the wait for one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since_s = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._check_idle)

    def _check_idle(self) -> None:
        """Close a connection that rested too long; one timer serves all its requests."""
        self._idle_timer = None
        is_busy = self.cycle is not None and not self.cycle.response_complete
        rests_until_s = self._idle_since_s + self.timeout_keep_alive
        if is_busy or self.loop.time() < rests_until_s - _TICK_S:
            at_s = self.loop.time() + self.timeout_keep_alive if is_busy else rests_until_s
            self._idle_timer = self.loop.call_at(at_s, self._check_idle)
        elif not self.transport.is_closing():
            self.close_sent()

    def watch_stall(self, within_s: float) -> Stall:
        """Drop the client when it takes nothing for so long of what waits to be sent."""
        if self._stall is None:
            self._stall = Stall(self.loop, self.transport)
        self._stall.start(within_s)
        return self._stall

    def close_sent(self, within_s: float = PATIENCE_S) -> None:
        """Close once all is sent; a client that does not take it is dropped."""
        self.outbox.flush()
        self.transport.close()
        self.watch_stall(within_s)

    def shutdown(self) -> None:
        """The server stops: an answer that is complete may still be on its way out."""
        self.outbox.flush()
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left, or was let go."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if self._stall is not None:
            self._stall.stop()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """A request starts, or leaves the queue of pipelined ones."""
        if isinstance(cycle, DirectExchange):
            # Not at once: the answer before it may be on the stack, and before that another.
            self.loop.call_soon(cycle.run)
        else:
            super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """A piece of the body; a large one starts the handler, which checks the key first."""
        exchange: Any = self.cycle
        if not isinstance(exchange, DirectExchange):
            super().on_body(body)
        elif not exchange.response_complete:
            if not exchange.body:
                exchange.body = body
            else:
                if isinstance(exchange.body, bytes):
                    exchange.body = bytearray(exchange.body)
                exchange.body += body
            if len(exchange.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
                if not self._is_queued(exchange):
                    self._due = exchange
            if exchange.task is not None:
                exchange.set()

    def on_message_complete(self) -> None:
        """The whole request is here, or the head of one that offers another protocol."""
        exchange: Any = self.cycle
        if not isinstance(exchange, DirectExchange):
            super().on_message_complete()
            return
        if self.parser.should_upgrade():
            exchange.keep_alive = False
            length = exchange.headers.get(b"content-length", b"0")
            self._raw_left_bytes = int(length) if length.isdigit() else 0
            if self._raw_left_bytes:
                return
        else:
            self._is_between = True
        self._complete_message(exchange)

    def _complete_message(self, exchange: DirectExchange) -> None:
        exchange.more_body = False
        if self.flow.read_paused and not self.pipeline:
            # A long body stops the reading; who does not read sees no client leave.
            self.flow.resume_reading()
        if exchange.response_complete:
            # The answer went out before the end of the body; see ``_complete``.
            self.close_sent(exchange.idle_s)
        elif exchange.task is not None:
            exchange.set()
        elif not self.pipeline or not self._is_queued(exchange):
            self._due = exchange

    def _is_queued(self, exchange: DirectExchange) -> bool:
        waiting: deque[tuple[Any, Any]] = self.pipeline
        return bool(waiting) and any(cycle is exchange for cycle, _ in waiting)
