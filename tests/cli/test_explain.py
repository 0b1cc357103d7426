"""``trunkline explain`` on real configurations, and with a running gateway."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from api.crossing import cross
from api.faulty import FAULTS
from trunkline.cli import explain

Command = Callable[..., int]
Capture = pytest.CaptureFixture[str]

CONFIG = """
[providers.openai]
[providers.lab]
wire = "openai"
base_url = "http://127.0.0.1:9/v1"
[engines.smol]
model = "smollm2-135m-instruct"

[models.both]
targets = [
  { provider = "openai", model = "gpt-4o-mini", weight = 3 },
  { provider = "lab", model = "lab-1" },
  { provider = "lab", model = "long", on = ["context", "filter"] },
]
[models.both.routing]
policy = "weighted"
sticky = true
[models.both.routing.circuit]
failures = 7

[models.plain]
targets = [{ provider = "lab", model = "a" }, { provider = "lab", model = "b" }]
[models.quick]
targets = [{ provider = "lab", model = "a" }, { provider = "lab", model = "b" }]
routing = { policy = "latency", hedge_share = 0.025 }
[models.lone]
targets = [{ provider = "lab", model = "a" }]
routing = { hedge_share = 1 }

[routing]
retries = 1
[demo]
stand_in = "local/smol"
"""


@pytest.fixture
def command(tmp_path: Path) -> Command:
    path = tmp_path / "explained.toml"
    path.write_text(CONFIG, "utf-8")

    def run(*words: str, file: Path = path) -> int:
        parser = argparse.ArgumentParser()
        explain.add_arguments(parser)
        args = parser.parse_args([str(file), *words])
        args.cache_dir = tmp_path / "cache"
        return explain.run(args)

    return run


def test_it_says_where_calls_go_why_and_at_what_price(command: Command, capsys: Capture) -> None:
    assert command("both") == 0
    said = capsys.readouterr().out
    for words in (
        'both: [models."both"] of the file',
        "weighted: at random, by weight",
        "a conversation stays at its target",
        "at most 1 a call",
        "after 7 failures in a row, for 10 s",
        "first token 60 s",
        "1. openai/gpt-4o-mini: 75% of the calls",
        "input $0.15, output $0.6",
        "2. lab/lab-1: 25% of the calls",
        "price   unknown",
        "3. lab/long: only when the prompt does not fit",
    ):
        assert words in said, words
    assert "circuit " not in said.replace("circuits", "")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("plain", ["ordered", "1. lab/a: first", "2. lab/b: when those before it fail"]),
        ("quick", ["latency", "1. lab/a: when it is the faster one"]),
        ("lab/any/thing", ["[providers.lab] of the file, which is asked for 'any/thing'"]),
        ("local/smol", ["[engines.smol] of the file", "always"]),
        ("gpt-4o", ["the model catalog", "openai/gpt-4o: always"]),
        ("gpt-oss-120b", ["'local/smol' stands in"]),
    ],
)
def test_every_way_to_a_target_is_named(
    command: Command, capsys: Capture, model: str, words: list[str]
) -> None:
    assert command(model) == 0
    said = capsys.readouterr().out
    assert all(each in said for each in words), said


def test_json_has_the_same(command: Command, capsys: Capture) -> None:
    assert command("both", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["routing"]["policy"] == "weighted"
    assert said["routing"]["circuit"] == {"failures": 7, "open_s": 10, "open_max_s": 120}
    targets = said["targets"]
    assert [each["target"] for each in targets] == ["openai/gpt-4o-mini", "lab/lab-1", "lab/long"]
    assert [each["on"] for each in targets] == [[], [], ["context", "filter"]]
    assert targets[0]["price"]["rates"][0]["input"] == "0.15"
    assert targets[0]["standing"] is None


def test_hedging_is_told_where_it_is_on(command: Command, capsys: Capture) -> None:
    assert command("quick") == 0
    said = capsys.readouterr().out
    assert "takes longer than 95% of the newest did" in said
    assert "at most 2.5% of the calls" in said
    assert command("lone") == 0
    assert "there is no second target" in capsys.readouterr().out
    assert command("plain") == 0
    assert "hedging" not in capsys.readouterr().out


def test_what_is_wrong_is_told(command: Command, capsys: Capture, tmp_path: Path) -> None:
    assert command("unheard-of") == 1
    assert "not found" in capsys.readouterr().err
    bad = tmp_path / "bad.toml"
    bad.write_text("[routing]\npolicy = 'best'\n", "utf-8")
    assert command("both", file=bad) == 2
    assert "bad.toml:2: routing.policy" in capsys.readouterr().err
    for url in ("file:///", "http://127.0.0.1:1"):
        assert command("both", "--url", url) == 1
        assert "does not tell how its targets stand" in capsys.readouterr().err


def test_a_running_gateway_tells_of_its_circuits(
    command: Command, capsys: Capture, tmp_path: Path
) -> None:
    with httpx.Client() as client, cross(tmp_path, "direct", client) as at:
        at.one.fault = FAULTS["500"]
        for _ in range(6):
            assert at.ask().status_code == 200
        asked = ("both", "--url", at.gateway.url)
        file = tmp_path / "gateway.toml"
        text = file.read_text("utf-8").replace("env:LAB_KEY", "sk-x")
        file.write_text(text, "utf-8")
        assert command(*asked, "--key", at.gateway.headers["x-api-key"], file=file) == 0
        said = capsys.readouterr().out
        assert "circuit open; probed in " in said
        assert "5 upstream_error" in said
        assert "circuit closed; first content after " in said
        assert "6 complete" in said
        assert command(*asked, "--key", "nobody's", file=file) == 1
        assert "401" in capsys.readouterr().err
