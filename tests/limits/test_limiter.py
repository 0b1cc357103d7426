"""What every limiter does, wherever it counts."""

import asyncio
import subprocess
import sys

import pytest

from limits.asking import account, key, pass_, poll, refuse
from trunkline.limits.limit import FREE, Permit, Refusal, Subject, write_headers
from trunkline.limits.limiter import Limiter, open_limiter
from trunkline.limits.memory import MemoryLimiter
from trunkline.limits.redis import RedisLimiter


async def test_without_limits_every_call_passes(limiter: Limiter) -> None:
    assert await limiter.admit((), 10**9) is FREE
    FREE.settle(1)
    FREE.release()
    assert limiter.fault is None


async def test_requests_pass_up_to_the_limit(limiter: Limiter) -> None:
    for _ in range(3):
        await pass_(limiter, key(rpm=3))
    refusal = await refuse(limiter, key(rpm=3))
    assert (refusal.unit, refusal.subject) == ("requests", key(rpm=3))
    assert 15 < refusal.retry_after_s <= 20


async def test_an_ended_call_was_a_request_nevertheless(limiter: Limiter) -> None:
    (await pass_(limiter, key(rpm=1, tpm=9))).settle(0)
    await limiter.settle_all()
    assert (await refuse(limiter, key(rpm=1, tpm=9))).unit == "requests"


async def test_tokens_pass_up_to_the_limit(limiter: Limiter) -> None:
    await pass_(limiter, key(tpm=100), tokens=60)
    refusal = await refuse(limiter, key(tpm=100), tokens=50)
    assert refusal.unit == "tokens"
    assert 5 < refusal.retry_after_s <= 6
    await pass_(limiter, key(tpm=100), tokens=40)
    assert (await refuse(limiter, key(tpm=100), tokens=1)).unit == "tokens"


async def test_a_call_larger_than_the_limit_never_passes(limiter: Limiter) -> None:
    refusal = await refuse(limiter, key(tpm=100), account(rpm=1), tokens=101)
    assert refusal.wait_us is None
    assert refusal.retry_after_s == 60
    await pass_(limiter, key(tpm=100), account(rpm=1), tokens=100)


async def test_calls_at_once_pass_up_to_the_limit(limiter: Limiter) -> None:
    one = await pass_(limiter, key(concurrent=2))
    other = await pass_(limiter, key(concurrent=2))
    refusal = await refuse(limiter, key(concurrent=2))
    assert (refusal.unit, refusal.retry_after_s) == ("calls at once", 1)
    one.settle(0)
    await limiter.settle_all()
    third = await pass_(limiter, key(concurrent=2))
    await refuse(limiter, key(concurrent=2))
    for permit in (other, third):
        permit.release()
    await limiter.settle_all()
    permit = await pass_(limiter, key(concurrent=2))
    assert permit.reading.standings[0].running == 1


async def test_ending_twice_is_ending_once(limiter: Limiter) -> None:
    subject = key(tpm=100, concurrent=2)
    first = await pass_(limiter, subject, tokens=50)
    await pass_(limiter, subject, tokens=50)
    first.settle(20)
    first.settle(0)
    first.release()
    await limiter.settle_all()
    assert (await refuse(limiter, subject, tokens=40)).unit == "tokens"
    await pass_(limiter, subject, tokens=30)
    assert (await refuse(limiter, subject, tokens=1)).unit == "calls at once"


async def test_tokens_that_were_not_used_are_given_back(limiter: Limiter) -> None:
    permit = await pass_(limiter, key(tpm=100), account(tpm=200), tokens=100)
    permit.settle(30)
    await limiter.settle_all()
    after = await pass_(limiter, key(tpm=100), account(tpm=200), tokens=70)
    assert b"remaining-tokens: 0\r\n" in write_headers(after.reading)
    for_account = await pass_(limiter, account(tpm=200), tokens=100)
    assert b"remaining-tokens: 0\r\n" in write_headers(for_account.reading)


async def test_tokens_used_beyond_the_estimate_are_paid_by_time(limiter: Limiter) -> None:
    (await pass_(limiter, key(tpm=60), tokens=10)).settle(100)
    await limiter.settle_all()
    refusal = await refuse(limiter, key(tpm=60), tokens=1)
    assert 35 < refusal.retry_after_s <= 41
    assert b"remaining-tokens: 0\r\n" in write_headers(refusal.reading)


async def test_when_the_tokens_are_not_known_the_estimate_stays(limiter: Limiter) -> None:
    (await pass_(limiter, key(tpm=60), tokens=60)).release()
    await limiter.settle_all()
    assert (await refuse(limiter, key(tpm=60), tokens=5)).unit == "tokens"


