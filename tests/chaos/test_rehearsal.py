"""An operator's configuration is played as it is, but for what leads outside."""

from pathlib import Path

import pytest

from trunkline.catalog import read_catalog
from trunkline.chaos.configuration import read_configuration
from trunkline.chaos.rehearsal import DUMMY, Rehearsal, make_rehearsal
from trunkline.chaos.scenario import list_scenarios
from trunkline.errors import GatewayError
from trunkline.mock import FAULTS
from trunkline.toml import FileError

CONFIG = """
[server]
host = "0.0.0.0"

[store]
url = "env:NOWHERE"

[providers.openai]
api_key = "env:NOT_SET"
concurrent = 2

[providers.bedrock]
region = "eu-west-1"

[providers.vertex_ai]
project = "p"
location = "l"
service_account = "/does/not/exist.json"

[providers.own]
wire = "llm-engine"
base_url = "https://models.example"
api_key = "file:/does/not/exist"
ca_file = "/does/not/exist.pem"
proxy = "http://proxy.example:3128"

[engines.tiny]
model = "smollm2-135m-instruct"

[models.chain]
targets = [
  { provider = "openai", model = "gpt-4o", weight = 3 },
  { provider = "local", model = "tiny" },
  { provider = "bedrock", model = "large", on = ["context"] },
]
context_window = 1000

[models.chain.routing]
policy = "weighted"
retries = 1

[models.chain.routing.circuit]
failures = 7

[models.one]
targets = [{ provider = "vertex_ai", model = "gemini-2.5-pro" }]

[models.two]
targets = [{ provider = "vertex_ai", model = "gemini-2.5-flash" }]

[models.quick]
targets = [{ provider = "own", model = "llama" }]

[models.quick.deadlines]
first_token_s = 0.3

[deadlines]
first_token_s = 40
idle_s = 20
total_s = 80
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "operator.toml"
    path.write_text(CONFIG)
    return path


def rehearse(path: Path, *wanted: str) -> Rehearsal:
    catalog = read_catalog()
    return make_rehearsal(read_configuration(path, catalog), catalog, wanted)


def test_no_secret_and_no_outside_is_needed(path: Path) -> None:
    rehearsal = rehearse(path)
    assert rehearsal.dialects == {
        "openai": "openai",
        "bedrock": "bedrock",
        "vertex_ai": "gemini",
        "own": "llm-engine",
        "engine-tiny": "openai",
    }
    rows = rehearsal.rows
    assert rows["openai"]["api_key"] == rows["vertex_ai"]["api_key"] == DUMMY
    assert rows["bedrock"]["secret_key"] == DUMMY
    assert rows["vertex_ai"]["auth"] == "bearer"
    outside = {"concurrent", "ca_file", "proxy", "service_account", "project", "location"}
    assert not outside.intersection(*(row.keys() for row in rows.values()))


def test_routes_are_kept(path: Path) -> None:
    chain = next(line for line in rehearse(path).lines if line.name == "chain")
    assert [part.provider for part in chain.parts] == ["openai", "engine-tiny", "bedrock"]
    assert chain.parts[0].words == {"weight": 3}
    assert [part.is_spare for part in chain.parts] == [False, False, True]
    assert chain.retries == 1
    assert chain.words["context_window"] == 1000
    routing = chain.words["routing"]
    assert (routing["policy"], routing["retry_share"]) == ("weighted", 1.0)
    assert routing["circuit"]["failures"] == 7


def test_deadlines_are_scaled_by_the_longest(path: Path) -> None:
    rehearsal = rehearse(path)
    assert rehearsal.scale == pytest.approx(1 / 40)
    chain = next(line for line in rehearsal.lines if line.name == "chain")
    assert (chain.deadlines.first_token_s, chain.deadlines.idle_s) == (1, 0.5)
    assert chain.deadlines.total_s == 2
    alone = rehearse(path, "quick")
    assert alone.scale == pytest.approx(1 / 20)
    assert alone.lines[0].deadlines.first_token_s == 0.4


def test_names_that_are_routed_alike_are_played_once(path: Path) -> None:
    lines = {line.name: line.alike for line in rehearse(path).lines}
    assert lines == {"chain": (), "one": ("two",), "quick": (), "local/tiny": ()}
    assert [line.name for line in rehearse(path, "two", "one").lines] == ["two", "one"]


def test_a_provider_alone_is_played_by_a_name_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "operator.toml"
    path.write_text('[providers.lab]\nwire = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n')
    line = rehearse(path).lines[0]
    assert (line.name, line.parts[0].provider) == ("lab/some-model", "lab")


def test_a_name_without_a_route_is_a_fault(path: Path) -> None:
    with pytest.raises(GatewayError, match="nothing-of-ours"):
        rehearse(path, "nothing-of-ours")


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("[server2]\n", "operator.toml:1: server2"),
        ('[models.x]\ntargets = [{ provider = "nobody", model = "m" }]\n', "operator.toml: models"),
    ],
)
def test_faults_are_told_as_the_operator_knows_the_file(path: Path, more: str, line: str) -> None:
    path.write_text(more + CONFIG)
    with pytest.raises(FileError) as caught:
        rehearse(path)
    assert line in caught.value.lines[0]


def test_every_scenario_has_names_of_its_own(path: Path) -> None:
    scenarios = list_scenarios(rehearse(path).lines, list(FAULTS))
    assert len({each.model for each in scenarios}) == len(scenarios)
    assert [each.number for each in scenarios] == list(range(len(scenarios)))
    upstream = [each.name_upstream(part) for each in scenarios for part in each.line.parts]
    assert len(set(upstream)) == len(upstream)
    assert all(each.door != "sgp" for each in scenarios if each.offers_tool)
    places = {each.fault.place for each in scenarios if each.fault}
    assert places == {"connect", "head", "before_content", "after_content", "end"}
    chain = [each for each in scenarios if each.line.name == "chain"]
    assert {each.aim for each in chain} == {"first", "all"}
    spared = [each for each in chain if each.has_spare]
    assert {each.fault.kind for each in spared if each.fault} == {"context_overflow"}
    assert all(each.aim == "first" for each in spared)
