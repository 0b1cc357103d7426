"""The spine: a call is admitted, planned, attempted at its targets, streamed, and settled."""

import asyncio
import logging
import time
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
from trunkline.courier import Courier
from trunkline.delivery import Job, fail
from trunkline.errors import GatewayError
from trunkline.exchange import Exchange
from trunkline.failover import Failover
from trunkline.heartbeat import Heartbeat
from trunkline.providers.fetch import Fetcher
from trunkline.providers.provider import Provider
from trunkline.resumption import Resumption
from trunkline.routing.deadline import fit_deadlines
from trunkline.routing.fit import ClientFormat
from trunkline.routing.plan import find_route
from trunkline.routing.standing import Standings
from trunkline.routing.table import Route, Table
from trunkline.wishes import Wishes, read_wishes

_log = logging.getLogger(__name__)

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

    Attributes:
        standings: how the targets stand.
        hedges: what is known of hedging.
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
        self._verifier = verifier
        self._desk = desk
        self.standings = Standings(table.rule.circuit)
        for route in table.routes.values():
            for target in route.targets:
                self.standings.add(target, route.rule.circuit)
        self._failover = Failover(desk, self.standings, Courier(providers, find_fetcher))
        self._resumption = Resumption(desk, self.standings, self._failover)
        self.hedges = self._failover.hedges
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
        wishes = exchange.wishes
        grant = self._verifier.check(wishes.digest) or await self._verify(wishes)
        body = exchange.take_body(self._body_limit_bytes)
        if body is None:
            body = await exchange.read_body(self._body_limit_bytes)
        request = form.read(body)
        tagged = request.account_id if isinstance(request, TextRequest) else None
        seat = grant.seat
        if wishes.account is not None or tagged:
            account = read_account(wishes.account)
            seat = await self._verifier.choose_account(grant, account, tagged)
        stay = Stay(seat, request, form.name, len(body))
        run = self._run(exchange, form, call, stay, grant)
        if seat.account_terms.leaving == "drain":
            await self._run_shielded(exchange, run, call)
        else:
            await run

    async def _run(
        self, exchange: Exchange, form: ClientFormat, call: Call, stay: Stay, grant: Grant
    ) -> None:
        """Serve a call that is known, and settle it, however it ends."""
        wishes, request = exchange.wishes, stay.request
        try:
            if grant.models is not None:
                grant.require_model(request.model)
            route = find_route(self._table, request.model)
            deadlines = fit_deadlines(route.deadlines, wishes, stream=request.stream)
            waiting = self._desk.admit(stay, call, route, strict=wishes.strict)
            if waiting is not None:
                await waiting
                request = stay.request
            settle = partial(self._settle_complete, exchange, call, stay, route)
            words, seat = stay.words, stay.seat
            job = Job(exchange, form, request, route, call, settle, words, deadlines, seat)
            if request.stream:
                await self._stream(job, stay)
            else:
                await self._failover.serve(job, stay, None)
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
            if not stay.settled:  # as a complete call was, before its last bytes left
                self._desk.settle(stay, call)

    async def _run_shielded(
        self, exchange: Exchange, run: Coroutine[Any, Any, None], call: Call
    ) -> None:
        """Serve a call that goes on when its client leaves, to learn the provider's own count."""
        task = asyncio.get_running_loop().create_task(run)
        self._shielded.add(task)
        task.add_done_callback(self._shielded.discard)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if exchange.gone:
                # Of a call that waits for its turn there is nothing to learn.
                drain_s = self._drain_s if call.sent else 0
                task.get_loop().call_later(drain_s, task.cancel)
                task.add_done_callback(_take_outcome)
            else:
                task.cancel()
            raise

    def _settle_complete(self, exchange: Exchange, call: Call, stay: Stay, route: Route) -> None:
        """Settle a call whose last bytes are about to leave.

        No client then has a whole answer that the ledger does not know of, even if the gateway
        is killed that moment.
        """
        self._desk.end_attempt(stay, call, route.find_target(call.target), "complete")
        if exchange.gone:
            stay.note_end("left", "")
        self._desk.settle(stay, call)

    async def admit(self, headers: Mapping[bytes, bytes]) -> Grant:
        """Who is calling; raises ``invalid_api_key``."""
        return await self._verify(read_wishes(headers))

    async def _verify(self, wishes: Wishes) -> Grant:
        """Who is calling, where the head that says so is not known yet."""
        key = read_key(wishes.api_key, wishes.authorization)
        grant = self._verifier.check(self._verifier.find_digest(key))
        grant = grant or await self._verifier.verify(key)
        wishes.digest = self._verifier.find_digest(key)
        return grant

    async def close(self) -> None:
        """Wait for the answers whose clients have left."""
        if self._shielded:
            await asyncio.wait(self._shielded)

    async def _stream(self, job: Job, stay: Stay) -> None:
        hold_s, every_s = self._timing.fit(job.exchange.wishes.patience)
        heartbeat = Heartbeat(job.exchange, job.start, hold_s, every_s)
        server = self._resumption if job.route.rule.resume else self._failover
        try:
            await server.serve(job, stay, heartbeat)
        finally:
            heartbeat.stop()


def _take_outcome(task: asyncio.Task[None]) -> None:
    """Nobody waits for it any more, and its end is in the ledger."""
    if not task.cancelled():
        task.exception()
