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
from trunkline.providers.gate import Gate, GateRule, list_gate_families
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
        waiting = self.gate.enter(seat, within_s)
        if waiting is not None:
            await waiting
        self.is_in = True
        try:
            await self.go.wait()
        finally:
            self.is_in = False
            self.gate.leave()


async def turn_loop() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def end(*callers: Caller) -> None:
    for caller in callers:
        caller.task.cancel()
    await asyncio.gather(*(caller.task for caller in callers), return_exceptions=True)


async def test_calls_come_in_at_once_while_there_is_room() -> None:
    gate = Gate("lab", GateRule(2, 1))
    assert gate.enter(A, 60) is None
    assert gate.enter(A, 60) is None
    assert gate.running == 2
    gate.leave()
    assert gate.enter(B, 60) is None


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

    async def call(name: str) -> None:
        waiting = gate.enter(A, 60)
        if waiting is not None:
            await waiting
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
    gate.leave()
    await turn_loop()
    assert ends == ["first", "second"]
    assert (gate.running, gate.waiting) == (1, 0)


def test_a_rule_is_divided_among_workers() -> None:
    assert GateRule.make(8, None, None) == GateRule(8, 32, 30)
    assert GateRule(8, 32).divide(4) == GateRule(2, 8)
    assert GateRule(1, 1).divide(4) == GateRule(1, 1)
    assert GateRule(4, 0).divide(2) == GateRule(2, 0)


async def test_the_metrics_tell_what_runs_and_waits() -> None:
    gate = Gate("lab", GateRule(1, 0))
    gate.enter(A, 60)
    waiting = gate.enter(A, 60)
    assert waiting is not None
    with pytest.raises(GatewayError):
        await waiting
    families = {family.name: family for family in list_gate_families({"lab": gate, "free": None})}
    assert families["trunkline_calls_running"].samples[0].value == 1
    refused = families["trunkline_queue_refused"].samples
    assert {each.labels["reason"]: each.value for each in refused}["full"] == 1
    assert list(list_gate_families({"free": None})) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(0, 4), st.integers(0, 2**32))
def test_no_slot_is_lost_and_none_is_given_twice(concurrent: int, queue: int, seed: int) -> None:
    """Calls come, end and are cancelled in any order; at the end the gate is empty."""

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
            assert gate.waiting <= queue
        await end(*callers)
        assert (gate.running, gate.waiting, gate._waiters) == (0, 0, {})

    asyncio.run(play())
