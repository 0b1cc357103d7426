"""Brings an upstream's reply to the client: whole, streamed, or several joined into one."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote

import msgspec

from trunkline.access.grant import Seat
from trunkline.call import Call, Deadlines
from trunkline.chat import ChatRequest
from trunkline.errors import GatewayError
from trunkline.events import Usage
from trunkline.exchange import Exchange, write_head
from trunkline.heartbeat import Heartbeat
from trunkline.providers.upstream import Response
from trunkline.routing.ask import Request
from trunkline.routing.fit import ClientFormat
from trunkline.routing.table import Route
from trunkline.wire.failure import write_failure, write_failure_headers
from trunkline.wire.fan import FanStream, join_answers
from trunkline.wire.mend import Stamp
from trunkline.wire.reply import Answer, Pair, StreamReply
from trunkline.wire.sse import write_error_frame

_T = TypeVar("_T")

ANSWER_LIMIT_BYTES: Final = 256 * 1024 * 1024
HELD_LIMIT_BYTES: Final = 1024 * 1024
"""What a stream may hold before its first content."""
_JSON: Final = "content-type: application/json\r\nx-trunkline-overhead-us: "
# nginx in front would hold the frames back without the last of them.
_STREAM: Final = (
    "content-type: text/event-stream; charset=utf-8\r\n"
    "cache-control: no-cache\r\n"
    "x-accel-buffering: no\r\n"
)


class Side(Protocol):
    """An attempt that is made while another one of the same call is under way."""

    is_over: bool
    """The other one has won, or the client has left: this one is in the ledger already."""

    def claim(self) -> None:
        """The answer is this one's, from its first content on; raises where it is too late."""


