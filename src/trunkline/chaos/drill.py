"""Plays all scenarios against one gateway, and gathers what is known of each."""

import asyncio
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import msgspec

from trunkline.chaos.caller import Question, ask
from trunkline.chaos.gateway import ChildGateway
from trunkline.chaos.heard import Heard
from trunkline.chaos.rehearsal import Part, Rehearsal
from trunkline.chaos.scenario import Scenario
from trunkline.chaos.toml_text import write_toml
from trunkline.chaos.verdict import CLOSE_S, MARGIN_S, Evidence, Verdict, judge_all
from trunkline.mock import Asked, Behaviour, MockServer, Plan, Served, always
from trunkline.mock.behaviour import Dialect
from trunkline.store.posting import Posting

CALLERS: Final = 16
"""Scenarios that are played at once."""
_POLL_S: Final = 0.02
_TEXT: Final = "Ünïcödé, «quotes» \u2028 and 🚂 of {provider} in {number}."


class Result(msgspec.Struct, frozen=True):
    """One scenario with its verdict and what the client heard."""

    scenario: Scenario
    verdict: Verdict
    heard: Heard


class _Asked(msgspec.Struct, frozen=True):
    """One call, and when it was made, by the monotonic clock."""

    heard: Heard
    began_at_s: float
    ended_at_s: float

    def gather(self, served: Sequence[Served], posting: Posting | None) -> Evidence:
        """With what the upstreams did in its time, of what they did for the scenario."""
        own = [each for each in served if self.began_at_s <= each.began_at <= self.ended_at_s]
        return Evidence(self.heard, self.ended_at_s, tuple(own), posting)


class Scene:
    """The upstreams of a drill: a mock for every provider, and one for each spoiled connection."""

    def __init__(self, scenarios: Sequence[Scenario], dialects: dict[str, Dialect]) -> None:
        self._by_name: dict[str, tuple[Scenario, Part]] = {}
        for scenario in scenarios:
            for part in scenario.line.parts:
                self._by_name[scenario.name_upstream(part)] = (scenario, part)
        self.dialects = dialects
        self.mocks = {name: MockServer(self._make_plan(name)) for name in dialects}
        spoiling = {
            scenario.fault.kind: scenario.fault
            for scenario in scenarios
            if scenario.fault is not None and scenario.spoils_connection
        }
        self.spoilers = {kind: MockServer(always(fault)) for kind, fault in spoiling.items()}

    def name_provider(self, scenario: Scenario, part: Part) -> str:
        """The provider of a target: a copy of it where its connections are no others' any more."""
        if scenario.fault is not None and scenario.spoils_connection and scenario.hits(part):
            return f"{part.provider}-{scenario.fault.kind}"
        if scenario.spoils_next:
            return f"{part.provider}-{scenario.number}"
        return part.provider

    def list_served(self) -> dict[int, list[Served]]:
        """What was served, by the scenario's number, in order."""
        found: dict[int, list[Served]] = defaultdict(list)
        for mock in self.mocks.values():
            for served in mock.served:
                known = self._by_name.get(served.model)
                if known is not None:
                    found[known[0].number].append(served)
        return {number: sorted(each, key=_began_at) for number, each in found.items()}

    def _make_plan(self, provider: str) -> Plan:
        def decide(asked: Asked) -> Behaviour:
            scenario, part = self._by_name[asked.model]
            text = _TEXT.format(provider=provider, number=scenario.number)
            return Behaviour(text=text, fault=scenario.fault if scenario.hits(part) else None)

        return Plan(decide)


def _began_at(served: Served) -> float:
    return served.began_at


