"""The spine: a call is admitted, planned, attempted at its targets, streamed, and settled."""

import asyncio
import logging
import time
from base64 import b64encode
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

import msgspec

from trunkline.access.credential import read_account, read_key
from trunkline.access.grant import Grant
from trunkline.access.verifier import Verifier
from trunkline.admission import Desk, Stay
from trunkline.call import Call, make_request_id
from trunkline.chat import TextRequest
from trunkline.delivery import Fan, Job, deliver_stream, deliver_whole, fail, run_all
from trunkline.errors import GatewayError
from trunkline.exchange import Exchange
from trunkline.heartbeat import Heartbeat
from trunkline.providers.fetch import Fetcher
from trunkline.providers.provider import Provider
from trunkline.providers.upstream import Response
from trunkline.routing.ask import Ask
from trunkline.routing.fit import ClientFormat, find_foreign_images, find_read_said
from trunkline.routing.plan import find_route
from trunkline.routing.table import Route, Table, Target
from trunkline.wire.change import Changes
from trunkline.wire.image import replace_addresses
from trunkline.wire.reply import Pair
from trunkline.wire.upstream_failure import read_failure

_log = logging.getLogger(__name__)

FAILURE_LIMIT_BYTES: Final = 1024 * 1024
IMAGE_LIMIT: Final = 8
"""Images that one call may have us fetch: they are all in memory at once."""
LEAST_PATIENCE_S: Final = 1.0
"""Shorter read timeouts count as this one: nobody shall make us ping without end."""
_STOPPING: Final = "The gateway is stopping."
_INTERNAL: Final = "The gateway failed; its log has the cause under this request id."


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


class Rules(msgspec.Struct, frozen=True):
    """What the operator has set for all calls.

    Args:
        timing: of streamed answers.
        body_limit_bytes: largest request body.
        drain_s: how long the answer to a client that has left may go on.
    """

    timing: StreamTiming
    body_limit_bytes: int
    drain_s: float = 30


