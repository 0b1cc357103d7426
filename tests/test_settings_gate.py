"""How many calls a provider or engine gets at once, as a configuration file says it."""

from pathlib import Path

import pytest

from trunkline.catalog import read_catalog
from trunkline.providers.gate import GateRule
from trunkline.settings import Settings, read_settings
from trunkline.toml import FileError


def read(folder: Path, text: str) -> Settings:
    path = folder / "gateway.toml"
    path.write_text(text, "utf-8")
    return read_settings(path, read_catalog(), {})


def test_who_waits_for_a_turn(tmp_path: Path) -> None:
    text = """
[providers.openai]
concurrent = 32
[providers.anthropic]
concurrent = 2
queue = 0
queue_s = 5
[providers.gemini]
[engines.small]
model = "m"
slots = 2
[engines.large]
model = "m"
queue = 9
queue_s = 7
"""
    settings = read(tmp_path, text)
    assert {name: row.build_gate_rule() for name, row in settings.providers.items()} == {
        "openai": GateRule(32, 128, 30),
        "anthropic": GateRule(2, 0, 5),
        "gemini": None,
    }
    assert settings.engines["small"].build_gate_rule() == GateRule(2, 8, 30)
    assert settings.engines["large"].build_gate_rule() == GateRule(4, 9, 7)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("queue = 5", "queue: says nothing without concurrent: then no call has to wait"),
        ("queue_s = 5", "queue_s: says nothing without concurrent: then no call has to wait"),
        ("concurrent = 0", "concurrent: Expected `int` >= 1"),
        ("queue = -1", "queue: Expected `int` >= 0"),
        ("queue_s = 0", "queue_s: Expected `float` > 0.0"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path: Path, line: str, fault: str) -> None:
    with pytest.raises(FileError) as caught:
        read(tmp_path, f"[providers.openai]\n{line}")
    assert str(caught.value).partition(":")[2].startswith(f"2: providers.openai.{fault}")
