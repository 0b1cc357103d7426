"""One of several processes that ask for the same limits as fast as they can, for a while.

``hammer.py URL PREFIX SECONDS`` prints how many calls passed, and how often it saw more calls at
once than the limit allows.
"""

import asyncio
import sys
import time

from redis.asyncio import Redis

from limits.asking import account, key
from trunkline.limits.lease import Patience
from trunkline.limits.limit import Permit
from trunkline.limits.redis import RedisLimiter

RPM = 300
CONCURRENT = 5


async def hammer(url: str, prefix: str, seconds: float) -> tuple[int, int]:
    limiter = RedisLimiter(url, patience=Patience(answer_s=10), prefix=prefix)
    counter = Redis.from_url(url)
    passed = exceeded = 0
    end_s = time.monotonic() + seconds

    async def ask_for_requests() -> None:
        nonlocal passed
        while time.monotonic() < end_s:
            outcome = await limiter.admit((key(rpm=RPM, tpm=10**9), account(tpm=10**9)), 5)
            if isinstance(outcome, Permit):
                passed += 1
                outcome.settle(3)

    async def ask_for_calls_at_once() -> None:
        nonlocal exceeded
        while time.monotonic() < end_s:
            outcome = await limiter.admit((key("calls", concurrent=CONCURRENT),), 0)
            if isinstance(outcome, Permit):
                exceeded += await counter.incr(f"{prefix}:seen") > CONCURRENT
                await asyncio.sleep(0)
                await counter.decr(f"{prefix}:seen")
                outcome.release()

    await asyncio.gather(*(ask() for ask in (ask_for_requests, ask_for_calls_at_once) * 4))
    await limiter.close()
    await counter.aclose()
    return passed, exceeded


if __name__ == "__main__":
    print(*asyncio.run(hammer(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
