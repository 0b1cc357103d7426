"""One of several processes that spend two budgets as fast as they are let, until they are used up.

``spender.py WHERE CALLS SETTLED`` makes so many calls at once, and again until all are refused
several times; each is charged the part SETTLED (0 to 1) of what was held. Prints a line when it is
ready, begins at a line of input, and in the end prints how many calls passed and what they were
charged.
"""

import asyncio
import sys
import uuid

from limits.spending import CLAIMS, EASY
from store.budgeted import ship
from trunkline.limits.purse import Hold, Purse
from trunkline.store.store import Store, open_store
from trunkline.terms import Charge

REFUSALS = 10
"""In a row, of all calls: after fewer, another process may yet give back what is left."""


async def spend(store: Store, calls: int, part: float) -> tuple[int, int, int]:
    purse = Purse(store.leases, journal_id := uuid.uuid4().hex, EASY)
    passed, refusals, sums = 0, 0, {"usd": 0, "tokens": 0}
    while refusals < REFUSALS:
        answers = await asyncio.gather(*(purse.take(CLAIMS) for _ in range(calls)))
        holds = [answer for answer in answers if isinstance(answer, Hold)]
        if not holds:
            refusals += 1
            await asyncio.sleep(EASY.idle_s)
            continue
        refusals = 0
        passed += len(holds)
        charges: list[Charge] = []
        for hold in holds:
            await asyncio.sleep(0)
            used = [int(charge.amount * part) for charge in hold.charges]
            charges += hold.settle_each(*used)
        for charge in charges:
            sums[charge.window.unit] += charge.amount
        await asyncio.to_thread(ship, store, journal_id, uuid.uuid4().hex, charges)
    await purse.close()
    return passed, sums["usd"], sums["tokens"]


if __name__ == "__main__":
    opened = open_store(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    print(*asyncio.run(spend(opened, int(sys.argv[2]), float(sys.argv[3]))))
    opened.close()
