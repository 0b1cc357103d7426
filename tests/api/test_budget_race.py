"""A thousand calls at once against a budget for a hundred: never a micro-dollar over.

The gateways are real processes: one with one worker, one with four, and two on one database.
"""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Self

import pytest
from sqlalchemy import func, select

from api.crowd import Client, Reply, write_chat
from api.serving import CONFIG, Served, make_key, serve
from scripted import Peer, ScriptedServer
from store.postgres import make_schema, make_url
from trunkline.store.schema import JOURNALS, LEASES
from trunkline.store.store import open_store
from trunkline.terms import Budget, Terms, Window

pytestmark = pytest.mark.slow

CALLS = 1000
FIT = 100
WAVE = 40
OUTPUT_TOKENS = 10
BODY = write_chat("lab/m", OUTPUT_TOKENS)
WORST_MICROS = len(BODY) * 1 + OUTPUT_TOKENS * 2
"""A token is at least a byte; see ``serving.CONFIG`` for the prices."""
AMOUNT_MICROS = FIT * WORST_MICROS
LESS_TOKENS = len(BODY) // 3
"""What a call uses that does not use all: input tokens."""
LATE_S = 60.0


@dataclass
class Model:
    """The upstream: says that it used so much, and holds its answers back while it is closed."""

    usage: tuple[int, int] = (0, 0)
    held: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def play(self, peer: Peer) -> None:
        while True:
            await peer.request()
            self.held += 1
            await self.open.wait()
            self.held -= 1
            prompt, completion = self.usage
            message = {"role": "assistant", "content": "x"}
            answer = {
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": {"prompt_tokens": prompt, "completion_tokens": completion},
            }
            await peer.answer(json.dumps(answer).encode())


class Watcher:
    """Looks at a budget in the database, again and again, while the gateways work."""

    def __init__(self, where: Path | str, window: Window) -> None:
        self.most = 0
        self.workers: set[str] = set()
        self._store = open_store(where)
        self._window = window
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def read(self) -> tuple[int, int]:
        """Spent by shipped entries, and taken by workers, in one moment."""
        (standing,) = self._store.leases.find_standings([self._window])
        with self._store.database.read() as connection:
            self.workers |= set(connection.scalars(select(LEASES.c.journal_id)))
        self.most = max(self.most, standing.spent + standing.leased)
        return standing.spent, standing.leased

    def _watch(self) -> None:
        while not self._stopped.wait(0.03):
            self.read()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._store.close()


@contextmanager
def race(
    kind: str, tmp_path: Path, upstream_port: int
) -> Iterator[tuple[Path | str, list[Served], int]]:
    """Gateways of a kind that serve: their store, they themselves, and how many workers."""
    config = CONFIG.format(port=upstream_port)
    with ExitStack() as stack:
        if kind != "two gateways":
            workers = int(kind.split(maxsplit=1)[0])
            words = ("--workers", str(workers))
            gateway = stack.enter_context(serve(tmp_path / "one", config, *words))
            gateway.wait_ready(workers)
            yield gateway.data_dir / "trunkline.db", [gateway], workers
            return
        where = make_url(options=stack.enter_context(make_schema()))
        config += f'[store]\nurl = "{where}"\n'
        names = ("one", "two")
        gateways = [stack.enter_context(serve(tmp_path / name, config)) for name in names]
        for gateway in gateways:
            gateway.wait_ready()
        yield where, gateways, 2


@dataclass
class Crowd:
    """Those who call the gateways, and all that they were answered."""

    gateways: Sequence[Served]
    group: asyncio.TaskGroup
    replies: list[Reply] = field(default_factory=list)

    async def start(self, key: str, calls: int) -> list[asyncio.Task[Reply]]:
        """Connect all, then send all, so that the calls are there at once.

        Both is done in waves: who is awake first accepts all connections that wait, and the first
        thing that a worker asks for is enough for all who wait. One worker would have it all.
        """
        gateways = self.gateways
        ports = [gateways[number % len(gateways)].port for number in range(calls)]
        clients: list[Client] = []
        for at in range(0, calls, WAVE):
            wave = [Client.connect(port) for port in ports[at : at + WAVE]]
            clients += await asyncio.gather(*wave)
            await asyncio.sleep(0.01)
        pairs = [*zip(clients, ports, strict=True)]
        Random(calls).shuffle(pairs)
        tasks = []
        for number, pair in enumerate(pairs, 1):
            tasks.append(self.group.create_task(self._insist(*pair, key)))
            if number % WAVE == 0:
                await asyncio.sleep(0.01)
        return tasks

    async def use_up(self, key: str, calls: int) -> None:
        """Ask one after another until so many more calls were served."""
        give_up_s = time.monotonic() + LATE_S
        served = asked = 0
        while served < calls:
            assert time.monotonic() < give_up_s, f"{calls - served} more calls fit"
            gateway = self.gateways[asked % len(self.gateways)]
            reply = await self._insist(await Client.connect(gateway.port), gateway.port, key)
            asked += 1
            served += reply.status == 200
            if reply.status != 200:
                await asyncio.sleep(0.1)  # another worker has it, and will give it back

    def count(self) -> Counter[str]:
        """How many answers there were of each code; "" is for those that were served."""
        return Counter(reply.code for reply in self.replies)

    async def _insist(self, client: Client, port: int, key: str) -> Reply:
        """Ask until the answer does not depend on how fast the database is at the moment."""
        give_up_s = time.monotonic() + LATE_S
        while True:
            reply = await client.ask(BODY, key)
            self.replies.append(reply)
            if reply.code != "overloaded":
                break
            assert time.monotonic() < give_up_s, reply.body
            await asyncio.sleep(1)
            client = await Client.connect(port)
        if reply.status != 200:
            assert (reply.status, reply.code) == (429, "insufficient_quota"), reply.body
            assert reply.headers["x-should-retry"] == "false"
        return reply


