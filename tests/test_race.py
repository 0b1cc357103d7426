"""Two attempts at one call, moment by moment: what happens when both speak in the same one."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from trunkline.call import Call, Deadlines
from trunkline.delivery import Job
from trunkline.errors import GatewayError
from trunkline.race import OutrunError, Race, Rig
from trunkline.routing.hedge import LEAST, Hedges
from trunkline.routing.rule import CircuitRule, RoutingRule
from trunkline.routing.standing import Standings
from trunkline.routing.table import Columns, Route, Target
from trunkline.routing.trail import Trail

A, B = Target("p", "a"), Target("p", "b")
ROUTE = Route("model", (A, B), Columns(), Deadlines(), rule=RoutingRule(hedge_share=1))


class Ring:
    """A race whose attempts do what the test says, step by step.

    Attributes:
        doors: by target, what an attempt there waits for before it goes on.
        lines: what happened, in order.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.doors = {name: loop.create_future() for name in ("a", "b")}
        self.lines: list[str] = []
        self.exchange = SimpleNamespace(gone=False)
        self.call = Call("req_1", 0, 0)
        standings = Standings(CircuitRule())
        self.hedges = Hedges()
        for _ in range(LEAST):
            self.hedges.find_times(A.label, stream=True).note(0.001)
        fields: Any = {
            "exchange": self.exchange,
            "form": None,
            "request": SimpleNamespace(stream=True),
            "route": ROUTE,
            "call": self.call,
            "settle": lambda: self.lines.append(f"settled {self.call.target}"),
            "words": (),
            "deadlines": Deadlines(),
            "seat": None,
        }
        desk: Any = SimpleNamespace(end_attempt=self.end_attempt)
        rig = Rig(
            self.attempt,
            desk,
            self.hedges,
            lambda _target: True,
            lambda job: Trail(job.route, standings, lambda: 0.5, 0),
            lambda _job, _trail, _now_s: None,
        )
        stay: Any = SimpleNamespace(hold=None)
        step = A, standings.find(A)
        self.race = Race(rig, Job(**fields), stay, step, None)

    def end_attempt(self, _stay: Any, call: Call, _target: Any, status: str, code: str) -> None:
        self.lines.append(f"{call.target} {status} {code}".strip())

    async def attempt(self, job: Job, _stay: Any, step: Any, _heartbeat: Any) -> None:
        target, standing = step
        job.call.begin_attempt(target.model, 1)
        standing.enter()
        self.lines.append(f"{target.model} begins")
        side = job.side
        assert side is not None
        try:
            await self.doors[target.model]
            side.claim()
        except OutrunError:
            self.lines.append(f"{target.model} is outrun")
            job.call.readings.append(SimpleNamespace())
            raise
        except asyncio.CancelledError:
            self.lines.append(f"{target.model} is cancelled")
            raise
        job.call.readings.append(SimpleNamespace())
        side.claim()  # as often as it likes
        job.settle()

    async def run(self) -> "asyncio.Task[None]":
        """Begin, and return when both are asked."""
        task = asyncio.create_task(self.race.run(None))
        give_up_s = asyncio.get_running_loop().time() + 10
        while "b begins" not in self.lines:
            assert asyncio.get_running_loop().time() < give_up_s
            await asyncio.sleep(0.001)
        return task


@pytest.fixture
def ring() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.mark.parametrize(("sooner", "later"), [("a", "b"), ("b", "a")])
def test_only_one_speaks_though_both_could(ring: asyncio.Runner, sooner: str, later: str) -> None:
    async def play() -> None:
        at = Ring()
        task = await at.run()
        at.doors[sooner].set_result(None)
        at.doors[later].set_result(None)
        await task
        assert at.lines == [
            "a begins",
            "b begins",
            f"{later} left hedged",
            f"settled {sooner}",
            f"{later} is outrun",
        ]
        assert (at.call.target, at.call.attempts, len(at.call.readings)) == (sooner, 2, 1)

    ring.run(play())


def test_one_that_says_nothing_is_cancelled(ring: asyncio.Runner) -> None:
    async def play() -> None:
        at = Ring()
        task = await at.run()
        at.doors["b"].set_result(None)
        await task
        assert at.lines[2:] == ["a left hedged", "settled b", "a is cancelled"]

    ring.run(play())


def test_both_fail_and_the_last_failure_is_told(ring: asyncio.Runner) -> None:
    async def play() -> None:
        at = Ring()
        task = await at.run()
        at.doors["b"].set_exception(GatewayError("overloaded", "b"))
        await asyncio.sleep(0.01)
        assert not task.done()
        at.doors["a"].set_exception(GatewayError("upstream_error", "a"))
        with pytest.raises(GatewayError, match="a"):
            await task
        assert at.race.step[0] is A
        assert at.race.trail is not None
        assert at.race.trail.tried == [("p/b", "overloaded")]
        assert at.hedges.outcomes["lost"] == 1

    ring.run(play())


def test_the_call_is_the_second_ones_once_the_first_has_failed(ring: asyncio.Runner) -> None:
    """Keep-alives that begin the answer now shall name who is still asked."""

    async def play() -> None:
        at = Ring()
        task = await at.run()
        at.doors["a"].set_exception(GatewayError("upstream_error", "a"))
        await asyncio.sleep(0.01)
        assert at.call.target == "b"
        at.doors["b"].set_result(None)
        await task
        assert at.lines[2:] == ["settled b"]
        assert at.hedges.outcomes["won"] == 1

    ring.run(play())


def test_a_bug_on_one_side_ends_the_call(ring: asyncio.Runner) -> None:
    async def play() -> None:
        at = Ring()
        task = await at.run()
        at.doors["b"].set_exception(KeyError("bug"))
        with pytest.raises(KeyError):
            await task
        await asyncio.sleep(0)
        assert at.lines[2:] == ["a failed", "a is cancelled"]

    ring.run(play())


def test_who_leaves_ends_both_at_once(ring: asyncio.Runner) -> None:
    async def play() -> None:
        at = Ring()
        task = await at.run()
        at.exchange.gone = True
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert at.lines[2:4] == ["a left", "b left"]
        await asyncio.sleep(0)
        assert sorted(at.lines[4:]) == ["a is cancelled", "b is cancelled"]
        assert at.hedges.outcomes["left"] == 1

    ring.run(play())