async def play(
    rehearsal: Rehearsal,
    scenarios: Sequence[Scenario],
    tell: Callable[[Result], None],
    kept_log: Path | None = None,
) -> list[Result]:
    """Play scenarios, some at once, and judge them when all are over.

    Args:
        rehearsal: the configuration.
        scenarios: what is played.
        tell: called with each result, in order.
        kept_log: where the gateway's log is kept.

    Raises:
        ChildError: the gateway does not start or stop as it should.
    """
    scene = Scene(scenarios, rehearsal.dialects)
    async with AsyncExitStack() as stack:
        for mock in (*scene.mocks.values(), *scene.spoilers.values()):
            await stack.enter_async_context(mock)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trunkline-chaos-")))
        config = folder / "rehearsal.toml"
        config.write_text(write_toml(write_configuration(rehearsal, scenarios, scene)), "utf-8")
        gateway = await stack.enter_async_context(ChildGateway(config, folder))
        try:
            heard = await _ask_all(gateway, scenarios)
            await wait_until_over([*scene.mocks.values()])
            served = scene.list_served()
            await gateway.stop()
        finally:
            if kept_log is not None:
                await asyncio.to_thread(shutil.copyfile, gateway.log, kept_log)
        ids = [each.heard.call_id for calls in heard for each in calls if each.heard.call_id]
        postings = await asyncio.to_thread(gateway.find_entries, ids)
    results = []
    for scenario, calls in zip(scenarios, heard, strict=True):
        evidences = [
            each.gather(served.get(scenario.number, ()), postings.get(each.heard.call_id))
            for each in calls
        ]
        result = Result(scenario, judge_all(scenario, evidences), calls[-1].heard)
        tell(result)
        results.append(result)
    return results


async def wait_until_over(mocks: Sequence[MockServer]) -> None:
    """Wait until nothing is being served any more, ``CLOSE_S`` at most: what then is, stays."""
    give_up_s = time.monotonic() + CLOSE_S
    served = [each for mock in mocks for each in mock.served]
    while time.monotonic() < give_up_s and not all(  # noqa: ASYNC110 - no event tells of all
        each.has_ended for each in served
    ):
        await asyncio.sleep(_POLL_S)


async def _ask_all(gateway: ChildGateway, scenarios: Sequence[Scenario]) -> list[list[_Asked]]:
    """The calls of each scenario, one after the other."""
    gate = asyncio.Semaphore(CALLERS)

    async def ask_each(scenario: Scenario) -> list[_Asked]:
        question = Question(
            scenario.door, scenario.model, scenario.stream, tool=scenario.offers_tool
        )
        patience_s = scenario.line.deadlines.total_s + MARGIN_S + 1
        asked = []
        async with gate:
            for _ in range(scenario.calls):
                began_at_s = time.monotonic()
                heard = await ask(gateway.port, gateway.key, question, patience_s)
                asked.append(_Asked(heard, began_at_s, time.monotonic()))
        return asked

    return await asyncio.gather(*map(ask_each, scenarios))


def write_configuration(
    rehearsal: Rehearsal, scenarios: Sequence[Scenario], scene: Scene
) -> dict[str, Any]:
    """The configuration that is played: a public name for each scenario."""
    providers: dict[str, Any] = {}
    for name, dialect in rehearsal.dialects.items():
        row = rehearsal.rows[name]
        providers[name] = row | {"base_url": scene.mocks[name].base_url(dialect)}
        for kind, spoiler in scene.spoilers.items():
            providers[f"{name}-{kind}"] = row | {"base_url": spoiler.base_url(dialect)}
    models = {}
    for scenario in scenarios:
        targets = [
            {
                "provider": scene.name_provider(scenario, part),
                "model": scenario.name_upstream(part),
                **part.words,
            }
            for part in scenario.line.parts
        ]
        if scenario.spoils_next:
            for part in scenario.line.parts:
                providers[scene.name_provider(scenario, part)] = providers[part.provider]
        models[scenario.model] = {"targets": targets, **scenario.line.words}
    return {
        "server": {"host": "127.0.0.1", "drain_s": 2},
        "providers": providers,
        "models": models,
        "stream": rehearsal.stream,
    }