@pytest.mark.parametrize(
    "full", [account(rpm=1), account(tpm=10), account(concurrent=1)], ids=["rpm", "tpm", "calls"]
)
async def test_where_one_limit_refuses_nothing_is_taken(limiter: Limiter, full: Subject) -> None:
    mine = key(rpm=2, tpm=20, concurrent=2)
    await pass_(limiter, key("other", rpm=9), full, tokens=10)
    for _ in range(5):
        refusal = await refuse(limiter, mine, full, tokens=10)
        assert refusal.subject == full
        assert refusal.reading.standings[0].running == 0
    await pass_(limiter, mine, tokens=10)
    await pass_(limiter, mine, tokens=10)
    await refuse(limiter, mine, tokens=10)


async def test_the_order_of_the_limits_does_not_matter(limiter: Limiter) -> None:
    await pass_(limiter, key(rpm=1))
    assert (await refuse(limiter, account(rpm=1), key(rpm=1))).subject == key(rpm=1)
    assert (await refuse(limiter, key(rpm=1), account(rpm=1))).subject == key(rpm=1)
    await pass_(limiter, account(rpm=1))


async def test_everybody_has_limits_of_their_own(limiter: Limiter) -> None:
    names = ["a", "b", "a b", "a}:{b", "a}:rates", "ä'\"\\", "*", "a:runs", "x" * 200]
    for name in names:
        await pass_(limiter, key(name, rpm=1, concurrent=1))
        await pass_(limiter, account(name, rpm=1, concurrent=1))
    for name in names:
        await refuse(limiter, key(name, rpm=1, concurrent=1))
        await refuse(limiter, account(name, rpm=1, concurrent=1))


async def test_a_changed_limit_counts_at_once(limiter: Limiter) -> None:
    for _ in range(2):
        await pass_(limiter, key(rpm=2, concurrent=2))
    assert (await refuse(limiter, key(rpm=2, concurrent=3))).retry_after_s > 25
    # All of a minute is used, as before; but a request is a smaller share of it.
    assert (await refuse(limiter, key(rpm=60, concurrent=3))).retry_after_s <= 1
    assert (await refuse(limiter, key(concurrent=2))).unit == "calls at once"
    await pass_(limiter, key(concurrent=3))


async def test_time_gives_back_requests_and_tokens(limiter: Limiter) -> None:
    subject = key(rpm=60_000, tpm=60_000)  # one a millisecond
    before = await pass_(limiter, subject, tokens=60_000)
    outcomes: list[Permit | Refusal] = [await refuse(limiter, subject, tokens=40)]

    async def ask_again() -> bool:
        outcomes.append(await limiter.admit((subject,), 40))
        return isinstance(outcomes[-1], Permit)

    await poll(ask_again)
    assert outcomes[-1].reading.now_us - before.reading.now_us >= 40_000


async def test_headers_tell_of_the_call_itself(limiter: Limiter) -> None:
    permit = await pass_(limiter, key(rpm=4, tpm=1000), account(rpm=3), tokens=100)
    assert write_headers(permit.reading).decode().splitlines() == [
        "x-ratelimit-limit-requests: 3",
        "x-ratelimit-remaining-requests: 2",
        "x-ratelimit-reset-requests: 20s",
        "x-ratelimit-limit-tokens: 1000",
        "x-ratelimit-remaining-tokens: 900",
        "x-ratelimit-reset-tokens: 6s",
    ]


async def test_calls_that_ask_together_share_one_limit(limiter: Limiter) -> None:
    subjects = (key(rpm=20, concurrent=7), account(tpm=50))
    outcomes = await asyncio.gather(*(limiter.admit(subjects, 1) for _ in range(40)))
    passed = [outcome for outcome in outcomes if isinstance(outcome, Permit)]
    assert len(passed) == 7
    assert {outcome.unit for outcome in outcomes if isinstance(outcome, Refusal)} == {
        "calls at once"
    }


def test_the_address_says_which_limiter_it_is() -> None:
    assert isinstance(open_limiter("memory"), MemoryLimiter)
    assert isinstance(open_limiter("redis://127.0.0.1:1/0", "open"), RedisLimiter)
    with pytest.raises(ValueError, match='expected "memory"'):
        open_limiter("redis")


def test_without_the_extra_only_an_address_that_needs_it_fails() -> None:
    script = """
import sys
sys.modules["redis"] = None
from trunkline.limits.limiter import open_limiter
open_limiter("memory")
open_limiter("redis://:pw-canary@h/1")
"""
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.stderr.splitlines()[-1].startswith(
        "trunkline.limits.limiter.LimiterError: cannot keep limits in redis://h/1: redis is missing"
    )
    assert "pip install 'trunkline[redis]'" in ran.stderr.splitlines()[-1]
    assert "canary" not in ran.stderr.splitlines()[-1]
