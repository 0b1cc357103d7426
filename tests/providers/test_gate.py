import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripted import wait_until
from trunkline.access.grant import Seat
from trunkline.errand import Errand
from trunkline.errors import GatewayError
from trunkline.providers.gate import Gate, GateRule, Place, list_gate_families
from trunkline.terms import NO_TERMS, AccountTerms, Priority


def sit(account: str, share: int = 1, priority: Priority = "normal") -> Seat:
    terms = AccountTerms(share=share, priority=priority)
    return Seat(
        account_id=account,
        account_terms=terms,
        key_id="key",
        key_subject="key",
        key_terms=NO_TERMS,
    )


A, B = sit("a"), sit("b")


class Caller:
    """Enters a gate in a task, and stays in until it is told to go."""

    def __init__(self, gate: Gate, seat: Seat = A, within_s: float = 60) -> None:
        self.gate = gate
        self.is_in = False
        self.go = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(self._run(seat, within_s))

    async def _run(self, seat: Seat, within_s: float) -> None:
        place = self.gate.enter(seat) or await self.gate.wait(seat, within_s)
        self.is_in = True
        try:
            await self.go.wait()
        finally:
            self.is_in = False
            place.leave()


async def turn_loop() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def end(*callers: Caller) -> None:
    for caller in callers:
        caller.task.cancel()
    await asyncio.gather(*(caller.task for caller in callers), return_exceptions=True)


async def test_calls_come_in_at_once_while_there_is_room() -> None:
    gate = Gate("lab", GateRule(2, 1))
    place = gate.enter(A)
    assert place is not None
    assert gate.enter(A) is place
    assert (gate.running, place.held) == (2, 2)
    assert gate.enter(B) is None
    place.leave()
    assert gate.enter(B) is not None


async def test_who_leaves_lets_the_next_in_by_the_order_of_the_queue() -> None:
    gate = Gate("lab", GateRule(1, 10))
    callers = [Caller(gate, seat) for seat in (A, A, A, B)]
    await turn_loop()
    order: list[int] = []
    while len(order) < 4:
        (inside,) = [caller for caller in callers if caller.is_in]
        order.append(callers.index(inside))
        inside.go.set()
        await turn_loop()
    assert order == [0, 1, 3, 2]
    assert (gate.running, gate.waiting, gate.waits) == (0, 0, 3)


async def test_beyond_the_queue_a_call_is_refused_with_the_time_it_takes() -> None:
    gate = Gate("lab", GateRule(1, 1))
    first, second = Caller(gate), Caller(gate)
    await turn_loop()
    third = Caller(gate)
    await turn_loop()
    with pytest.raises(GatewayError, match="'lab' is busy with 1 calls") as caught:
        await third.task
    assert (caught.value.code, caught.value.cause) == ("overloaded", "local")
    assert caught.value.retry_after_s == 1
    assert gate.refused == {"full": 1, "displaced": 0, "late": 0}
    await end(first, second)
    assert (gate.running, gate.waiting) == (0, 0)


async def test_one_account_cannot_take_the_whole_queue() -> None:
    gate = Gate("lab", GateRule(1, 2))
    noisy = [Caller(gate) for _ in range(3)]
    await turn_loop()
    quiet = Caller(gate, B)
    await turn_loop()
    with pytest.raises(GatewayError, match="another account"):
        await noisy[2].task
    noisy[0].go.set()
    await turn_loop()
    assert noisy[1].is_in
    noisy[1].go.set()
    await turn_loop()
    assert quiet.is_in
    await end(quiet)


@pytest.mark.parametrize(("queue_s", "within_s"), [(0.05, 60), (60, 0.05)])
async def test_a_wait_that_is_too_long_ends(queue_s: float, within_s: float) -> None:
    gate = Gate("lab", GateRule(1, 5, queue_s))
    inside = Caller(gate)
    await turn_loop()
    late = Caller(gate, B, within_s)
    with pytest.raises(GatewayError, match="did not come in time") as caught:
        await asyncio.wait_for(late.task, 5)
    assert caught.value.code == "overloaded"
    assert (gate.waiting, gate.refused["late"]) == (0, 1)
    assert gate.waited_s > 0.01
    await end(inside)
    assert gate.running == 0


async def test_who_leaves_the_queue_frees_its_place_at_once() -> None:
    gate = Gate("lab", GateRule(1, 1))
    inside, waiting = Caller(gate), Caller(gate)
    await turn_loop()
    waiting.task.cancel()
    await turn_loop()
    assert gate.waiting == 0
    another = Caller(gate)
    await turn_loop()
    assert gate.waiting == 1
    await end(inside, another)
    assert (gate.running, gate.waiting) == (0, 0)


async def test_who_leaves_as_its_turn_comes_lets_the_next_in() -> None:
    gate = Gate("lab", GateRule(1, 5))
    inside, leaving, staying = Caller(gate), Caller(gate), Caller(gate)
    await turn_loop()
    inside.go.set()
    await wait_until(lambda: not inside.is_in)
    leaving.task.cancel()  # it has its turn, and does not know yet
    await turn_loop()
    assert staying.is_in
    await end(staying, leaving)
    assert (gate.running, gate.waiting) == (0, 0)


