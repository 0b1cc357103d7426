"""Several processes spend the same budgets: exactly what there is, and never more at any moment."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pytest
from sqlalchemy import select

from limits.asking import poll
from limits.spending import DOLLARS, EASY, KEY, TOKENS, WINDOWS, set_up
from store.budgeted import find_sums
from trunkline.limits.purse import Hold, Purse
from trunkline.store.schema import LEASES
from trunkline.store.store import Store

SPENDER = Path(__file__).with_name("spender.py")


@contextmanager
def start(where: Path | str, calls: int, part: float) -> Iterator[subprocess.Popen[str]]:
    """A process that spends; ready to begin."""
    environment = {**os.environ, "PYTHONPATH": str(SPENDER.parents[1])}
    process = subprocess.Popen(
        [sys.executable, str(SPENDER), str(where), str(calls), str(part)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def get(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def check_sums(store: Store) -> None:
    for window, amount in zip(WINDOWS, (DOLLARS.amount, TOKENS.amount), strict=True):
        spent, leased = find_sums(store, window)
        assert spent >= 0
        assert leased >= 0
        assert spent + leased <= amount


def run_all(store: Store, where: Path | str, count: int, part: float) -> list[tuple[int, ...]]:
    """What each of the processes prints; nobody spends too much meanwhile."""
    with ExitStack() as stack:
        processes = [stack.enter_context(start(where, 1000 // count, part)) for _ in range(count)]
        for process in processes:
            assert get(process.stdout).readline() == "ready\n"
        for process in processes:
            get(process.stdin).write("\n")
            get(process.stdin).flush()
        while any(process.poll() is None for process in processes):
            check_sums(store)
            time.sleep(0.02)  # leaves them the processor
        return [tuple(map(int, get(process.stdout).read().split())) for process in processes]


@pytest.fixture
def count(where: Path | str) -> int:
    """Workers on one SQLite file, or gateways on one server."""
    return 4 if isinstance(where, Path) else 2


def test_processes_admit_exactly_the_calls_that_fit(
    store: Store, where: Path | str, count: int
) -> None:
    set_up(store)
    results = run_all(store, where, count, 1.0)
    assert sum(passed for passed, _, _ in results) == 100
    assert find_sums(store, WINDOWS[0]) == (100_000, 0)
    assert find_sums(store, WINDOWS[1]) == (5000, 0)


def test_what_calls_did_not_use_is_spent_by_others(
    store: Store, where: Path | str, count: int
) -> None:
    set_up(store)
    results = run_all(store, where, count, 0.5)
    passed, dollars, tokens = (sum(column) for column in zip(*results, strict=True))
    assert passed > 150
    assert (dollars, tokens) == (passed * 500, passed * 25)
    assert [find_sums(store, window) for window in WINDOWS] == [(dollars, 0), (tokens, 0)]


async def test_a_killed_process_keeps_nothing_once_its_journal_is_gone(
    store: Store, where: Path | str
) -> None:
    set_up(store)
    with start(where, 5, 0.0) as process:
        get(process.stdin).write("\n")
        get(process.stdin).flush()

        async def has_something() -> bool:
            return find_sums(store, WINDOWS[0])[1] > 0

        await poll(has_something)
        process.send_signal(signal.SIGKILL)
        process.wait()
    (_, leased), purse = find_sums(store, WINDOWS[0]), Purse(store.leases, "me", EASY)
    answers = await asyncio.gather(*(purse.take([KEY]) for _ in range(100)))
    fitting = (DOLLARS.amount - leased) // KEY.amount
    assert sum(isinstance(answer, Hold) for answer in answers) == fitting < 100
    with store.database.read() as connection:
        dead = set(connection.scalars(select(LEASES.c.journal_id))) - {"me"}
    for journal_id in dead:
        store.ledger.remove_journal(journal_id)

    async def passes() -> bool:
        return isinstance(await purse.take([KEY]), Hold)

    await poll(passes)
    await purse.close()
    check_sums(store)