class Job(msgspec.Struct, frozen=True):
    """One admitted call: what the attempts need of it.

    ``settle`` is called when the answer is whole, before its last bytes leave. ``words`` say what
    was changed before any target was chosen. ``deadlines`` are the route's, as its client wishes
    them; ``seat`` says whom it counts for. ``side`` is for an attempt that is not alone.
    """

    exchange: Exchange
    form: ClientFormat
    request: Request
    route: Route
    call: Call
    settle: Callable[[], None]
    words: tuple[str, ...]
    deadlines: Deadlines
    seat: Seat
    side: Side | None = None

    def stamp(self) -> Stamp:
        """What the reply carries where its upstream tells no more."""
        call = self.call
        return Stamp(f"chatcmpl-{call.id[4:]}", self.request.model, call.at_us // 1_000_000)

    def start(self) -> None:
        """Decide the status of a streamed answer."""
        self.exchange.idle_s = self.deadlines.idle_s
        self.exchange.start(200, _write_head(_STREAM, self.call))


async def deliver_whole(job: Job, pair: Pair, response: Response) -> None:
    """Pass a whole answer on."""
    sent_ns = time.perf_counter_ns()
    try:
        answer = await read_answer(job, pair, response)
    finally:
        now_ns = time.perf_counter_ns()
        job.call.upstream_ns += now_ns - sent_ns
    job.call.first_ns = now_ns
    answer_whole(job, answer)


async def read_answer(job: Job, pair: Pair, response: Response) -> Answer:
    """Read a whole answer; what it tells of its usage is noted as it comes."""
    readings, fold = job.call.readings, pair.open_fold()
    if fold is None:
        body = response.take_whole() or await response.read_all(ANSWER_LIMIT_BYTES)
        answer = pair.read_answer(body)
        readings.append(answer)
        return answer
    place = len(readings)
    readings.append(fold)

    def take(data: bytes) -> bool:
        fold.feed(data)
        return False

    await response.pump(take, None, partial(count_progress, fold))
    answer = pair.read_answer(fold.finish())
    readings[place] = answer
    return answer


def answer_whole(job: Job, answer: Answer) -> None:
    """Give the client a whole answer, with the time that the gateway itself took."""
    if job.side is not None:
        job.side.claim()
    call, exchange = job.call, job.exchange
    spent_ns = time.perf_counter_ns() - call.started_ns - call.upstream_ns
    job.settle()
    exchange.idle_s = job.deadlines.idle_s
    head = _write_head(f"{_JSON}{spent_ns // 1000}\r\n", call)
    exchange.answer(200, head, answer.body)


def count_progress(reply: StreamReply) -> int:
    """What has come of a reply that is more than a sign of life, as a number that grows.

    Content of any sort counts, whether the client's format shows it or not, and so does a prompt
    that an engine says it has read a part of. Roles, comments and pings do not.
    """
    counted = reply.counted
    read = counted.prompt_tokens if counted is not None else 0
    return reply.pieces + reply.content_seen + read


class Shortcut:
    """The short way of a token, from the read that brought it to the write that passes it on.

    Between two tokens of a stream the caches forget what belongs to it, so what counts here is
    how few of its objects are touched (docs/performance.md, Remarks).
    """

    __slots__ = ("_exchange", "_heartbeat", "_reply")

    def __init__(self, exchange: Exchange, reply: StreamReply, heartbeat: Heartbeat) -> None:
        self._exchange = exchange
        self._reply = reply
        self._heartbeat = heartbeat

    def take_chunk(self, chunk: bytes, start: int, now_s: float) -> bool | None:
        """See ``sink.TakeChunk``."""
        out = self._reply.feed_token(chunk, start, len(chunk) - 2)
        if out is None:
            return None
        self._heartbeat.written_s = now_s
        if out is chunk:
            return self._exchange.write_chunk(chunk)
        return self._exchange.write(out)


async def deliver_stream(
    job: Job, reply: StreamReply, response: Response, heartbeat: Heartbeat
) -> None:
    """Pass a stream on, its status held back until the first content."""
    exchange = job.exchange
    job.call.readings.append(reply)
    feed, write, note_write = reply.feed, exchange.write, heartbeat.note_write
    held: list[bytes] = []
    is_held = True

    def pass_on(data: bytes) -> bool:
        nonlocal is_held
        out = feed(data)
        if is_held:
            hold(held, out, reply)
            if not reply.content_seen:
                return False
            if job.side is not None:
                job.side.claim()
            is_held = False
            job.call.first_ns = time.perf_counter_ns()
            out = b"".join(held)
            held.clear()
            if not exchange.started:
                job.start()
        if not out:
            return False
        note_write()
        return write(out)

    take_chunk = Shortcut(exchange, reply, heartbeat).take_chunk
    progress = partial(count_progress, reply)
    while await response.pump(pass_on, take_chunk, progress):
        await exchange.drain()
    last = b"".join((*held, reply.finish()))
    if job.side is not None:
        job.side.claim()
    if not exchange.started:
        job.start()
    job.settle()
    exchange.end(last)


class Fan:
    """Several requests of one call at once, their replies joined as alternatives of one.

    Must be run in a task of its own; the first failure ends them all.

    Args:
        job: the call.
        pairs: one for each request.
        send: sends one; raises for a status other than 2xx.
    """

    def __init__(
        self, job: Job, pairs: tuple[Pair, ...], send: Callable[[Pair], Awaitable[Response]]
    ) -> None:
        self._job = job
        self._pairs = pairs
        self._send = send
        self._held: list[bytes] | None = []

    async def deliver_whole(self) -> None:
        """Deliver one whole answer."""
        call = self._job.call
        before_ns, asked_ns = call.upstream_ns, time.perf_counter_ns()
        try:
            answers = await run_all([self._ask(pair) for pair in self._pairs])
        finally:
            # The waits were at the same time: their sum would be longer than the call.
            call.upstream_ns = before_ns + time.perf_counter_ns() - asked_ns
        answer_whole(self._job, join_answers(answers))

    async def stream(self, heartbeat: Heartbeat) -> None:
        """Deliver one stream, its status held back until the first content of any."""
        request = self._job.request
        usage = isinstance(request, ChatRequest) and request.include_usage
        done = self._job.form.done
        join = FanStream(self._job.stamp(), len(self._pairs), done=done, include_usage=usage)
        flows = [self._pump(copy, join, heartbeat) for copy in range(len(self._pairs))]
        usages = await run_all(flows)
        if self._job.side is not None:
            self._job.side.claim()
        if not self._job.exchange.started:
            self._job.start()
        last = b"".join(self._held or ()) + join.end(usages)
        self._job.settle()
        self._job.exchange.end(last)

    async def _ask(self, pair: Pair) -> Answer:
        response = await self._send(pair)
        try:
            return await read_answer(self._job, pair, response)
        finally:
            response.close()

    async def _pump(self, copy: int, join: FanStream, heartbeat: Heartbeat) -> Usage | None:
        exchange = self._job.exchange
        response = await self._send(self._pairs[copy])
        reply = self._pairs[copy].open_stream()
        self._job.call.readings.append(reply)

        def pass_on(data: bytes) -> bool:
            return self._write(join.add(copy, reply.feed(data)), reply, heartbeat)

        try:
            progress = partial(count_progress, reply)
            while await response.pump(pass_on, None, progress):
                await exchange.drain()
            self._write(join.add(copy, reply.finish()), reply, heartbeat)
        finally:
            response.close()
        return reply.usage

    def _write(self, out: bytes, reply: StreamReply, heartbeat: Heartbeat) -> bool:
        if self._held is not None:
            hold(self._held, out, reply)
            if not reply.content_seen:
                return False
            if self._job.side is not None:
                self._job.side.claim()
            self._job.call.first_ns = time.perf_counter_ns()
            out, self._held = b"".join(self._held), None
            if not self._job.exchange.started:
                self._job.start()
        if not out:
            return False
        heartbeat.note_write()
        return self._job.exchange.write(out)


def hold(held: list[bytes], out: bytes, reply: StreamReply) -> None:
    """Keep what came before any content; raises ``upstream_error`` where that does not end."""
    if out:
        held.append(out)
        if not reply.content_seen and sum(map(len, held)) > HELD_LIMIT_BYTES:
            raise GatewayError("upstream_error", "The upstream's stream never says anything.")


async def run_all(flows: list[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Their results in order; the first failure ends the others and is raised alone."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(flow) for flow in flows]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def _write_head(first: str, call: Call) -> bytes:
    """The header lines of an answer: what it is, and where it comes from."""
    changes = f"x-trunkline-changes: {_header(','.join(call.changes))}\r\n" if call.changes else ""
    route = _tell_route(call) if call.route else ""
    return (
        f"{first}x-request-id: {call.id}\r\nx-trunkline-target: {_header(call.target)}\r\n"
        f"x-trunkline-attempts: {call.attempts}\r\n{changes}{route}"
    ).encode() + call.left


def _tell_route(call: Call) -> str:
    return f"x-trunkline-route: {_header(call.route)}\r\n" if call.route else ""


def _header(text: str) -> str:
    """A client's or operator's text, safe as a header's value."""
    if text.isascii() and text.isprintable():
        return text
    return quote(text, safe="/:@,=")


def fail(exchange: Exchange, error: GatewayError, call: Call) -> None:
    """Tell the client of a failure: as an answer, or in the stream, which is then cut."""
    if exchange.started:
        exchange.write(write_error_frame(error, call.id))
        exchange.cut()
    else:
        head = write_head(write_failure_headers(error, call.id)) + call.left
        head += _tell_route(call).encode()
        exchange.answer(error.status, head, write_failure(error, call.id))
