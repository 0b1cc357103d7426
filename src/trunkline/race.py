"""Hedging: a call whose first target is late is sent to a second one too; the sooner one wins.

The one that has content first claims the call: that moment the other is over, in the ledger too,
and its connection is closed. Until then neither has written anything to the client.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec

from trunkline.admission import Desk, Stay
from trunkline.call import Call
from trunkline.delivery import Job
from trunkline.errand import Errand, Signal
from trunkline.errors import GatewayError
from trunkline.heartbeat import Heartbeat
from trunkline.ledger.entry import Status
from trunkline.routing.hedge import Hedges
from trunkline.routing.retry import judge
from trunkline.routing.table import Target
from trunkline.routing.trail import Step, Trail

Attempt = Callable[[Job, Stay, Step, Heartbeat | None], Awaitable[None]]


class OutrunError(Exception):
    """Another attempt at the same call had content first; never leaves this module's callers."""


class Rig(msgspec.Struct, frozen=True):
    """What the races of a worker need.

    Args:
        attempt: makes one attempt.
        desk: keeps the ledger's row of each.
        hedges: what is known of earlier calls.
        has_room: whether a target takes one more call without having it wait.
        open_trail: the way of a call through its targets.
        tell_route: tells the caller of it, if they ask for that.
    """

    attempt: Attempt
    desk: Desk
    hedges: Hedges
    has_room: Callable[[Target], bool]
    open_trail: Callable[[Job], Trail]
    tell_route: Callable[[Job, Trail, float], None]


class Side:
    """One of the attempts of a race.

    Attributes:
        call: what is known of the call on this side.
        step: its target.
        is_over: the other one has won, or the client has left: what happens here is noted no more.
        has_ended: nothing more happens here.
        error: what it failed with.
    """

    __slots__ = ("_race", "call", "errand", "error", "has_ended", "is_over", "step")

    def __init__(self, race: "Race", call: Call, step: Step) -> None:
        self._race = race
        self.call = call
        self.step = step
        self.errand: Errand | None = None
        self.is_over = False
        self.has_ended = False
        self.error: BaseException | None = None

    def claim(self) -> None:
        """See ``delivery.Side``."""
        self._race.claim(self)