async def test_an_errand_waits_and_leaves_as_a_task_does() -> None:
    gate = Gate("lab", GateRule(1, 5))
    ends: list[str] = []
    places: list[Place] = []

    async def call(name: str) -> None:
        places.append(gate.enter(A) or await gate.wait(A, 60))
        ends.append(name)

    def send(coroutine: Coroutine[Any, Any, None]) -> Errand:
        errand = Errand(asyncio.get_running_loop(), coroutine, lambda _: None)
        errand.step()
        return errand

    send(call("first"))
    leaving = send(call("leaving"))
    send(call("second"))
    leaving.cancel()
    await turn_loop()
    assert gate.waiting == 1
    places[0].leave()
    await turn_loop()
    assert ends == ["first", "second"]
    assert (gate.running, gate.waiting) == (1, 0)


async def test_room_is_kept_for_an_account_that_uses_less() -> None:
    gate = Gate("lab", GateRule(4, 20))
    first = Caller(gate, B)
    await turn_loop()
    await end(first)
    noisy = [Caller(gate) for _ in range(8)]
    await turn_loop()
    assert [caller.is_in for caller in noisy] == [True] * 3 + [False] * 5
    assert not gate.has_room
    quiet = Caller(gate, B)
    await turn_loop()
    assert (quiet.is_in, gate.running, gate.waiting) == (True, 4, 5)
    noisy[0].go.set()  # the room that the quiet account took is kept free again
    await turn_loop()
    assert (gate.running, gate.waiting) == (3, 5)
    quiet.go.set()
    await turn_loop()
    assert (gate.running, gate.waiting) == (3, 4)
    await end(*noisy)
    assert (gate.running, gate.waiting) == (0, 0)


async def test_who_is_alone_has_all_until_another_comes() -> None:
    gate = Gate("lab", GateRule(4, 20))
    noisy = [Caller(gate) for _ in range(12)]
    await turn_loop()
    assert gate.running == 4
    quiet = Caller(gate, B)
    await turn_loop()
    assert not quiet.is_in
    for caller in noisy[:2]:
        caller.go.set()
        await turn_loop()
    assert (quiet.is_in, gate.running) == (True, 3)
    await end(*noisy, quiet)


async def test_room_that_was_kept_is_given_away_when_nobody_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trunkline.limits.headroom.ACTIVE_S", 0.02)
    gate = Gate("lab", GateRule(2, 20))
    visitor = Caller(gate, B)
    await turn_loop()
    await end(visitor)
    staying, waiting = Caller(gate), Caller(gate)
    await turn_loop()
    assert (staying.is_in, waiting.is_in) == (True, False)
    await wait_until(lambda: waiting.is_in)  # though no call has come or gone
    await end(staying, waiting)
    assert (gate.running, gate.waiting) == (0, 0)


async def test_a_call_that_is_held_back_can_leave_or_be_late() -> None:
    gate = Gate("lab", GateRule(2, 20))
    await end(Caller(gate, B))
    visitor = Caller(gate, B)
    await turn_loop()
    await end(visitor)
    inside, leaving, late = Caller(gate), Caller(gate), Caller(gate, within_s=0.02)
    await turn_loop()
    leaving.task.cancel()
    with pytest.raises(GatewayError, match="did not come in time"):
        await asyncio.wait_for(late.task, 5)
    assert (inside.is_in, gate.running, gate.waiting) == (True, 1, 0)
    await end(inside, leaving)
    assert gate.running == 0


def test_a_rule_is_divided_among_workers() -> None:
    assert GateRule.make(8, None, None) == GateRule(8, 32, 30)
    assert GateRule(8, 32).divide(4) == GateRule(2, 8)
    assert GateRule(1, 1).divide(4) == GateRule(1, 1)
    assert GateRule(4, 0).divide(2) == GateRule(2, 0)


async def test_the_metrics_tell_what_runs_and_waits() -> None:
    gate = Gate("lab", GateRule(1, 0))
    gate.enter(A)
    with pytest.raises(GatewayError):
        await gate.wait(A, 60)
    families = {family.name: family for family in list_gate_families({"lab": gate, "free": None})}
    assert families["trunkline_calls_running"].samples[0].value == 1
    refused = families["trunkline_queue_refused"].samples
    assert {each.labels["reason"]: each.value for each in refused}["full"] == 1
    assert list(list_gate_families({"free": None})) == []


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 2**32))
def test_no_slot_is_lost_and_none_is_given_twice(concurrent: int, queue: int, seed: int) -> None:
    """Calls come, end and are cancelled in any order; at the end the gate is empty.

    Meanwhile nobody waits for a slot that is free, unless it is kept for others.
    """

    async def play() -> None:
        chance = random.Random(seed)
        gate = Gate("lab", GateRule(concurrent, queue))
        callers: list[Caller] = []
        seats = (A, B, sit("c", 3), sit("h", priority="high"), sit("l", priority="low"))
        for _ in range(60):
            what = chance.random()
            alive = [caller for caller in callers if not caller.task.done()]
            if what < 0.5 or not alive:
                callers.append(Caller(gate, chance.choice(seats)))
            elif what < 0.75:
                chance.choice(alive).go.set()
            else:
                chance.choice(alive).task.cancel()
            if chance.random() < 0.6:
                await asyncio.sleep(0)
            assert sum(caller.is_in for caller in callers) <= gate.running <= concurrent
            assert gate.running == sum(place.held for place in gate._places.values())
            assert gate.waiting <= queue
            if gate.running < gate._open:
                assert gate.waiting == 0
            for turn in gate._queue:
                assert not gate._is_open_to(turn.account)
        await end(*callers)
        assert (gate.running, gate.waiting, gate._waiters) == (0, 0, {})
        assert all(not place.held and not place.waiting for place in gate._places.values())

    asyncio.run(play())
