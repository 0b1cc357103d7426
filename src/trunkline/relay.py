"""The spine: a call is admitted, planned, attempted at its targets, streamed, and settled."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import quote

import msgspec

from trunkline.access.credential import read_account, read_key
from trunkline.access.grant import Grant
from trunkline.access.verifier import Verifier
from trunkline.call import Call, make_request_id
from trunkline.chat import TextRequest
from trunkline.errors import GatewayError
from trunkline.exchange import Exchange, write_head
from trunkline.heartbeat import Heartbeat
from trunkline.providers.provider import Provider
from trunkline.providers.upstream import Response
from trunkline.routing.fit import ClientFormat, Request
from trunkline.routing.plan import find_route
from trunkline.routing.table import Route, Table, Target
from trunkline.wire.failure import write_failure, write_failure_headers
from trunkline.wire.mend import Stamp
from trunkline.wire.openai_failure import read_failure
from trunkline.wire.reply import Pair, StreamReply
from trunkline.wire.sse import write_error_frame

_log = logging.getLogger(__name__)

ANSWER_LIMIT_BYTES: Final = 256 * 1024 * 1024
FAILURE_LIMIT_BYTES: Final = 1024 * 1024
LEAST_PATIENCE_S: Final = 1.0
"""Shorter read timeouts count as this one: nobody shall make us ping without end."""
_INTERNAL: Final = "The gateway failed; its log has the cause under this request id."
_JSON: Final = b"content-type: application/json\r\n"
# nginx in front would hold the frames back without the last of them.
_STREAM: Final = (
    b"content-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\n"
    b"x-accel-buffering: no\r\n"
)


class StreamTiming(msgspec.Struct, frozen=True):
    """When a streamed answer starts without content, and how often silence is broken, in s."""

    hold_s: float = 20
    keepalive_s: float = 15

    def fit(self, read_timeout: bytes | None) -> tuple[float, float]:
        """Hold and interval for a client that gives up after ``read_timeout`` seconds."""
        try:
            patience_s = float(read_timeout or b"inf")
        except ValueError:
            return self.hold_s, self.keepalive_s
        if not patience_s > 0:
            return self.hold_s, self.keepalive_s
        patience_s = max(patience_s, LEAST_PATIENCE_S)
        return min(self.hold_s, patience_s / 2), min(self.keepalive_s, patience_s / 3)


class Relay:
    """Serves inference calls: one instance a worker, one ``handle`` a call.

    Args:
        table: what stands behind which model name.
        providers: by ``Target.key``.
        verifier: says who holds a key.
        timing: of streamed answers.
        body_limit_bytes: largest request body.
    """

    def __init__(
        self,
        table: Table,
        providers: Mapping[str, Provider],
        verifier: Verifier,
        timing: StreamTiming,
        body_limit_bytes: int,
    ) -> None:
        self._table = table
        self._providers = providers
        self._verifier = verifier
        self._timing = timing
        self._body_limit_bytes = body_limit_bytes

    async def handle(self, exchange: Exchange, form: ClientFormat) -> None:
        """Serve one call; whatever happens, the client gets an answer or an honest cut."""
        call = Call(make_request_id(), time.perf_counter_ns())
        try:
            await self._serve(exchange, form, call)
        except GatewayError as error:
            fail(exchange, error, call.id)
            if error.status >= 500:
                _log.warning("call %s: %s (%s)", call.id, error.message, call.target)
        except asyncio.CancelledError:
            if not exchange.gone:
                fail(exchange, GatewayError("overloaded", "The gateway is stopping."), call.id)
            raise
        except Exception:  # noqa: BLE001 - the last guard: a bug becomes a 500, not a hang
            _log.exception("call %s failed inside the gateway", call.id)
            fail(exchange, GatewayError("internal_error", _INTERNAL), call.id)

    async def _serve(self, exchange: Exchange, form: ClientFormat, call: Call) -> None:
        if exchange.method != "POST":
            raise GatewayError(
                "method_not_allowed", f"{exchange.method} is not allowed here; send POST."
            )
        headers = exchange.headers
        key = read_key(headers.get(b"x-api-key"), headers.get(b"authorization"))
        grant = self._verifier.check(key) or await self._verifier.verify(key)
        body = exchange.take_body(self._body_limit_bytes)
        if body is None:
            body = await exchange.read_body(self._body_limit_bytes)
        request = form.read(body)
        tagged = request.account_id if isinstance(request, TextRequest) else None
        selected = read_account(headers.get(b"x-selected-account-id"))
        if selected or tagged:
            await self._verifier.choose_account(grant, selected, tagged)
        grant.require_model(request.model)
        job = _Job(exchange, form, request, find_route(self._table, request.model), call)
        if request.stream:
            await self._stream(job)
        else:
            await self._attempt_each(job, _deliver_whole)

    async def admit(self, headers: Mapping[bytes, bytes]) -> Grant:
        """Who is calling; raises ``invalid_api_key``."""
        key = read_key(headers.get(b"x-api-key"), headers.get(b"authorization"))
        return self._verifier.check(key) or await self._verifier.verify(key)

    async def _stream(self, job: "_Job") -> None:
        patience = job.exchange.headers.get(b"x-stainless-read-timeout")
        hold_s, every_s = self._timing.fit(patience)
        heartbeat = Heartbeat(job.exchange, job.start, hold_s, every_s)

        async def deliver(job: _Job, pair: Pair, response: Response) -> None:
            await _deliver_stream(job, pair.open_stream(), response, heartbeat)

        try:
            await self._attempt_each(job, deliver)
        finally:
            heartbeat.stop()

    async def _attempt_each(self, job: "_Job", deliver: "_Deliver") -> None:
        """Try the targets in order until one delivers; never another after the first content."""
        call, targets = job.call, job.route.targets
        for target in targets:
            call.attempts += 1
            call.target = target.label
            fitted = job.form.fit(job.request, job.route, target, _stamp(job))
            call.changes = fitted.changes
            try:
                await self._attempt(job, target, fitted.pair, deliver)
            except GatewayError as error:
                spent = call.attempts == len(targets)
                if spent or job.exchange.started or not error.kind.retryable:
                    raise
            else:
                return

    async def _attempt(self, job: "_Job", target: Target, pair: Pair, deliver: "_Deliver") -> None:
        """Send to one target and deliver its answer; a status other than 2xx is a failure.

        Raises:
            GatewayError: of every sort that an upstream can cause.
        """
        provider = self._providers[target.key]
        body = pair.write_request()
        sent_ns = time.perf_counter_ns()
        response = await provider.send(pair.path, body, job.route.deadlines)
        job.call.upstream_ns += time.perf_counter_ns() - sent_ns
        try:
            if not 200 <= response.status < 300:
                raise await _read_failure(response, target.label, own=provider.spec.own)
            await deliver(job, pair, response)
        finally:
            response.close()


async def _read_failure(response: Response, target: str, *, own: bool) -> GatewayError:
    said = await response.read_all(FAILURE_LIMIT_BYTES)
    return read_failure(response.status, response.headers, said, target=target, own=own)


class _Job(msgspec.Struct, frozen=True):
    """One admitted call: what the attempts need of it."""

    exchange: Exchange
    form: ClientFormat
    request: Request
    route: Route
    call: Call

    def start(self) -> None:
        """Decide the status of a streamed answer."""
        self.exchange.start(200, _STREAM + _tell(self.call))


_Deliver = Callable[[_Job, Pair, Response], Awaitable[None]]


async def _deliver_whole(job: _Job, pair: Pair, response: Response) -> None:
    sent_ns = time.perf_counter_ns()
    fold = pair.open_fold()
    if fold is None:
        body = response.take_whole() or await response.read_all(ANSWER_LIMIT_BYTES)
    else:
        while data := await response.read():
            fold.feed(data)
        body = fold.finish()
    job.call.upstream_ns += time.perf_counter_ns() - sent_ns
    answer = pair.read_answer(body)
    spent_ns = time.perf_counter_ns() - job.call.started_ns - job.call.upstream_ns
    overhead = b"x-trunkline-overhead-us: %d\r\n" % (spent_ns // 1000)
    job.exchange.answer(200, b"%b%b%b" % (_JSON, _tell(job.call), overhead), answer.body)


async def _deliver_stream(
    job: _Job, reply: StreamReply, response: Response, heartbeat: Heartbeat
) -> None:
    """Pass a stream on, its status held back until the first content."""
    exchange = job.exchange
    feed, write, note_write = reply.feed, exchange.write, heartbeat.note_write
    held: list[bytes] = []
    is_held = True

    def pass_on(data: bytes) -> bool:
        nonlocal is_held
        out = feed(data)
        if is_held:
            held.append(out)
            if not reply.content_seen:
                return False
            is_held = False
            out = b"".join(held)
            held.clear()
            if not exchange.started:
                job.start()
        if not out:
            return False
        note_write()
        return write(out)

    while await response.pump(pass_on):
        await exchange.drain()
    last = b"".join((*held, reply.finish()))
    if not exchange.started:
        job.start()
    exchange.end(last)


def _stamp(job: _Job) -> Stamp:
    return Stamp(f"chatcmpl-{job.call.id[4:]}", job.request.model, int(time.time()))


def _tell(call: Call) -> bytes:
    """The header lines that say where an answer comes from."""
    changes = f"x-trunkline-changes: {_header(','.join(call.changes))}\r\n" if call.changes else ""
    return (
        f"x-request-id: {call.id}\r\nx-trunkline-target: {_header(call.target)}\r\n"
        f"x-trunkline-attempts: {call.attempts}\r\n{changes}"
    ).encode()


def _header(text: str) -> str:
    """A client's or operator's text, safe as a header's value."""
    if text.isascii() and text.isprintable():
        return text
    return quote(text, safe="/:@,=")


def fail(exchange: Exchange, error: GatewayError, request_id: str) -> None:
    """Tell the client of a failure: as an answer, or in the stream, which is then cut."""
    if exchange.started:
        exchange.write(write_error_frame(error, request_id))
        exchange.cut()
    else:
        head = write_head(write_failure_headers(error, request_id))
        exchange.answer(error.status, head, write_failure(error, request_id))