class Race:
    """The first attempt of a call, and perhaps another one beside it.

    The first one keeps its notes in the call itself, so that whoever looks at the call sees it as
    ever; the second one has a call of its own, which is put in its place when it counts.

    Args:
        rig: of the worker.
        job: the call.
        stay: what it may use.
        step: its first target.
        trail: its way, if it has been looked at.

    Attributes:
        step: the target that failed last.
        trail: its way, if a second target was looked for.
    """

    def __init__(self, rig: Rig, job: Job, stay: Stay, step: Step, trail: Trail | None) -> None:
        self.step = step
        self.trail = trail
        self._rig = rig
        self._job = job
        self._stay = stay
        self._sides: list[Side] = []
        self._failed: list[tuple[Side, GatewayError]] = []
        self._winner: Side | None = None
        self._heartbeat: Heartbeat | None = None
        self._waiter: Signal | None = None
        self._before_ns = 0

    async def run(self, heartbeat: Heartbeat | None) -> None:
        """Deliver the answer of the one that is sooner.

        Raises:
            GatewayError: the last failure, when both have failed, or the winner after its content.
        """
        job, hedges = self._job, self._rig.hedges
        hedges.note_call(job.route.name)
        times = hedges.find_times(self.step[1].label, stream=job.request.stream)
        late_s = times.find_late_s()
        if late_s is not None:
            await self._run(late_s, heartbeat)
            return
        await self._rig.attempt(job, self._stay, self.step, heartbeat)
        times.note(((job.call.first_ns or time.perf_counter_ns()) - job.call.begun_ns) / 1e9)

    def claim(self, side: Side) -> None:
        """One side has content: it is the one that counts. Nothing comes of it a second time.

        Raises:
            OutrunError: it is too late.
        """
        if side is self._winner:
            return
        if side.is_over:
            raise OutrunError
        self._winner = side
        now_ns = time.perf_counter_ns()
        hedges, stream = self._rig.hedges, self._job.request.stream
        for each in self._sides:
            # Of a first target that has lost it is known that it took longer than this.
            if each is side or (each is self._sides[0] and not each.has_ended):
                times = hedges.find_times(each.step[1].label, stream=stream)
                times.note((now_ns - each.call.begun_ns) / 1e9)
            if each is not side and not each.has_ended:
                self._give_up(each, "left", "hedged")
        if len(self._sides) > 1:
            hedges.outcomes["lost" if side is self._sides[0] else "won"] += 1
        self._adopt(side)

    async def _run(self, late_s: float, heartbeat: Heartbeat | None) -> None:
        loop = asyncio.get_running_loop()
        self._heartbeat = heartbeat
        self._before_ns = self._job.call.upstream_ns
        timer = loop.call_later(late_s, self._hedge)
        try:
            self._start(self._job, self.step)
            while not self._is_decided():
                # Made anew: an errand waits for a signal, a task for a future.
                self._waiter = Signal(loop)
                await self._waiter
        except BaseException:
            self._stop()
            raise
        finally:
            timer.cancel()
            if self._winner is not None:
                self._adopt(self._winner)
            self._sides.clear()

    def _start(self, job: Job, step: Step) -> None:
        side = Side(self, job.call, step)
        self._sides.append(side)
        flow = self._try(msgspec.structs.replace(job, side=side), side)
        side.errand = Errand(asyncio.get_running_loop(), flow, self._wake)
        side.errand.step()

    async def _try(self, job: Job, side: Side) -> None:
        """One side's attempt, to its end."""
        try:
            await self._rig.attempt(job, self._stay, side.step, self._heartbeat)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - told where it is waited for
            side.error = error
            if isinstance(error, GatewayError) and not side.is_over:
                self._failed.append((side, error))
        side.has_ended = True

    def _wake(self, _errand: Errand) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _is_decided(self) -> bool:
        """Whether the answer is delivered; raises what the call has failed with."""
        winner = self._winner
        if winner is not None:
            if winner.error is not None:
                raise winner.error
            return winner.has_ended
        for side in self._sides:
            if side.error is not None and not isinstance(side.error, GatewayError):
                raise side.error
        if not all(side.has_ended for side in self._sides):
            if self._sides[0].has_ended:
                self._adopt(self._sides[1])
            return False
        if len(self._sides) > 1:
            self._rig.hedges.outcomes["lost"] += 1
        *before, (last, failure) = self._failed
        for side, error in before:
            if self.trail is not None:
                self.trail.note(side.step[1], error.code, judge(error))
        self.step = last.step
        self._adopt(last)
        raise failure

    def _hedge(self) -> None:
        """The first target is late: ask another one as well."""
        job, rig = self._job, self._rig
        if job.exchange.gone:  # its answer is only read on to be counted
            return
        now_ns = time.perf_counter_ns()
        self.trail = trail = self.trail or rig.open_trail(job)
        step = trail.find_beside(self.step[1], now_ns / 1e9)
        if step is None or self._winner is not None:  # it has begun to speak: it is not late
            return
        if not self._may_hedge(step[0], now_ns / 1e9):
            rig.hedges.outcomes["denied"] += 1
            return
        trail.hedge = step[1].label
        rig.tell_route(job, trail, now_ns / 1e9)
        # All the time so far was spent waiting for the first one.
        waited_ns = self._before_ns + now_ns - job.call.begun_ns
        call = msgspec.structs.replace(job.call, upstream_ns=waited_ns)
        job.call.attempts += 1
        self._start(msgspec.structs.replace(job, call=call, settle=self._settle), step)

    def _may_hedge(self, target: Target, now_s: float) -> bool:
        """Whether share, budgets and the target itself have room for one more attempt."""
        route, hold = self._job.route, self._stay.hold
        return (
            self._rig.has_room(target)
            and self._rig.hedges.take(route.name, route.rule.hedge_share, now_s)
            and (hold is None or hold.double())
        )

    def _settle(self) -> None:
        """The second one's answer is whole."""
        self._adopt(self._sides[1])
        self._job.settle()

    def _adopt(self, side: Side) -> None:
        """From now on the call is as this side knows it."""
        if side.call is not self._job.call:
            self._job.call.adopt(side.call)

    def _give_up(self, side: Side, status: Status, code: str) -> None:
        """End a side at once, whatever it waits for."""
        side.is_over = True
        target, standing = side.step
        self._rig.desk.end_attempt(self._stay, side.call, target, status, code)
        standing.leave(code or ("left" if status == "left" else "internal_error"), probe=False)
        if side.errand is not None:
            side.errand.cancel()

    def _stop(self) -> None:
        """End what still runs: the client has left, or the gateway stops."""
        running = [side for side in self._sides if not (side.has_ended or side.is_over)]
        gone = self._job.exchange.gone
        for side in running:
            self._give_up(side, "left" if gone else "failed", "")
        if self._winner is None and running and len(self._sides) > 1:
            self._rig.hedges.outcomes["left"] += 1
