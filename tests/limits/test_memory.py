"""The limiter in memory: what it remembers, and that it is the arithmetic and nothing else."""

from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from limits.asking import account, key, pass_
from trunkline.limits.gcra import MINUTE_US
from trunkline.limits.limit import Permit, Refusal
from trunkline.limits.memory import MemoryLimiter

KEY = key(rpm=20, tpm=1000, concurrent=3)
Outcome = Permit | Refusal
ACCOUNT = account(rpm=30, tpm=1500, concurrent=4)


class Clock:
    def __init__(self) -> None:
        self.now_us = 1_000_000_000

    def __call__(self) -> int:
        return self.now_us


async def test_whoever_is_idle_is_forgotten() -> None:
    clock = Clock()
    limiter = MemoryLimiter(clock)
    for number in range(10_000):
        (await pass_(limiter, key(str(number), rpm=60), account(str(number), tpm=60))).settle(2)
        clock.now_us += 100_000  # so that twenty have used something within two seconds
    assert len(limiter) <= 100


async def test_whoever_has_a_call_under_way_is_not_forgotten() -> None:
    clock = Clock()
    limiter = MemoryLimiter(clock)
    subject = key("long", tpm=60, concurrent=1)
    permit = await pass_(limiter, subject, tokens=1)
    for number in range(100):
        clock.now_us += MINUTE_US
        (await pass_(limiter, key(str(number), rpm=1))).release()
    assert isinstance(await limiter.admit((subject,), 1), Refusal)
    permit.settle(200)
    refusal = await limiter.admit((subject,), 1)
    assert isinstance(refusal, Refusal)
    assert (refusal.unit, refusal.wait_us) == ("tokens", 140_000_000)


async def test_whoever_is_in_debt_is_not_forgotten() -> None:
    clock = Clock()
    limiter = MemoryLimiter(clock)
    (await pass_(limiter, key(tpm=60))).settle(600)
    for number in range(5):
        clock.now_us += MINUTE_US
        await pass_(limiter, key(str(number), rpm=1))
    assert isinstance(await limiter.admit((key(tpm=60),), 1), Refusal)
    clock.now_us += 5 * MINUTE_US
    await pass_(limiter, key(tpm=60))


def run(asking: Coroutine[Any, Any, Outcome]) -> Outcome:
    """The answer of a limiter that waits for nothing."""
    with pytest.raises(StopIteration) as caught:
        asking.send(None)
    outcome: Outcome = caught.value.value
    return outcome


class Calls(RuleBasedStateMachine):
    """Calls of one key and of its account, in any order, as time goes by."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.limiter = MemoryLimiter(self.clock)
        self.permits: list[Permit] = []
        self.requests: list[tuple[int, int]] = []  # when, and by whom: 1 for the account alone
        self.used: list[tuple[int, int]] = []

    def ask(self, *, alone: bool, tokens: int) -> None:
        subjects = (ACCOUNT,) if alone else (KEY, ACCOUNT)
        outcome = run(self.limiter.admit(subjects, tokens))
        if isinstance(outcome, Permit):
            self.permits.append(outcome)
            self.requests.append((self.clock.now_us, int(alone)))

    @rule(us=st.integers(0, 2 * MINUTE_US))
    def pass_time(self, us: int) -> None:
        self.clock.now_us += us

    @rule(alone=st.booleans(), tokens=st.integers(0, 1600))
    def ask_once(self, *, alone: bool, tokens: int) -> None:
        self.ask(alone=alone, tokens=tokens)

    @rule(alone=st.booleans())
    def ask_and_end_often(self, *, alone: bool) -> None:
        for _ in range(25):
            count = len(self.permits)
            self.ask(alone=alone, tokens=0)
            if len(self.permits) > count:
                self.permits.pop().settle(0)

    @precondition(lambda self: self.permits)
    @rule(data=st.data(), tokens=st.one_of(st.none(), st.integers(0, 3000)))
    def end(self, data: st.DataObject, tokens: int | None) -> None:
        permit = self.permits.pop(data.draw(st.integers(0, len(self.permits) - 1)))
        if tokens is None:
            permit.release()
        else:
            permit.settle(tokens)

    @invariant()
    def calls_at_once_are_counted(self) -> None:
        own = sum(len(permit.reading.subjects) == 2 for permit in self.permits)
        assert own <= 3
        assert len(self.permits) <= 4

    @invariant()
    def no_span_has_too_many_requests(self) -> None:
        for alone, rpm in ((False, 20), (True, 30)):
            times = [us for us, lonely in self.requests if alone or not lonely]
            for first, begin_us in enumerate(times):
                span_us = times[-1] - begin_us
                assert len(times) - first <= rpm + rpm * span_us / MINUTE_US


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
