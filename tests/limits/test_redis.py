"""Limits on a Redis server: several processes are as one, and nothing is left behind."""

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from limits.asking import account, key, pass_, poll, refuse
from limits.hammer import RPM
from limits.server import find_url, make_prefix
from trunkline.limits.lease import Patience
from trunkline.limits.limit import Permit, Refusal
from trunkline.limits.memory import MemoryLimiter
from trunkline.limits.redis import RedisLimiter

pytestmark = pytest.mark.redis

TESTS = Path(__file__).parent.parent
PATIENT = Patience(answer_s=10)
KEY = key(rpm=4, tpm=12, concurrent=3)
ACCOUNT = account(rpm=6, tpm=18, concurrent=4)


@pytest.fixture
async def client() -> AsyncIterator["Redis"]:
    async with Redis.from_url(find_url(), decode_responses=True) as made:
        yield made


@pytest.fixture
async def limiter(prefix: str) -> AsyncIterator[RedisLimiter]:
    made = RedisLimiter(find_url(), patience=PATIENT, prefix=prefix)
    yield made
    await made.close()


@pytest.fixture
async def other(prefix: str) -> AsyncIterator[RedisLimiter]:
    """The limiter of another process."""
    made = RedisLimiter(find_url(), patience=PATIENT, prefix=prefix)
    yield made
    await made.close()


def test_processes_that_ask_at_once_never_exceed_a_limit(prefix: str) -> None:
    command = [sys.executable, str(TESTS / "limits" / "hammer.py"), find_url(), prefix, "2"]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    began_s = time.monotonic()
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(4)
    ]
    said = [process.communicate(timeout=60)[0].split() for process in processes]
    lasted_s = time.monotonic() - began_s
    assert [process.returncode for process in processes] == [0] * 4
    passed = sum(int(words[0]) for words in said)
    assert RPM <= passed <= RPM + RPM * lasted_s / 60
    assert [int(words[1]) for words in said] == [0] * 4


async def test_processes_share_what_is_left(limiter: RedisLimiter, other: RedisLimiter) -> None:
    subject = key(rpm=2, tpm=100, concurrent=2)
    permit = await pass_(limiter, subject, tokens=60)
    assert (await refuse(other, subject, tokens=50)).unit == "tokens"
    permit.settle(0)
    await limiter.settle_all()
    await pass_(other, subject, tokens=100)
    assert (await refuse(limiter, subject, tokens=0)).unit == "requests"


async def test_prefixes_share_nothing(limiter: RedisLimiter, prefix: str) -> None:
    stranger = RedisLimiter(find_url(), patience=PATIENT, prefix=f"{prefix}:x")
    await pass_(limiter, key(rpm=1))
    await pass_(stranger, key(rpm=1))
    await stranger.close()


async def test_every_key_expires(limiter: RedisLimiter, client: "Redis", prefix: str) -> None:
    permit = await pass_(limiter, key(rpm=1, tpm=60, concurrent=1), account(concurrent=1))
    await limiter.check()
    names = {name: await client.pttl(name) async for name in client.scan_iter(f"{prefix}:*")}
    assert {name.removeprefix(prefix) for name in names} == {
        ":probe",
        ":{key:k}:rates",
        ":{key:k}:runs",
        ":{account:a}:runs",
    }
    assert 0 < min(names.values()) <= max(names.values()) <= 60_000
    permit.settle(120)  # two minutes' worth
    await limiter.settle_all()
    rates_ms = await client.pttl(f"{prefix}:{{key:k}}:rates")
    assert 100_000 < rates_ms <= 120_000
    assert not await client.exists(f"{prefix}:{{key:k}}:runs")


async def test_a_limit_of_requests_alone_leaves_no_lease(
    limiter: RedisLimiter, client: "Redis", prefix: str
) -> None:
    (await pass_(limiter, key(rpm=1), account(rpm=1))).settle(5)
    await limiter.settle_all()
    names = [name async for name in client.scan_iter(f"{prefix}:*")]
    assert sorted(names) == [f"{prefix}:{{account:a}}:rates", f"{prefix}:{{key:k}}:rates"]


async def test_a_killed_process_holds_nothing_for_long(other: RedisLimiter, prefix: str) -> None:
    killed = RedisLimiter(find_url(), patience=Patience(answer_s=10, lease_s=0.2), prefix=prefix)
    await pass_(killed, key(concurrent=1))
    worker = killed._leases._worker
    assert worker is not None
    worker.cancel()  # as a process that was killed renews nothing
    outcomes = []

    async def ask() -> bool:
        outcomes.append(await other.admit((key(concurrent=1),), 0))
        return isinstance(outcomes[-1], Permit)

    await poll(ask)
    assert isinstance(outcomes[-1], Permit)
    assert outcomes[-1].reading.standings[0].running == 1
    await killed._link.close()