def make_budget(where: Path | str) -> tuple[str, Window]:
    """A key with a budget, and the budget's window."""
    text, key_id = make_key(where, Terms(budgets=(Budget("usd", "total", AMOUNT_MICROS),)))
    return text, Window("key", key_id, "usd", "total", 0)


async def wait_until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(LATE_S):
        while not is_true():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)


async def race_for_all(where: Path | str, crowd: Crowd, model: Model, workers: int) -> Window:
    """Every call uses all that was reserved for it, and none ends before all are decided."""
    model.usage = len(BODY), OUTPUT_TOKENS
    model.open.clear()
    text, window = make_budget(where)
    with Watcher(where, window) as watcher:
        tasks = await crowd.start(text, CALLS)
        await wait_until(lambda: sum(task.done() for task in tasks) + model.held == CALLS)
        watcher.read()
        assert model.held <= FIT
        print(f"{crowd.count()}, {model.held} under way, {len(watcher.workers)} workers took part")
        if "overloaded" not in crowd.count():
            # The last call that fits may be taken in advance by a worker that needs it no more.
            assert model.held > FIT - workers
        if workers > 1:
            assert len(watcher.workers) > 1
        model.open.set()
        await asyncio.gather(*tasks)
        await crowd.use_up(text, FIT - crowd.count()[""])
        assert crowd.count()[""] == FIT
        for task in await crowd.start(text, 2 * workers):
            assert (await task).status == 429
        await wait_until(lambda: watcher.read() == (AMOUNT_MICROS, 0))
        assert watcher.most == AMOUNT_MICROS
    return window


async def race_for_less(where: Path | str, crowd: Crowd, model: Model) -> Window:
    """The calls use less than was reserved for them; the rest comes back, and others have it."""
    model.usage = LESS_TOKENS, 0
    text, window = make_budget(where)
    fit = (AMOUNT_MICROS - WORST_MICROS) // LESS_TOKENS + 1
    with Watcher(where, window) as watcher:
        await asyncio.gather(*await crowd.start(text, CALLS))
        print(f"{crowd.count()}, of {fit} that fit")
        await crowd.use_up(text, fit - crowd.count()[""])
        assert crowd.count()[""] == fit
        for task in await crowd.start(text, 2):
            assert (await task).status == 429
        await wait_until(lambda: watcher.read() == (fit * LESS_TOKENS, 0))
        assert watcher.most <= AMOUNT_MICROS
    return window


def check_books(where: Path | str, crowds: Mapping[Window, Crowd]) -> None:
    """The ledger, the budgets and what the clients saw say the same; and nothing is left open."""
    with closing(open_store(where)) as store:
        entries = store.ledger.list_entries(0, 1 << 62, None, 10 * CALLS)
        standings = store.leases.find_standings([*crowds])
        with store.database.read() as connection:
            for table in (LEASES, JOURNALS):
                assert connection.scalar(select(func.count()).select_from(table)) == 0
    for standing, crowd in zip(standings, crowds.values(), strict=True):
        own = [entry for entry in entries if entry.key_id == standing.window.subject_id]
        assert sum(entry.cost_micros or 0 for entry in own) == standing.spent <= AMOUNT_MICROS
        assert standing.leased == 0
        assert Counter(entry.code for entry in own) == crowd.count()
        assert sorted(entry.id for entry in own) == sorted(reply.id for reply in crowd.replies)


@pytest.mark.parametrize(
    "kind", ["1 worker", "4 workers", pytest.param("two gateways", marks=pytest.mark.postgres)]
)
async def test_a_thousand_calls_race_for_a_budget(tmp_path: Path, kind: str) -> None:
    model = Model()
    async with ScriptedServer(model.play) as upstream:
        with race(kind, tmp_path, upstream.port) as (where, gateways, workers):
            async with asyncio.TaskGroup() as group:
                crowds = [Crowd(gateways, group), Crowd(gateways, group)]
                windows = [
                    await race_for_all(where, crowds[0], model, workers),
                    await race_for_less(where, crowds[1], model),
                ]
            for gateway in gateways:
                await asyncio.to_thread(gateway.stop)
            check_books(where, dict(zip(windows, crowds, strict=True)))
