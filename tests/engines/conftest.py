"""Engines under test: a scripted child for the supervisor, and the real one."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.engines.process import Backoff, EngineProcess
from trunkline.engines.spec import EngineSpec

QUICK = Backoff(first_s=0.01, most_s=0.04)
SCRIPT = Path(__file__).with_name("scripted_child.py")

Start = Callable[..., EngineProcess]


def wait_until(holds: Callable[[], bool], what: str, timeout_s: float = 20) -> None:
    """Look again and again until something outside this process has come about."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """A process has ended; one that nobody has waited for yet counts."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def read_starts(engine: EngineProcess) -> list[dict[str, Any]]:
    """What every scripted child was given."""
    record = engine.spec.model_path.with_suffix(".starts")
    return [json.loads(line) for line in record.read_text().splitlines()]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start an engine with a scripted child; it is stopped after the test."""
    engines: list[EngineProcess] = []

    def build(script: str, backoff: Backoff = QUICK) -> EngineProcess:
        spec = EngineSpec("tiny", tmp_path / "tiny.gguf", script)
        command = (sys.executable, str(SCRIPT))
        engine = EngineProcess(spec, tmp_path / "tiny.log", command=command, backoff=backoff)
        engines.append(engine)
        engine.start()
        return engine

    yield build
    for engine in engines:
        engine.stop(0.2)


@pytest.fixture(scope="module")
def engine(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """The real engine on the default model, with one slot."""
    spec = EngineSpec("smol", model_path, "smol", context_tokens=4096, slots=1)
    process = EngineProcess(spec, tmp_path_factory.mktemp("engine") / "smol.log")
    process.start()
    process.wait_ready(60)
    yield process
    process.stop()
