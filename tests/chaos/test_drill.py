"""A drill finds a gateway wrong that is wrong, and one that does not run."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from trunkline.catalog import read_catalog
from trunkline.chaos.configuration import read_configuration
from trunkline.chaos.drill import Result, play
from trunkline.chaos.gateway import ChildError, ChildGateway
from trunkline.chaos.rehearsal import Rehearsal, make_rehearsal
from trunkline.chaos.scenario import list_scenarios
from trunkline.mock import MockServer

CONFIG = """
[providers.lab]
wire = "openai"
base_url = "http://127.0.0.1:9/v1"

[models.alone]
targets = [{ provider = "lab", model = "m" }]
"""


@pytest.fixture
def rehearsal(tmp_path: Path) -> Rehearsal:
    path = tmp_path / "operator.toml"
    path.write_text(CONFIG)
    catalog = read_catalog()
    return make_rehearsal(read_configuration(path, catalog), catalog)


async def test_results_come_in_order(rehearsal: Rehearsal) -> None:
    scenarios = list_scenarios(rehearsal.lines, ["early_end", "gzip"])
    told: list[Result] = []
    results = await play(rehearsal, scenarios, told.append)
    assert told == results
    assert [result.scenario.number for result in results] == list(range(len(scenarios)))
    assert {result.verdict.judgement for result in results} == {"complete", "failed honestly"}
    assert all(result.heard.call_id for result in results)


async def test_a_gateway_of_other_deadlines_hangs(rehearsal: Rehearsal) -> None:
    """What is judged is what was said, not what the gateway takes for right."""
    line = rehearsal.lines[0]
    slow = {**line.words, "deadlines": {"first_token_s": 30, "idle_s": 30}}
    spoiled = replace(line, words=slow, deadlines=replace(line.deadlines, total_s=0.5))
    scenarios = [
        each
        for each in list_scenarios([spoiled], ["hang"])
        if each.fault is not None and each.fault.place == "head"
    ]
    results = await play(rehearsal, scenarios, lambda _: None)
    assert [result.verdict.judgement for result in results] == ["wrong", "wrong"]
    assert all("no end after" in result.verdict.faults[0] for result in results)


async def test_a_gateway_that_does_not_start_says_why(tmp_path: Path) -> None:
    config = tmp_path / "broken.toml"
    config.write_text("[nonsense]\n")
    with pytest.raises(ChildError, match="unknown key"):
        async with ChildGateway(config, tmp_path):
            pass


async def test_a_gateway_stops_by_itself_and_keeps_its_ledger(tmp_path: Path) -> None:
    async with MockServer() as mock:
        config = tmp_path / "gateway.toml"
        config.write_text(CONFIG.replace("http://127.0.0.1:9/v1", mock.base_url("openai")))
        async with ChildGateway(config, tmp_path) as gateway:
            assert gateway.port
            assert gateway.pid
            await gateway.stop()
        assert gateway.find_entries(["req_nothing"]) == {}
