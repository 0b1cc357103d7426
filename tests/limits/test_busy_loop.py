"""A burst of calls keeps the event loop for longer than a server may take: the server is there."""

import asyncio
import time

import pytest

from limits.asking import key
from limits.server import find_url
from limits.spending import CLAIMS, DOLLARS, set_up
from store.conftest import store, where  # noqa: F401 - pytest finds the fixtures here
from trunkline.limits.lease import Patience as LinkPatience
from trunkline.limits.limit import Permit
from trunkline.limits.purse import Claim, Hold, Patience, Purse
from trunkline.limits.redis import RedisLimiter
from trunkline.store.store import Store

ANSWER_S = 0.3
BUSY_S = 0.5
"""Longer, so that the answer is there when the loop can look for it."""


async def keep_busy(turns: int) -> None:
    """Let what was begun go on for some turns, then keep the loop."""
    for _ in range(turns):
        await asyncio.sleep(0)
    time.sleep(BUSY_S)  # noqa: ASYNC251 - this is what is tested


async def test_the_database_of_the_budgets(store: Store) -> None:  # noqa: F811
    set_up(store)
    purse = Purse(store.leases, "j", Patience(answer_s=ANSWER_S))
    assert isinstance(await purse.take(CLAIMS), Hold)
    asking = asyncio.create_task(purse.take([Claim("key", "k1", DOLLARS, 50_000)]))
    await keep_busy(5)
    assert isinstance(await asking, Hold)
    assert (purse.fault, purse.outages) == (None, 0)
    await purse.close()


@pytest.mark.redis
async def test_the_server_of_the_limits(prefix: str) -> None:
    limiter = RedisLimiter(find_url(), patience=LinkPatience(answer_s=ANSWER_S), prefix=prefix)
    limited = [key(rpm=10, tpm=100, concurrent=10)]
    permits = [await limiter.admit(limited, 1)]
    for turns in range(1, 5):  # a question takes some to go out
        asking = asyncio.create_task(limiter.admit(limited, 1))
        await keep_busy(turns)
        permits.append(await asking)
    for permit in permits:
        assert isinstance(permit, Permit)
        permit.release()
    assert limiter.fault is None
    await limiter.close()
