"""The database freezes under load: no call waits for it, no entry is lost, no budget is exceeded.

A PostgreSQL server behind a line that takes bytes and lets none through, as when a machine hangs
or a network drops everything.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from statistics import quantiles

import httpx
import pytest
from sqlalchemy import func, select

from api.crowd import Reply, ask, write_chat
from api.serving import CONFIG, Served, make_key, serve
from gateway import run_upstream, talking
from store.line import Line
from store.postgres import find_server, make_schema, make_url
from trunkline.store.schema import JOURNALS, LEASES
from trunkline.store.store import open_store
from trunkline.terms import Budget, Limits, Terms, Window

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

IS_LONG = os.environ.get("TRUNKLINE_TEST_LONG") == "1"
FROZEN_S = 60.0 if IS_LONG else 7.0
EVEN_S = 10.0 if IS_LONG else 3.0
"""How long the load runs before the freeze, and at least after it."""
EVERY_S = 1 / 30
LONGEST_S = 3.0
"""No call may take longer: far more than any should, far less than the freeze."""
LATE_S = 60.0

COST_MICROS = 7 * 1 + 3 * 2
"""What the scripted upstream's answer costs; see ``gateway.USAGE``."""
BODY = write_chat("lab/m", 3)
WORST_MICROS = len(BODY) * 1 + 3 * 2
KINDS = {
    "free": Terms(),
    "limited": Terms(limits=Limits(rpm=100_000, concurrent=1000)),
    # A worker takes one part in 64 in advance: here what four calls can cost ...
    "budgeted": Terms(budgets=(Budget("usd", "total", 64 * 4 * WORST_MICROS),)),
    # ... and here nothing, so that every call must ask.
    "tight": Terms(budgets=(Budget("usd", "total", 63 * WORST_MICROS),)),
}


@dataclass
class Load:
    """Steady calls of all kinds, one after another, whatever becomes of them."""

    port: int
    keys: dict[str, str]
    replies: list[tuple[str, Reply]] = field(default_factory=list)

    async def run(self) -> None:
        """Go on until cancelled; the calls under way then end."""
        async with asyncio.TaskGroup() as group:
            due_s = time.monotonic()
            try:
                for kind in cycle(self.keys):
                    group.create_task(self._ask(kind))
                    due_s += EVERY_S
                    await asyncio.sleep(due_s - time.monotonic())
            except asyncio.CancelledError:
                pass

    async def _ask(self, kind: str) -> None:
        self.replies.append((kind, await ask(self.port, BODY, self.keys[kind])))

    def is_well(self, since_s: float) -> bool:
        """Whether calls of every kind have succeeded since a moment."""
        fine = {
            kind for kind, each in self.replies if each.status == 200 and each.asked_at_s > since_s
        }
        return fine == set(self.keys)

    def list_between(self, kind: str, since_s: float, until_s: float) -> list[Reply]:
        """Those of a kind that were asked for and answered between two moments."""
        return [
            reply
            for each, reply in self.replies
            if each == kind and since_s <= reply.asked_at_s and reply.had_at_s <= until_s
        ]


@dataclass
class Place:
    """A gateway whose database is behind a line, and what stands there, seen past the line."""

    gateway: Served
    line: Line
    url: str
    keys: dict[str, str]
    windows: dict[str, Window]

    def read_standing(self, kind: str) -> tuple[int, int]:
        """What was spent of a kind's budget, and what the worker has taken of it."""
        with closing(open_store(self.url)) as store:
            (standing,) = store.leases.find_standings([self.windows[kind]])
        return standing.spent, standing.leased


@pytest.fixture
def upstream_port() -> Iterator[int]:
    with run_upstream(talking()) as upstream:
        yield upstream.port


@pytest.fixture
def place(tmp_path: Path, upstream_port: int) -> Iterator[Place]:
    with make_schema() as options, Line(*find_server()) as line:
        url = make_url(options=options)
        made = {kind: make_key(url, terms) for kind, terms in KINDS.items()}
        windows = {
            kind: Window("key", key_id, "usd", "total", 0)
            for kind, (_, key_id) in made.items()
            if KINDS[kind].budgets
        }
        config = CONFIG.format(port=upstream_port)
        config += f'[store]\nurl = "{make_url(line.port, options=options)}"\n'
        with serve(tmp_path / "gateway", config) as gateway:
            gateway.wait_ready()
            yield Place(gateway, line, url, {kind: key for kind, (key, _) in made.items()}, windows)
            line.thaw()