async def test_the_lease_of_a_call_under_way_is_renewed(client: "Redis", prefix: str) -> None:
    limiter = RedisLimiter(find_url(), patience=Patience(answer_s=10, lease_s=1), prefix=prefix)
    runs = f"{prefix}:{{key:k}}:runs"
    permit = await pass_(limiter, key(concurrent=1))
    (lease,) = await client.zrange(runs, 0, -1)
    ends = set()

    async def was_renewed_twice() -> bool:
        ends.add(await client.zscore(runs, str(lease)))
        return len(ends) > 2

    await poll(was_renewed_twice)
    permit.release()
    await limiter.settle_all()
    assert await client.zcard(runs) == 0
    await limiter.close()


async def test_whoever_leaves_while_asking_takes_nothing(
    limiter: RedisLimiter, other: RedisLimiter
) -> None:
    subject = key(tpm=60, concurrent=1)
    await limiter.check()  # connected
    for turns in range(6):
        asking = asyncio.create_task(limiter.admit((subject,), 60))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait((asking,))
        if not asking.cancelled():
            outcome = asking.result()
            assert isinstance(outcome, Permit)
            outcome.settle(0)
        answers = await asyncio.gather(
            *(limiter.admit((key(str(number), rpm=number + 1),), 0) for number in range(9))
        )
        for number, answer in enumerate(answers):  # each its own, none that of another
            assert answer.reading.subjects == (key(str(number), rpm=number + 1),)
            assert isinstance(answer, Permit) == (turns <= number)
        await limiter.settle_all()
        (await pass_(other, subject, tokens=60)).settle(0)
        await other.settle_all()


async def test_what_is_settled_again_because_the_answer_was_lost_counts_once(
    limiter: RedisLimiter,
) -> None:
    first = await pass_(limiter, key(tpm=100), tokens=50)
    await pass_(limiter, key(tpm=100), tokens=50)
    end = first._end
    assert end is not None
    for _ in range(2):
        end(first.reading, 0)
        await limiter.settle_all()
    await refuse(limiter, key(tpm=100), tokens=60)
    await pass_(limiter, key(tpm=100), tokens=50)


async def test_many_calls_end_together(limiter: RedisLimiter, other: RedisLimiter) -> None:
    subjects = (key(tpm=10**6, concurrent=500), account(tpm=10**6, concurrent=500))
    outcomes = await asyncio.gather(*(limiter.admit(subjects, 2000) for _ in range(501)))
    permits = [outcome for outcome in outcomes if isinstance(outcome, Permit)]
    assert len(permits) == 500
    await limiter.check()
    assert (await refuse(other, *subjects)).unit == "calls at once"
    for permit in permits:
        permit.settle(0)
    await limiter.settle_all()
    assert (await pass_(other, *subjects, tokens=10**6)).reading.standings[0].running == 1


Step = tuple[str, bool, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "settle", "release"]), st.booleans(), st.integers(1, 12)
    ),
    min_size=5,
    max_size=30,
)


@given(steps)
@settings(max_examples=40, deadline=None)
def test_it_decides_as_the_limiter_in_memory_does(todo: list[Step]) -> None:
    with make_prefix() as prefix:
        asyncio.run(compare(todo, prefix))


async def compare(todo: list[Step], prefix: str) -> None:
    """Do the same with both limiters, the one in memory by the clock of the server."""
    now_us = 0
    shared = RedisLimiter(find_url(), patience=PATIENT, prefix=prefix)
    memory = MemoryLimiter(lambda: now_us)
    permits: list[tuple[Permit, Permit]] = []
    pick = random.Random(1)
    for what, alone, tokens in todo:
        if what == "ask":
            subjects = (ACCOUNT,) if alone else (KEY, ACCOUNT)
            expected = await shared.admit(subjects, tokens)
            now_us = expected.reading.now_us
            found = await memory.admit(subjects, tokens)
            check_alike(found, expected)
            if isinstance(found, Permit) and isinstance(expected, Permit):
                permits.append((found, expected))
        elif permits:
            for permit in permits.pop(pick.randrange(len(permits))):
                permit.settle(tokens) if what == "settle" else permit.release()
            await shared.settle_all()
    await shared.close()


def check_alike(found: Permit | Refusal, expected: Permit | Refusal) -> None:
    assert type(found) is type(expected)
    if isinstance(found, Refusal) and isinstance(expected, Refusal):
        assert (found.subject, found.unit) == (expected.subject, expected.unit)
    for one, other in zip(found.reading.standings, expected.reading.standings, strict=True):
        assert one.running == other.running
        # A call ends there a little later than here; a token of the key is worth five seconds.
        assert abs(one.requests_full_us - other.requests_full_us) < 1_000_000
        assert abs(one.tokens_full_us - other.tokens_full_us) < 1_000_000
