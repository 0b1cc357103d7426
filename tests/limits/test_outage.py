"""The server of the limits goes away and comes back, and nothing needs a restart."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis

from limits.asking import account, key, pass_, poll, refuse
from limits.server import Server, find_server, find_url
from store.line import Line
from trunkline.errors import GatewayError
from trunkline.limits.lease import Patience
from trunkline.limits.limit import FREE, Permit, Subject
from trunkline.limits.limiter import Away
from trunkline.limits.redis import RedisLimiter
from trunkline.terms import Limits

pytestmark = pytest.mark.redis

SECRET = "pw-canary"
SUBJECTS = (key(rpm=100, tpm=1000, concurrent=1), account(concurrent=9))
Maker = Callable[..., RedisLimiter]


@pytest.fixture
def line() -> Iterator[Line]:
    with Line(*find_server()) as made:
        yield made


@pytest.fixture
async def make(prefix: str) -> AsyncIterator[Maker]:
    """Makes limiters that lose patience soon; each is closed in the end."""
    async with AsyncExitStack() as stack:

        def make(url: str, away: Away = "closed", answer_s: float = 2) -> RedisLimiter:
            patience = Patience(answer_s=answer_s, retry_s=0.02)
            made = RedisLimiter(url, away, patience, prefix)
            stack.push_async_callback(made.close)
            return made

        yield make


async def refuse_all(limiter: RedisLimiter, *subjects: Subject) -> None:
    with pytest.raises(GatewayError) as caught:
        await limiter.admit(subjects or SUBJECTS, 1)
    assert (caught.value.code, caught.value.status) == ("overloaded", 503)
    assert caught.value.retry_after_s == 1


async def recover(limiter: RedisLimiter) -> None:
    async def is_back() -> bool:
        return limiter.fault is None

    await poll(is_back)


async def test_while_the_server_is_away_calls_with_limits_are_refused(
    make: Maker, line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = make(find_url(line.port))
    (await pass_(limiter, *SUBJECTS)).release()
    assert limiter.fault is None
    line.cut()
    for _ in range(3):
        await refuse_all(limiter)
    assert "calls that have limits are refused" in str(limiter.fault)
    assert await limiter.admit((), 1) is FREE
    line.mend()
    await recover(limiter)
    (await pass_(limiter, *SUBJECTS)).release()
    assert limiter.outages == 1
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert f"redis://127.0.0.1:{line.port}" in caplog.text


async def test_while_the_server_is_away_each_process_can_limit_by_itself(
    make: Maker, line: Line
) -> None:
    limiter = make(find_url(line.port), "open")
    kept = await pass_(limiter, *SUBJECTS, tokens=500)
    line.cut()
    local = await pass_(limiter, *SUBJECTS, tokens=600)
    assert "each process limits its own calls" in str(limiter.fault)
    assert (await refuse(limiter, *SUBJECTS)).unit == "calls at once"
    local.settle(600)
    assert (await refuse(limiter, *SUBJECTS, tokens=500)).unit == "tokens"
    line.mend()
    await recover(limiter)
    # The server knows of the call that it admitted, and of no other.
    refusal = await refuse(limiter, *SUBJECTS)
    assert refusal.unit == "calls at once"
    kept.settle(0)
    await limiter.settle_all()
    await pass_(limiter, *SUBJECTS, tokens=1000)


async def test_nobody_waits_for_a_silent_server_twice(make: Maker, line: Line) -> None:
    limiter = make(find_url(line.port), answer_s=0.3)
    (await pass_(limiter, *SUBJECTS)).release()
    await limiter.settle_all()
    line.freeze()
    first = asyncio.create_task(refuse_all(limiter))
    await let_others_run()
    others = [asyncio.create_task(refuse_all(limiter)) for _ in range(20)]
    async with asyncio.timeout(10):
        await first
    await let_others_run()
    assert all(task.done() for task in others)
    await asyncio.gather(*others)
    for _ in range(100):
        asking = asyncio.create_task(refuse_all(limiter))
        await let_others_run()
        assert asking.done()
        await asking
    line.thaw()
    await recover(limiter)


async def let_others_run() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_a_silent_server_took_late_is_given_back(
    make: Maker, line: Line, prefix: str
) -> None:
    limiter, other = make(find_url(line.port), answer_s=0.3), make(find_url(), answer_s=10)
    await limiter.check()
    line.freeze()
    await refuse_all(limiter)
    line.thaw()
    async with Redis.from_url(find_url()) as client:

        async def was_taken() -> bool:
            return bool(await client.exists(f"{prefix}:{{key:k}}:rates"))

        await poll(was_taken)

    async def is_free() -> bool:
        return isinstance(await other.admit(SUBJECTS, 1000), Permit)

    await poll(is_free)


async def test_a_call_that_ends_while_the_server_is_away_is_settled_later(
    make: Maker, line: Line
) -> None:
    limiter, other = make(find_url(line.port)), make(find_url(), answer_s=10)
    permit = await pass_(limiter, *SUBJECTS, tokens=900)
    line.cut()
    permit.settle(100)
    await limiter.settle_all()
    assert limiter.fault is not None
    assert (await refuse(other, *SUBJECTS)).unit == "calls at once"
    line.mend()
    await recover(limiter)
    await limiter.settle_all()
    await pass_(other, *SUBJECTS, tokens=900)


async def test_a_connection_that_the_server_ended_is_replaced_unnoticed(
    make: Maker, line: Line
) -> None:
    limiter = make(find_url(line.port))
    await limiter.check()
    for _ in range(3):
        line.cut()
        line.mend()

        async def noticed() -> bool:
            return bool(await limiter._link._connection.can_read())

        await poll(noticed)
        (await pass_(limiter, *SUBJECTS)).release()
        await limiter.settle_all()
    assert limiter.outages == 0


async def test_a_server_that_never_was_there(make: Maker) -> None:
    limiter = make("redis://127.0.0.1:1/0")
    assert limiter.fault is None
    assert await limiter.check() is not None
    await refuse_all(limiter)


async def test_closing_does_not_wait_for_ever(make: Maker, line: Line) -> None:
    limiter = make(find_url(line.port), answer_s=0.3)
    permit = await pass_(limiter, *SUBJECTS)
    line.freeze()
    permit.settle(0)
    asking = asyncio.create_task(limiter.admit(SUBJECTS, 1))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await limiter.close()
        with suppress(GatewayError):
            await asking
    line.thaw()


@pytest.mark.own_redis
async def test_a_server_that_was_killed_learns_of_the_calls_under_way(
    make: Maker, tmp_path: Path
) -> None:
    with Server(tmp_path) as server:
        limiter, other = make(server.url), make(server.url, answer_s=10)
        permit = await pass_(limiter, *SUBJECTS)
        server.kill()
        await refuse_all(limiter)
        server.start()
        await recover(limiter)
        await recover(other)
        assert (await refuse(other, *SUBJECTS)).unit == "calls at once"
        permit.settle(0)
        await limiter.settle_all()
        await pass_(other, *SUBJECTS)


@pytest.mark.own_redis
async def test_a_stopped_server_is_away_until_it_goes_on(make: Maker, tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        limiter = make(server.url, answer_s=0.3)
        await pass_(limiter, key(rpm=2))
        server.freeze()
        await refuse_all(limiter, key(rpm=2))
        server.thaw()
        await recover(limiter)


@pytest.mark.own_redis
async def test_scripts_that_the_server_forgot_are_sent_again(make: Maker, tmp_path: Path) -> None:
    with Server(tmp_path) as server, server.open_client() as client:
        limiter = make(server.url, answer_s=10)
        for _ in range(2):
            client.script_flush()
            (await pass_(limiter, *SUBJECTS)).settle(0)
            client.script_flush()
            await limiter.settle_all()
            assert await limiter.check() is None


@pytest.mark.own_redis
async def test_a_server_that_takes_no_writes_is_away(make: Maker, tmp_path: Path) -> None:
    with Server(tmp_path) as server, server.open_client() as client:
        limiter = make(server.url)
        (await pass_(limiter, *SUBJECTS)).release()
        client.config_set("min-replicas-to-write", 1)
        await refuse_all(limiter)
        await limiter.check()
        await refuse_all(limiter)
        client.config_set("min-replicas-to-write", 0)
        await recover(limiter)
        assert limiter.outages == 1


@pytest.mark.own_redis
async def test_a_wrong_password_is_a_fault_that_shows_no_password(
    make: Maker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Server(tmp_path, "--requirepass", "right") as server:
        limiter = make(f"redis://:{SECRET}@127.0.0.1:{server.port}")
        await refuse_all(limiter)
        assert "127.0.0.1" in caplog.text
        assert SECRET not in caplog.text + str(limiter.fault)
        good = make(f"redis://:right@127.0.0.1:{server.port}/3", answer_s=10)
        await pass_(good, Subject("key", "k", Limits(rpm=1)))
