"""Tries the targets of a call until one delivers, before the first content and never after it."""

import asyncio
import random
import time

from trunkline.admission import Desk, Stay
from trunkline.courier import Courier
from trunkline.delivery import Job
from trunkline.errors import GatewayError
from trunkline.heartbeat import Heartbeat
from trunkline.race import Race, Rig
from trunkline.routing.ask import Ask
from trunkline.routing.hedge import Hedges
from trunkline.routing.prefix import find_prefix
from trunkline.routing.retry import Verdict, judge
from trunkline.routing.standing import Standing, Standings
from trunkline.routing.table import Route
from trunkline.routing.trail import Step, Trail
from trunkline.wire.change import Changes


class Failover:
    """Gives calls to targets; one a worker, one ``serve`` a call.

    Args:
        desk: keeps the ledger's row of each attempt.
        standings: how the targets stand.
        courier: makes an attempt.

    Attributes:
        hedges: what is known of hedging.
    """

    def __init__(self, desk: Desk, standings: Standings, courier: Courier) -> None:
        self.hedges = Hedges()
        self._desk = desk
        self._standings = standings
        self._courier = courier
        self._rig = Rig(
            self._attempt, desk, self.hedges, courier.has_room, self._open_trail, _tell_route
        )

    async def serve(self, job: Job, stay: Stay, heartbeat: Heartbeat | None) -> None:
        """Try one target after the other until one delivers.

        Raises:
            GatewayError: the last failure, when nothing is left to be tried or the client has
                had content already.
        """
        first = job.route.targets[0]
        step = first, self._standings.find(first)
        trail: Trail | None = None
        if not _is_plain(job.route, step[1]) or job.exchange.wishes.explain:
            trail = self._open_trail(job)
            step = _begin(job, trail)
        step[1].retries.calls += 1
        race = self._open_race(job, stay, step, trail) if job.route.rule.hedge_share else None
        while True:
            try:
                if race is None:
                    await self._attempt(job, stay, step, heartbeat)
                else:
                    await race.run(heartbeat)
            except GatewayError as error:
                # Keep-alives may have started the answer: as long as there is no content in it,
                # another target can still bring all of it.
                if job.exchange.gone or job.call.first_ns:
                    raise
                if race is not None:
                    step, trail, race = race.step, race.trail, None
                trail = trail or self._open_trail(job)
                step = await _go_on(job, trail, step, error)
            else:
                return  # it was settled as it was delivered

    def _open_race(self, job: Job, stay: Stay, step: Step, trail: Trail | None) -> Race | None:
        """The race of a call that may be hedged; a probe, and a target without peers, has none."""
        if len(job.route.targets) == 1 or not step[1].circuit.is_closed:
            return None
        return Race(self._rig, job, stay, step, trail)

    def _open_trail(self, job: Job) -> Trail:
        prefix = None
        if job.route.rule.sticky:
            prefix = find_prefix(job.seat.account_id, job.request)
        now_s = time.perf_counter_ns() / 1e9
        return Trail(job.route, self._standings, random.random, now_s, prefix)

    async def _attempt(self, job: Job, stay: Stay, step: Step, heartbeat: Heartbeat | None) -> None:
        """Make one attempt, and note how it went: in the ledger and at the target's standing.

        Raises:
            GatewayError: of every sort that an upstream can cause.
        """
        target, standing = step
        call, desk, exchange = job.call, self._desk, job.exchange
        begun_ns = time.perf_counter_ns()
        call.begin_attempt(standing.label, begun_ns)
        changes = Changes(exchange.wishes.strict)
        call.changes = changes.words
        if job.words:
            call.changes += job.words
        ask = Ask(job.stamp(), changes)
        if call.attempts > 1 or target is not job.route.targets[0]:
            desk.begin_attempt(call)
        probe = standing.enter()
        try:
            await self._courier.deliver(job, target, ask, heartbeat)
        except GatewayError as error:
            if job.side is not None and job.side.is_over:
                raise
            desk.end_attempt(stay, call, target, "failed", error.code)
            if exchange.gone:
                standing.leave("left", probe=probe)
            else:
                now_ns = time.perf_counter_ns()
                verdict = _weigh(job, error, (now_ns - begun_ns) / 1e9)
                standing.note_failure(error.code, verdict, now_ns / 1e9, probe=probe)
            raise
        except BaseException:
            if job.side is not None and job.side.is_over:
                raise
            desk.end_attempt(stay, call, target, "left" if exchange.gone else "failed")
            standing.leave("left" if exchange.gone else "internal_error", probe=probe)
            raise
        first_ns = call.first_ns or time.perf_counter_ns()  # an answer may have no content
        standing.note_success((first_ns - begun_ns) / 1e9, first_ns / 1e9, probe=probe)


def _is_plain(route: Route, standing: Standing) -> bool:
    """Whether the first target is the one to begin with, without a look at the others."""
    if not standing.circuit.is_closed:
        return False
    if len(route.targets) == 1:
        return True
    ordered = route.rule.policy == "ordered" and not route.targets[0].on
    return ordered and not standing.aside_until_s


def _begin(job: Job, trail: Trail) -> Step:
    """The first step; raises ``overloaded`` when every target is left alone."""
    now_s = time.perf_counter_ns() / 1e9
    try:
        return trail.begin(now_s)
    finally:
        _tell_route(job, trail, now_s)


async def _go_on(job: Job, trail: Trail, step: Step, error: GatewayError) -> Step:
    """The next step after a failure, when its time has come; raises the failure if none is."""
    now_ns = time.perf_counter_ns()
    spent_s = (now_ns - job.call.started_ns) / 1e9
    verdict = judge(error)
    trail.note(step[1], error.code, verdict)
    found = trail.find_next(verdict, now_ns / 1e9, job.deadlines.total_s - spent_s)
    _tell_route(job, trail, now_ns / 1e9)
    if found is None:
        raise error
    following, wait_s = found
    if wait_s > 0:
        try:
            await asyncio.sleep(wait_s)
        finally:
            job.call.upstream_ns += time.perf_counter_ns() - now_ns
    return following


def _weigh(job: Job, error: GatewayError, took_s: float) -> Verdict:
    """What a failure says of the target: nothing, where the caller's own key or haste is why."""
    verdict = judge(error)
    if job.call.caller_paid and not verdict.counts:
        return Verdict()
    if error.code == "upstream_timeout" and job.call.sent and _is_hurried(job, took_s):
        return Verdict()
    return verdict


def _is_hurried(job: Job, took_s: float) -> bool:
    """Whether an attempt had less time than the model's deadlines give it."""
    own, given = job.route.deadlines, job.deadlines
    return (
        given.first_token_s < own.first_token_s
        or given.idle_s < own.idle_s
        or took_s < min(own.connect_s, own.first_token_s, own.idle_s)
    )


def _tell_route(job: Job, trail: Trail, now_s: float) -> None:
    """Tell a caller who asks for it why the call goes where it goes."""
    if job.exchange.wishes.explain:
        job.call.route = trail.describe(now_s)
