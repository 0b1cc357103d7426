"""The README's own examples, run as they stand there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sdk.client import Line
from trunkline.catalog import read_catalog
from trunkline.cli import main
from trunkline.settings import read_settings

README = Path(__file__).parents[2] / "README.md"


def read_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.model
def test_the_python_example_prints_two_texts(demo: Line) -> None:
    (code,) = read_blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,  # the model says as much as it likes
        env=os.environ | {"SGP_API_KEY": demo.key},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, _, rest = done.stdout.partition("\n")
    assert first.strip()
    assert rest.strip()


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    (text,) = read_blocks("toml")
    path = tmp_path / "trunkline.toml"
    path.write_text(text)
    settings = read_settings(path, read_catalog(), {"OPENAI_API_KEY": "sk-1"})
    assert len(settings.models["gpt-oss-120b"].targets) == 2


def test_the_commands_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = read_blocks("toml")
    (tmp_path / "trunkline.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("TRUNKLINE_DATA_DIR", str(tmp_path / "data"))
    commands = [line for block in read_blocks("console") for line in block.splitlines()]
    ran = 0
    for command in commands:
        program, *words = shlex.split(command)
        if program.endswith("/trunkline") and words[0] != "serve":
            assert main(words) == 0, command
            ran += 1
    assert ran == 3
