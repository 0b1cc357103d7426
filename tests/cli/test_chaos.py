"""``trunkline chaos``: a configuration's answers are judged, and the exit code says how it went."""

import json
from pathlib import Path

import pytest

from trunkline.cli import main

CONFIG = """
[providers.openai]
api_key = "env:NOBODY_SETS_THIS"

[providers.anthropic]
api_key = "file:/nowhere"

[models.chain]
targets = [
  { provider = "openai", model = "gpt-4o" },
  { provider = "anthropic", model = "claude-sonnet-4-5" },
]

[models.alone]
targets = [{ provider = "anthropic", model = "claude-sonnet-4-5" }]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "operator.toml"
    path.write_text(CONFIG)
    return path


def test_a_sound_configuration_passes(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = path.with_suffix(".log")
    words = ["--faults", "cut,status_500,length_finish", "--keep-log", str(log)]
    assert main(["chaos", str(path), *words]) == 0
    said = capfd.readouterr().out
    assert said.startswith("# 49 scenarios; 2 providers are mocks on this machine\n")
    assert "scaled by 0.0167" in said
    assert "complete        chain: status_500@head, whole, first" in said
    assert "failed honestly chain: status_500@head, whole, all" in said
    assert "200 length" in said
    assert "complete        chain: status_500@12 calls, whole, first, by openai: 12 x 200" in said
    assert "alone: status_500@12 calls, whole, all, by openai: 2 x 502 upstream_error, 10 x" in said
    assert "49 scenarios: 23 complete, 26 failed honestly, 0 wrong" in said
    assert "failed with status 500" in log.read_text()


def test_json_has_every_scenario(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["--model", "alone", "--faults", "reset", "--json"]
    assert main(["chaos", str(path), *words]) == 0
    told = json.loads(capfd.readouterr().out)
    assert sum(told["counts"].values()) == len(told["scenarios"]) == 12
    assert {row["fault"] for row in told["scenarios"]} == {None, "reset"}
    assert {row["model"] for row in told["scenarios"]} == {"alone"}
    assert all(row["wrong"] == [] for row in told["scenarios"])


def test_a_document_gets_a_table(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["--model", "chain", "--faults", "html", "--markdown"]
    assert main(["chaos", str(path), *words]) == 0
    said = capfd.readouterr().out
    assert "\n| `html` | before content | complete | complete | failed, 502" in said
    assert "scenarios:" in said


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--faults", "cut,boredom"], "there is no fault 'boredom'"),
        (["--model", "nobody-has-this"], "nobody-has-this"),
    ],
)
def test_wrong_words_are_told(
    path: Path, words: list[str], fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["chaos", str(path), *words]) == 2
    assert fault in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[providers.x]\nwire = 'openai'\n", "providers.x.base_url: is required"),
        ("[server]\nports = 1\n", "server.ports: unknown key, did you mean 'port'?"),
        ("", "there is no provider, engine or model to play"),
    ],
)
def test_faults_of_a_configuration_are_told(
    path: Path, text: str, fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path.write_text(text)
    assert main(["chaos", str(path)]) == 2
    assert fault in capfd.readouterr().err