class Relay:
    """Serves inference calls: one instance a worker, one ``handle`` a call.

    Args:
        table: what stands behind which model name.
        providers: by ``Target.key``.
        verifier: says who holds a key.
        desk: admits calls, and settles them however they end.
        find_fetcher: gives what brings images to targets that do not fetch them; called when
            the first one is needed, for it reads the system's certificates.
        rules: what else the operator has set.
    """

    def __init__(
        self,
        table: Table,
        providers: Mapping[str, Provider],
        verifier: Verifier,
        desk: Desk,
        find_fetcher: Callable[[], Fetcher],
        rules: "Rules",
    ) -> None:
        self._table = table
        self._providers = providers
        self._verifier = verifier
        self._desk = desk
        self._find_fetcher = find_fetcher
        self._timing = rules.timing
        self._body_limit_bytes = rules.body_limit_bytes
        self._drain_s = rules.drain_s
        self._shielded: set[asyncio.Task[None]] = set()

    async def handle(self, exchange: Exchange, form: ClientFormat) -> None:
        """Serve one call; whatever happens, the client gets an answer or an honest cut."""
        now_ns = time.time_ns()
        call = Call(make_request_id(now_ns), time.perf_counter_ns(), now_ns // 1000)
        try:
            await self._serve(exchange, form, call)
        except GatewayError as error:
            fail(exchange, error, call)
            if error.status >= 500:
                _log.warning("call %s: %s (%s)", call.id, error.message, call.target)
        except asyncio.CancelledError:
            if not exchange.gone:
                fail(exchange, GatewayError("overloaded", _STOPPING), call)
            raise
        except Exception:  # noqa: BLE001 - the last guard: a bug becomes a 500, not a hang
            _log.exception("call %s failed inside the gateway", call.id)
            fail(exchange, GatewayError("internal_error", _INTERNAL), call)

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
        seat = grant.seat
        if selected or tagged:
            seat = await self._verifier.choose_account(grant, selected, tagged)
        stay = self._desk.register(call, seat, form.name, request, len(body))
        run = self._run(exchange, form, call, stay, grant)
        if seat.account_terms.leaving == "drain":
            await self._run_shielded(exchange, run)
        else:
            await run

    async def _run(
        self, exchange: Exchange, form: ClientFormat, call: Call, stay: Stay, grant: Grant
    ) -> None:
        """Serve a call that is known, and settle it, however it ends."""
        try:
            grant.require_model(stay.request.model)
            await self._serve_admitted(exchange, form, call, stay)
        except GatewayError as error:
            stay.note_end("failed" if call.attempts else "refused", error.code)
            raise
        except asyncio.CancelledError:
            gone = exchange.gone
            stay.note_end("left" if gone else "failed", "" if gone else "overloaded")
            raise
        except BaseException:
            stay.note_end("failed", "internal_error")
            raise
        finally:
            # Nothing is awaited here: the client may be gone, and a wait would be cancelled.
            # A call that is complete was settled before its last bytes left.
            self._desk.settle(stay, call)

    async def _run_shielded(self, exchange: Exchange, run: Coroutine[Any, Any, None]) -> None:
        """Serve a call that goes on when its client leaves, to learn the provider's own count."""
        task = asyncio.get_running_loop().create_task(run)
        self._shielded.add(task)
        task.add_done_callback(self._shielded.discard)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if exchange.gone:
                task.get_loop().call_later(self._drain_s, task.cancel)
                task.add_done_callback(_take_outcome)
            else:
                task.cancel()
            raise

    async def _serve_admitted(
        self, exchange: Exchange, form: ClientFormat, call: Call, stay: Stay
    ) -> None:
        route = find_route(self._table, stay.request.model)
        strict = exchange.headers.get(b"x-trunkline-strict", b"").strip().lower() == b"true"
        await self._desk.admit(stay, call, route, strict=strict)
        settle = partial(self._settle_complete, exchange, call, stay, route)
        job = Job(exchange, form, stay.request, route, call, settle, stay.words)
        if stay.request.stream:
            await self._stream(job, stay)
        else:
            await self._attempt_each(job, stay, None)

    def _settle_complete(self, exchange: Exchange, call: Call, stay: Stay, route: Route) -> None:
        """Settle a call whose last bytes are about to leave.

        No client then has a whole answer that the ledger does not know of, even if the gateway
        is killed that moment.
        """
        self._desk.end_attempt(stay, call, route.targets[call.attempts - 1], "complete")
        if exchange.gone:
            stay.note_end("left", "")
        self._desk.settle(stay, call)

    async def admit(self, headers: Mapping[bytes, bytes]) -> Grant:
        """Who is calling; raises ``invalid_api_key``."""
        key = read_key(headers.get(b"x-api-key"), headers.get(b"authorization"))
        return self._verifier.check(key) or await self._verifier.verify(key)

    async def close(self) -> None:
        """Wait for the answers whose clients have left."""
        if self._shielded:
            await asyncio.wait(self._shielded)

    async def _stream(self, job: Job, stay: Stay) -> None:
        patience = job.exchange.headers.get(b"x-stainless-read-timeout")
        hold_s, every_s = self._timing.fit(patience)
        heartbeat = Heartbeat(job.exchange, job.start, hold_s, every_s)
        try:
            await self._attempt_each(job, stay, heartbeat)
        finally:
            heartbeat.stop()

    async def _attempt_each(self, job: Job, stay: Stay, heartbeat: Heartbeat | None) -> None:
        """Try the targets in order until one delivers; never another after the first content."""
        call, targets, desk, exchange = job.call, job.route.targets, self._desk, job.exchange
        strict = exchange.headers.get(b"x-trunkline-strict", b"").strip().lower() == b"true"
        for target in targets:
            call.begin_attempt(target.label, time.perf_counter_ns())
            ask = Ask(job.stamp(), Changes(strict=strict))
            call.changes = ask.changes.words
            call.changes += job.words
            desk.begin_attempt(call)
            try:
                await self._attempt(job, target, ask, heartbeat)
            except GatewayError as error:
                desk.end_attempt(stay, call, target, "failed", error.code)
                spent = call.attempts == len(targets)
                if spent or exchange.started or exchange.gone or not error.kind.retryable:
                    raise
            except BaseException:
                desk.end_attempt(stay, call, target, "left" if exchange.gone else "failed")
                raise
            else:
                return  # it was settled as it was delivered

    async def _attempt(
        self, job: Job, target: Target, ask: Ask, heartbeat: Heartbeat | None
    ) -> None:
        """Send to one target and deliver its answer.

        Raises:
            GatewayError: of every sort that an upstream can cause.
        """
        request = job.request
        foreign = find_foreign_images(request, job.route, target)
        if foreign:
            asked_ns = time.perf_counter_ns()
            try:
                images = await self._fetch(foreign)
            finally:
                job.call.upstream_ns += time.perf_counter_ns() - asked_ns
            request = replace_addresses(request, images)
        pairs = job.form.fit(request, job.route, target, ask).pairs
        if len(pairs) == 1:
            response = await self._send(job, target, pairs[0])
            try:
                if heartbeat is None:
                    await deliver_whole(job, pairs[0], response)
                else:
                    await deliver_stream(job, pairs[0].open_stream(), response, heartbeat)
            finally:
                response.close()
            return
        fan = Fan(job, pairs, partial(self._send, job, target))
        # A task of its own, for a group of tasks needs one around it.
        loop = asyncio.get_running_loop()
        await loop.create_task(fan.deliver_whole() if heartbeat is None else fan.stream(heartbeat))

    async def _send(self, job: Job, target: Target, pair: Pair) -> Response:
        """Send one request; a status other than 2xx is a failure."""
        provider = self._providers[target.key]
        body = pair.write_request()
        key = _read_caller_key(job.exchange.headers) if target.row.caller_key else ""
        call = job.call
        call.caller_paid = bool(key)
        sent_ns = time.perf_counter_ns()
        call.sent_ns = call.sent_ns or sent_ns
        call.sent += 1
        try:
            response = await provider.send(pair.path, body, job.route.deadlines, key)
        finally:
            call.upstream_ns += time.perf_counter_ns() - sent_ns
        if 200 <= response.status < 300:
            return response
        call.sent -= 1
        try:
            said = await response.read_all(FAILURE_LIMIT_BYTES)
        finally:
            response.close()
        failure = read_failure(
            response.status,
            response.headers,
            find_read_said(target)(said, response.headers),
            target=target.label,
            own=provider.spec.own,
        )
        if key and failure.code == "upstream_auth":
            message = f"Target '{target.label}' did not accept the key of x-openai-api-key."
            raise GatewayError("invalid_request", message, param="x-openai-api-key")
        raise failure

    async def _fetch(self, addresses: list[str]) -> dict[str, str]:
        """Data URLs of images that the target does not fetch itself, by address."""
        # A task of its own: a gathering of tasks needs one around it.
        found = await asyncio.get_running_loop().create_task(self._fetch_each(addresses))
        return dict(zip(addresses, found, strict=True))

    async def _fetch_each(self, addresses: list[str]) -> list[str]:
        if len(addresses) > IMAGE_LIMIT:
            raise GatewayError(
                "invalid_request",
                f"At most {IMAGE_LIMIT} images can be named by address for this target.",
            )
        fetcher = self._find_fetcher()
        found = await run_all([fetcher.fetch(address) for address in addresses])
        return [f"data:{each.media_type};base64,{b64encode(each.data).decode()}" for each in found]


def _take_outcome(task: asyncio.Task[None]) -> None:
    """Nobody waits for it any more, and its end is in the ledger."""
    if not task.cancelled():
        task.exception()


def _read_caller_key(headers: Mapping[bytes, bytes]) -> str:
    """The caller's own key for OpenAI, "" where there is none.

    Raises:
        GatewayError: ``invalid_request`` for what cannot stand in a header.
    """
    key = headers.get(b"x-openai-api-key", b"").decode("latin-1").strip()
    if key and not (key.isascii() and key.isprintable()):
        raise GatewayError(
            "invalid_request", "x-openai-api-key: expected printable ASCII.", param=None
        )
    return key