async def wait_until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(LATE_S):
        while not is_true():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.05)


async def test_nobody_waits_for_a_frozen_database(place: Place) -> None:
    load = Load(place.gateway.port, place.keys)
    running = asyncio.create_task(load.run())
    await wait_until(lambda: load.is_well(0))
    await asyncio.sleep(EVEN_S)

    place.line.freeze()
    frozen_s = time.perf_counter()
    await asyncio.sleep(FROZEN_S / 2)
    stranger = await ask(place.gateway.port, BODY, "tl-canary-of-nobody")
    assert (stranger.status, stranger.code) == (503, "overloaded")
    async with httpx.AsyncClient() as client:
        ready = (await client.get(f"{place.gateway.url}/readyz")).json()
    await asyncio.sleep(frozen_s + FROZEN_S - time.perf_counter())
    standings = {kind: await asyncio.to_thread(place.read_standing, kind) for kind in place.windows}
    thawed_s = time.perf_counter()
    place.line.thaw()

    await wait_until(lambda: load.is_well(thawed_s))
    await asyncio.sleep(EVEN_S)
    running.cancel()
    await running
    await asyncio.to_thread(place.gateway.stop)

    show_latencies(load, frozen_s, thawed_s)
    assert ready["status"] == "degraded"
    assert "budgets" in ready["reasons"]
    assert max(reply.took_s for _, reply in load.replies) < LONGEST_S
    for kind in ("free", "limited"):
        assert {reply.status for each, reply in load.replies if each == kind} == {200}
    for kind, standing in standings.items():
        check_budget(load, kind, sum(standing), frozen_s, thawed_s)
    check_books(place, load)


def check_budget(load: Load, kind: str, had_micros: int, frozen_s: float, thawed_s: float) -> None:
    """While the database was frozen, calls were served from what was taken before, or refused."""
    served = [reply for reply in load.list_between(kind, 0, thawed_s) if reply.status == 200]
    assert len(served) * COST_MICROS <= had_micros
    frozen = load.list_between(kind, frozen_s, thawed_s)
    refused = [reply for reply in frozen if reply.status != 200]
    assert {(reply.status, reply.code) for reply in refused} == {(503, "overloaded")}
    if kind == "tight":
        # One at most: its question may have passed the line just before.
        assert len(frozen) - len(refused) <= 1
    else:
        assert frozen[0].status == 200


def check_books(place: Place, load: Load) -> None:
    """Every call is in the ledger, once; the budgets say what the ledger says; nothing is left."""
    with closing(open_store(place.url)) as store:
        entries = store.ledger.list_entries(0, 1 << 62, None, 100_000)
        with store.database.read() as connection:
            for table in (LEASES, JOURNALS):
                assert connection.scalar(select(func.count()).select_from(table)) == 0
    assert sorted(entry.id for entry in entries) == sorted(reply.id for _, reply in load.replies)
    for kind, window in place.windows.items():
        costs = [each.cost_micros or 0 for each in entries if each.key_id == window.subject_id]
        served = [each for each, reply in load.replies if each == kind and reply.status == 200]
        assert sum(costs) == len(served) * COST_MICROS
        assert place.read_standing(kind) == (sum(costs), 0)
        assert sum(costs) <= KINDS[kind].budgets[0].amount


def show_latencies(load: Load, frozen_s: float, thawed_s: float) -> None:
    """Print, but do not judge, how long calls took before, during and after the freeze."""
    spans = {"before": (0.0, frozen_s), "frozen": (frozen_s, thawed_s), "after": (thawed_s, 1e18)}
    for kind in KINDS:
        for name, span in spans.items():
            times = [reply.took_s * 1000 for reply in load.list_between(kind, *span)]
            middle, high = (quantiles(times, n=100)[at] for at in (49, 98))
            print(f"{kind:8} {name}: {len(times)} calls, p50 {middle:.1f} ms, p99 {high:.1f} ms")
