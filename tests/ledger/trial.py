"""A trial: gateways that are killed and stopped while clients ask and an upstream misbehaves."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final, Literal

import msgspec

from ledger.caller import Caller, Outcome
from ledger.fate import CHAINS, DRAINS, KEEPS, Plan, make_plan, name_call
from ledger.keeper import Keeper
from ledger.served import Upstream
from scripted import ScriptedServer
from trunkline.access.key import NewKey, create_key
from trunkline.access.pepper import load_pepper
from trunkline.store.store import open_store
from trunkline.terms import AccountTerms, Budget, Limits, Terms

CLIENTS: Final = 16
MOST_S: Final = 90
"""How long one call may take, with the start of a gateway."""
PEPPER: Final = "5a" * 32
PLENTY: Final = 10**13
Blow = Literal["kill", "stop", "worker"]
"""SIGKILL for a gateway with all its workers; SIGTERM; SIGKILL for one worker."""

_CONFIG: Final = """
[server]
drain_s = {drain_s}
workers = {workers}
[store]
url = "{store}"
[deadlines]
first_token_s = {patience_s}
idle_s = {patience_s}
[ledger]
drain_s = 20
[routing]
retries = 0
[providers.lab]
wire = "openai"
base_url = "http://127.0.0.1:{port}/lab/v1"
[providers.second]
wire = "openai"
base_url = "http://127.0.0.1:{port}/second/v1"
[providers.alone]
wire = "openai"
base_url = "http://127.0.0.1:{port}/alone/v1"
rewrites = ["n_fan_out"]
[[prices.list]]
provider = "*"
model = "*"
input = "1"
output = "2"
"""
_CHAIN: Final = """
[models."chain/{name}"]
targets = [{{ provider = "lab", model = "{name}" }}, {{ provider = "second", model = "{name}" }}]
routing = {{ retries = 1 }}
"""


class Setting(msgspec.Struct, frozen=True):
    """What a trial is made of.

    ``blows`` fall on the gateways in turn while the clients ask ``calls`` times. ``store`` is a
    server's URL, or "" for a file in the data folder of the only gateway. A gateway waits
    ``patience_s`` for an upstream, and ``drain_s`` for its calls when it is stopped.
    """

    seed: int
    calls: int
    blows: tuple[Blow, ...]
    workers: int = 1
    gateways: int = 1
    store: str = ""
    patience_s: float = 0.5
    drain_s: int = 20


class Trial:
    """What happened: plans, servings and outcomes by a call's number, and when gateways died."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        self.setting = setting
        self.plans = {each: make_plan(setting.seed, each) for each in range(setting.calls)}
        self.upstream = Upstream(lambda name: self.plans[int(name.removeprefix("call-"))])
        self.outcomes: dict[int, Outcome] = {}
        self.deaths: list[tuple[Keeper, float]] = []
        self.keepers: list[Keeper] = []
        self.key_ids: dict[str, str] = {}
        self.store: Path | str = setting.store or folder / "data0" / "trunkline.db"
        self._folder = folder
        self._keys: dict[str, str] = {}
        self._begun = 0

    async def run(self) -> None:
        """Let it all happen, until the last gateway has stopped."""
        self._make_accounts()
        async with ScriptedServer(self.upstream.serve) as server:
            with ExitStack() as stack:
                self._start_gateways(server.port, stack)
                for keeper in self.keepers:
                    await keeper.wait_ready()
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._strike())
                    numbers = iter(self.plans)
                    for _ in range(CLIENTS):
                        group.create_task(self._ask(numbers))
                for keeper in self.keepers:
                    await keeper.wait_ready()
                    await keeper.wait_swept(self.setting.workers)
                    await keeper.stop()

    def _make_accounts(self) -> None:
        data_dir = self._folder / "data0"
        data_dir.mkdir(mode=0o700)
        pepper, now_us = load_pepper(data_dir, PEPPER), time.time_ns() // 1000
        store = open_store(self.store)
        budgets = (Budget("usd", "month", PLENTY), Budget("tokens", "total", PLENTY))
        limits = Limits(rpm=10**9, tpm=10**12, concurrent=1000)
        terms = {
            KEEPS: AccountTerms(budgets=budgets),
            DRAINS: AccountTerms(budgets=budgets[1:], limits=limits, leaving="drain"),
        }
        for account, each in terms.items():
            store.accounts.create(account, "", now_us, each)
            new = NewKey(account_id=account, terms=Terms(budgets=budgets[:1]))
            self._keys[account], key = create_key(store, pepper, new, now_us)
            self.key_ids[account] = key.id
        store.close()

    def _start_gateways(self, port: int, stack: ExitStack) -> None:
        setting = self.setting
        config = self._folder / "trunkline.toml"
        chains = (_CHAIN.format(name=name_call(each)) for each in range(0, setting.calls, CHAINS))
        given = {**msgspec.structs.asdict(setting), "store": setting.store or "sqlite"}
        config.write_text(_CONFIG.format(**given, port=port) + "".join(chains))
        for number in range(setting.gateways):
            data_dir = self._folder / f"data{number}"
            keeper = Keeper(config, data_dir, {"TRUNKLINE_PEPPER": PEPPER})
            self.keepers.append(keeper)
            stack.callback(keeper.end)
            keeper.start()

    async def _ask(self, numbers: Iterator[int]) -> None:
        caller = Caller(lambda plan: self.find_keeper(plan).port, self._keys, self.upstream.stages)
        for number in numbers:
            self._begun += 1
            plan = self.plans[number]
            try:
                async with asyncio.timeout(MOST_S):
                    self.outcomes[number] = await caller.call(plan)
            except TimeoutError:
                raise AssertionError(f"no end of a call: {plan}") from None
        caller.close()

    async def _strike(self) -> None:
        """Strike at random moments, all through the calls."""
        chance = random.Random(self.setting.seed)
        share = self.setting.calls // (len(self.setting.blows) + 1)
        for at, blow in enumerate(self.setting.blows):
            goal = round(share * (at + chance.uniform(0.6, 1.0)))
            await _wait_for(partial(self._has_begun, goal))
            await asyncio.sleep(chance.uniform(0, 0.05))
            keeper = self.keepers[at % len(self.keepers)]
            await self._land(blow, keeper)
        for keeper in self.keepers:
            await keeper.wait_ready()

    def find_keeper(self, plan: Plan) -> Keeper:
        """The gateway that is asked."""
        return self.keepers[plan.number // CHAINS % len(self.keepers)]

    def _has_begun(self, count: int) -> bool:
        for keeper in self.keepers:
            keeper.check()
        return self._begun >= count

    async def _land(self, blow: Blow, keeper: Keeper) -> None:
        if blow == "worker":
            self.deaths.append((keeper, await keeper.kill_worker()))
            return
        if blow == "kill":
            self.deaths.append((keeper, await keeper.kill()))
        else:
            await keeper.wait_ready()
            await keeper.stop()
        keeper.start()


async def _wait_for(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not is_true():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)
