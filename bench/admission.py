"""What it costs that a call is admitted, reserved, written down and settled: CPU time a call.

In one process, without sockets: the desk of a worker takes the same call again and again, with its
real limiter, purse, prices and journal, on a SQLite file. What the shipper spends to move an entry
to the database is measured by itself: it runs in a thread of its own, after the call.
"""

import argparse
import asyncio
import tempfile
import time
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from bench.report import (
    Spread,
    build_bars,
    build_table,
    date_line,
    judge,
    measure_busy,
    warn_if_busy,
    write_section,
)
from bench.server import BODY_BYTES, CHAT, build_body

from trunkline.access.grant import Seat
from trunkline.admission import Desk, Stay
from trunkline.call import Call, Deadlines, make_request_id
from trunkline.events import Usage
from trunkline.ledger.journal import Journal
from trunkline.ledger.price_list import PriceList
from trunkline.ledger.price_rule import PriceSettings
from trunkline.ledger.ship import Shipper
from trunkline.limits.memory import MemoryLimiter
from trunkline.limits.purse import Purse
from trunkline.routing.fit import OPENAI_CHAT
from trunkline.routing.table import Columns, Route, Target
from trunkline.store.store import open_store
from trunkline.terms import AccountTerms, Budget, Limits, Terms
from trunkline.wire.reply import Answer

BAR_US = 15.0
CALLS = 4000
LIMITS = Limits(rpm=10**8, tpm=10**9, concurrent=10**6)
DOLLARS, TOKENS = Budget("usd", "month", 10**15), Budget("tokens", "day", 10**15)
CASES = {
    "written down only": (Terms(), AccountTerms()),
    "limits of key and account": (Terms(limits=LIMITS), AccountTerms(limits=LIMITS)),
    "budgets of key and account": (Terms(budgets=(DOLLARS,)), AccountTerms(budgets=(TOKENS,))),
    "all of it": (
        Terms(limits=LIMITS, budgets=(DOLLARS,)),
        AccountTerms(limits=LIMITS, budgets=(TOKENS,)),
    ),
}
ALL = "all of it"
ALONE = "the call alone"
ROUTE = Route("gpt-4o", (Target("openai", "gpt-4o"),), Columns(), Deadlines())
ANSWER = Answer(b"", Usage(40, 100, 140), "stop")


def build_seat(case: str) -> Seat:
    """Whose call it is."""
    key, account = CASES[case]
    return Seat(
        account_id="bench",
        account_terms=account,
        key_id="key_1",
        key_subject="key_1",
        key_terms=key,
    )


async def serve(desk: Desk | None, case: str, body: bytes) -> float:
    """CPU time of a call's admission and settlement, in µs; without a desk, of the call alone."""
    seat, request = build_seat(case), OPENAI_CHAT.read(body)
    target = ROUTE.targets[0]
    begin = time.process_time_ns()
    for _ in range(CALLS):
        now_ns = time.time_ns()
        call = Call(make_request_id(now_ns), time.perf_counter_ns(), now_ns // 1000)
        stay = Stay(seat, request, OPENAI_CHAT.name, len(body))
        waiting = None if desk is None else desk.admit(stay, call, ROUTE, strict=False)
        if waiting is not None:
            await waiting
        call.begin_attempt(target.label, time.perf_counter_ns())
        call.readings.append(ANSWER)
        if desk is not None:
            desk.end_attempt(stay, call, target, "complete")
            desk.settle(stay, call)
    return (time.process_time_ns() - begin) / 1000 / CALLS


async def measure(rounds: int, folder: Path) -> dict[str, list[float]]:
    """Each case once a round, and then what shipping took, in µs a call."""
    body = build_body(CHAT, "gpt-4o", stream=False)
    found: dict[str, list[float]] = {case: [] for case in (ALONE, *CASES, "shipping")}
    with closing(open_store(folder / "bench.db")) as store:
        store.accounts.create("bench", "", 1, CASES[ALL][1])
        journal = Journal.create(folder / "ledger", "bench")
        purse = Purse(store.leases, "bench")
        prices = PriceList(PriceSettings(), {"openai": "openai"})
        desk = Desk(MemoryLimiter(), purse, prices, journal)
        shipper = Shipper(store.ledger, folder / "ledger", journal)
        for turn in range(rounds + 1):
            spent = {ALONE: await serve(None, ALL, body)}
            spent |= {case: await serve(desk, case, body) for case in CASES}
            begin = time.process_time_ns()
            shipper.ship_own()
            spent["shipping"] = (time.process_time_ns() - begin) / 1000 / CALLS / len(CASES)
            if turn:  # a first round warms caches and imports
                for case, cost in spent.items():
                    found[case].append(cost)
        await purse.close()
        journal.close()
    return found


def main() -> None:
    """Measure, print the table and the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    arguments = parser.parse_args()
    busy = measure_busy()
    warn_if_busy(busy)
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(arguments.rounds, Path(folder)))
    pairs = zip(found[ALL], found[ALONE], strict=True)
    more = Spread.of([after - before for after, before in pairs]).median
    rows = [[case, Spread.of(costs).show()] for case, costs in found.items()]
    parts = [
        date_line([f"trunkline {version('trunkline')}"], busy),
        (
            f"Medians of {arguments.rounds} rounds (smallest to largest) of {CALLS:,} calls each; "
            f"a request of {BODY_BYTES} bytes; no sockets."
        ),
        build_table(["what", "µs a call"], rows),
        build_bars([judge("all of it over the call alone, µs", more, BAR_US)]),
    ]
    text = "\n\n".join(parts)
    print(text)
    if arguments.write:
        write_section("admission", text)


if __name__ == "__main__":
    main()
