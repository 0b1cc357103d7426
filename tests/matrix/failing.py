"""Two targets behind each name, of which the first always has one and the same fault."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from matrix.case import WAITS
from trunkline.chaos.caller import Question, ask
from trunkline.chaos.gateway import ChildGateway
from trunkline.chaos.heard import DOORS, Heard
from trunkline.chaos.scenario import list_faults
from trunkline.chaos.toml_text import write_toml
from trunkline.errors import KINDS
from trunkline.mock import FAULTS, Asked, Behaviour, Fault, MockServer, Plan, always

CALLS = 50
AT_ONCE = 5
TEXT = "Said by the one that is well."
_HELPABLE = frozenset(code for code, kind in KINDS.items() if kind.retryable)


class Failing(msgspec.Struct, frozen=True):
    """A fault before the first content that is no fault of the request."""

    number: int
    fault: Fault
    stream: bool

    @property
    def id(self) -> str:
        shape = "stream" if self.stream else "whole"
        return f"{shape}-{self.fault.kind}-{self.fault.place}"

    @property
    def model(self) -> str:
        return f"failing-{self.number}"


def list_failing() -> list[Failing]:
    """Everything that another target can help against."""
    return [
        Failing(number, fault, stream)
        for number, (fault, stream) in enumerate(list_faults(list(FAULTS)))
        if fault.expect(stream=stream) == "error before content"
        and _HELPABLE.issuperset(FAULTS[fault.kind].codes)
    ]


async def play_failing(cases: Sequence[Failing], folder: Path) -> dict[str, list[Heard]]:
    """What ``CALLS`` calls of each case were answered, by its id, in the order of their starts."""
    faults = {case.model: case.fault for case in cases}

    def decide(asked: Asked) -> Behaviour:
        return Behaviour(fault=faults[asked.model])

    spoiled = {case.fault.kind: case.fault for case in cases if case.fault.place == "connect"}
    mocks = {kind: MockServer(always(fault)) for kind, fault in spoiled.items()}
    mocks |= {"first": MockServer(Plan(decide))}
    mocks |= {"second": MockServer(Plan(lambda _: Behaviour(text=TEXT)))}
    async with AsyncExitStack() as stack:
        for mock in mocks.values():
            await stack.enter_async_context(mock)
        config = folder / "failing.toml"
        config.write_text(_write_configuration(cases, mocks))
        gateway = await stack.enter_async_context(ChildGateway(config, folder))
        gate = asyncio.Semaphore(6)

        async def play(case: Failing) -> list[Heard]:
            async with gate:
                heard: list[Heard] = []
                for start in range(0, CALLS, AT_ONCE):
                    calls = [_ask(gateway, case, start + more) for more in range(AT_ONCE)]
                    heard += await asyncio.gather(*calls)
                return heard

        played = await asyncio.gather(*map(play, cases))
        await gateway.stop()
    return {case.id: heard for case, heard in zip(cases, played, strict=True)}


async def _ask(gateway: ChildGateway, case: Failing, number: int) -> Heard:
    question = Question(DOORS[number % len(DOORS)], case.model, case.stream)
    return await ask(gateway.port, gateway.key, question, WAITS.total_s + 3)


def _write_configuration(cases: Sequence[Failing], mocks: dict[str, MockServer]) -> str:
    providers = {
        name: {"wire": "openai", "base_url": mock.base_url("openai")}
        for name, mock in mocks.items()
    }
    models: dict[str, Any] = {}
    for case in cases:
        first = case.fault.kind if case.fault.place == "connect" else "first"
        targets = [
            {"provider": first, "model": case.model},
            {"provider": "second", "model": case.model},
        ]
        models[case.model] = {"targets": targets}
    return write_toml(
        {
            "server": {"host": "127.0.0.1", "drain_s": 2},
            "providers": providers,
            "models": models,
            "deadlines": msgspec.structs.asdict(WAITS),
        }
    )
