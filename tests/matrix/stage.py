"""Plays all cases of one upstream against one real gateway, and keeps what came of each."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path

import msgspec

from matrix.case import CLIENTS, WAITS, Case, Client
from matrix.client import LIMIT, PROMPT, Got, Sdks
from trunkline.access.bootstrap import BOOTSTRAP_ACCOUNT
from trunkline.chaos.caller import Question, ask
from trunkline.chaos.drill import wait_until_over
from trunkline.chaos.gateway import ChildGateway
from trunkline.chaos.heard import Heard
from trunkline.chaos.toml_text import write_toml
from trunkline.chaos.verdict import MARGIN_S, Evidence
from trunkline.mock import Asked, Behaviour, MockServer, Plan, Served, always
from trunkline.store.posting import Posting
from trunkline.store.store import open_store
from trunkline.store.usage import Choice

AT_ONCE = 4
"""Cases, each of four calls. On a busy machine more would wait for each other past a deadline."""
TEXT = "Ünïcödé, «quotes» \u2028 and 🚂 from {}."


class Outcome(msgspec.Struct):
    """All that is known of one case.

    Args:
        evidence: of the raw client.
        got: by SDK.
        served: what the upstream did, by client.
        entries: of the ledger, by client.
        elapsed_s: by client.
    """

    evidence: Evidence
    got: dict[Client, Got]
    served: dict[Client, tuple[Served, ...]]
    entries: dict[Client, Posting]
    elapsed_s: dict[Client, float]


Find = Callable[[Case], Outcome]


class Stage:
    """A mock, spoiled ones for what happens on connecting, a gateway, and the clients."""

    def __init__(self, cases: Sequence[Case], folder: Path) -> None:
        self._cases = cases
        self._folder = folder
        self._faults = {case.name_model(client): case.fault for case in cases for client in CLIENTS}
        self._mock = MockServer(Plan(self._decide))
        spoiled = {
            case.name_provider("raw"): case.fault for case in cases if case.fault.place == "connect"
        }
        self._spoilers = {name: MockServer(always(fault)) for name, fault in spoiled.items()}
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._elapsed_s: dict[str, float] = {}

    async def play(self) -> dict[str, Outcome]:
        """What came of each case, by its id."""
        async with AsyncExitStack() as stack:
            for mock in (self._mock, *self._spoilers.values()):
                await stack.enter_async_context(mock)
            config = self._folder / "matrix.toml"
            config.write_text(self._write_configuration())
            gateway = await stack.enter_async_context(ChildGateway(config, self._folder))
            url = f"http://127.0.0.1:{gateway.port}"
            sdks = await stack.enter_async_context(Sdks(url, gateway.key, BOOTSTRAP_ACCOUNT))
            played = await asyncio.gather(
                *(self._play(case, gateway, sdks) for case in self._cases)
            )
            await wait_until_over([self._mock])
            await gateway.stop()
            log = gateway.read_log()
            assert "Traceback" not in log, log
        return self._gather(played, gateway)

    def _decide(self, asked: Asked) -> Behaviour:
        return Behaviour(text=TEXT.format(asked.model), fault=self._faults[asked.model])

    def _write_configuration(self) -> str:
        upstream = self._cases[0].upstream
        row = {"wire": upstream, "api_key": "sk-matrix-canary"}
        if upstream == "bedrock":
            row = {"wire": upstream, "access_key": "canary", "secret_key": "canary"}
        providers = {}
        for case in self._cases:
            for client in CLIENTS:
                name = case.name_provider(client)
                mock = self._spoilers.get(name, self._mock)
                providers[name] = row | {"base_url": mock.base_url(upstream)}
        settings = {
            "server": {"host": "127.0.0.1", "drain_s": 2},
            "providers": providers,
            "deadlines": msgspec.structs.asdict(WAITS),
            "routing": {"retries": 0},
        }
        return write_toml(settings)

    async def _play(
        self, case: Case, gateway: ChildGateway, sdks: Sdks
    ) -> tuple[tuple[Heard, float], dict[Client, Got]]:
        async with self._gate, asyncio.TaskGroup() as group:
            raw = group.create_task(self._ask_raw(case, gateway))
            others = {
                client: group.create_task(self._ask_sdk(case, client, sdks))
                for client in CLIENTS[1:]
            }
        return raw.result(), {client: task.result() for client, task in others.items()}

    async def _ask_raw(self, case: Case, gateway: ChildGateway) -> tuple[Heard, float]:
        scenario = case.scenario
        question = Question(scenario.door, case.name_public("raw"), case.stream, PROMPT, LIMIT)
        patience_s = WAITS.total_s + MARGIN_S + 1
        heard = await ask(gateway.port, gateway.key, question, patience_s)
        self._elapsed_s[case.name_public("raw")] = heard.elapsed_s
        return heard, time.monotonic()

    async def _ask_sdk(self, case: Case, client: Client, sdks: Sdks) -> Got:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        got = await sdks.ask(case, client)
        self._elapsed_s[case.name_public(client)] = loop.time() - began_s
        return got

    def _gather(
        self,
        played: Sequence[tuple[tuple[Heard, float], dict[Client, Got]]],
        gateway: ChildGateway,
    ) -> dict[str, Outcome]:
        served: dict[str, list[Served]] = defaultdict(list)
        for each in self._mock.served:
            served[each.model].append(each)
        with closing(open_store(gateway.data_dir / "trunkline.db")) as store:
            rows = store.usage.list_calls(Choice(), 100_000)
            # A name that the upstream does not know is not written down: found by its id alone.
            found = {row.model or row.id: store.ledger.find_entry(row.id) for row in rows}
        assert len(found) == len(rows), "two entries of one call"
        outcomes = {}
        for case, ((heard, ended_at_s), got) in zip(self._cases, played, strict=True):
            by_client = {client: tuple(served[case.name_model(client)]) for client in CLIENTS}
            entries = {
                client: posting
                for client in CLIENTS
                if (posting := found.get(case.name_public(client))) is not None
            }
            posting = entries.get("raw") or found.get(heard.call_id)
            evidence = Evidence(heard, ended_at_s, by_client["raw"], posting)
            elapsed_s = {client: self._elapsed_s[case.name_public(client)] for client in CLIENTS}
            outcomes[case.id] = Outcome(evidence, got, by_client, entries, elapsed_s)
        return outcomes
