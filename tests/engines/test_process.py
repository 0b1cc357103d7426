"""The supervisor with a scripted child: every way an engine can come up, die and end."""

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from engines.conftest import QUICK, SCRIPT, Start, is_gone, read_starts, wait_until
from trunkline.engines.process import Backoff, EngineProcess, filter_environment
from trunkline.engines.spec import EngineError, EngineSpec


def test_it_starts_and_stops(start: Start) -> None:
    engine = start("steady")
    engine.wait_ready(20)
    states, pid = [engine.state], engine.pid
    assert pid is not None
    engine.stop()
    assert [*states, engine.state] == ["ready", "stopped"]
    assert is_gone(pid)
    assert engine.last_error == ""


def test_a_crash_restarts_it_on_the_same_port_with_the_same_key(start: Start) -> None:
    engine = start("fragile")
    wait_until(lambda: engine.starts == 4 and engine.state == "ready", "three restarts")
    assert "SIGSEGV" in engine.last_error
    starts = read_starts(engine)
    assert len({(each["port"], each["key"]) for each in starts}) == 1
    assert engine.address == f"http://127.0.0.1:{starts[0]['port']}"


def test_a_model_that_cannot_be_loaded_is_given_up_with_its_file_and_log(start: Start) -> None:
    engine = start("broken")
    with pytest.raises(EngineError) as failure:
        engine.wait_ready(20)
    assert (engine.state, engine.starts) == ("failed", 3)
    message = str(failure.value)
    assert str(engine.spec.model_path) in message
    assert str(engine.log_path) in message
    assert "exit code 1" in message
    assert message.count("cannot load") == 1


def test_two_failed_starts_are_not_the_end(start: Start) -> None:
    engine = start("late")
    wait_until(lambda: engine.state == "ready", "the third start")
    assert engine.starts == 3


def test_a_fault_that_no_restart_mends_ends_it_at_once(start: Start) -> None:
    engine = start("hopeless")
    with pytest.raises(EngineError, match="no engine here"):
        engine.wait_ready(20)
    assert (engine.state, engine.starts) == ("failed", 1)


def test_waiting_ends_in_time(start: Start) -> None:
    engine = start("silent")
    with pytest.raises(EngineError, match=r"starting after 0\.05 s"):
        engine.wait_ready(0.05)


def test_stop_ends_a_wait_between_two_starts(start: Start) -> None:
    engine = start("fragile", Backoff(first_s=600, most_s=600))
    wait_until(lambda: engine.state == "backoff", "the crash")
    engine.stop()
    assert engine.state == "stopped"
    assert engine.starts == 1


def test_stop_kills_a_child_that_does_not_listen(start: Start) -> None:
    engine = start("stubborn")
    engine.wait_ready(20)
    pid = engine.pid
    assert pid is not None
    engine.stop(0.05)
    assert is_gone(pid)
    assert engine.state == "stopped"


def test_it_starts_only_once(start: Start) -> None:
    engine = start("steady")
    with pytest.raises(EngineError, match="started before"):
        engine.start()


def test_a_child_that_cannot_be_run_fails(tmp_path: Path) -> None:
    spec = EngineSpec("tiny", tmp_path / "tiny.gguf", "steady")
    command = (str(tmp_path / "absent"),)
    engine = EngineProcess(spec, tmp_path / "tiny.log", command=command, backoff=QUICK)
    engine.start()
    with pytest.raises(EngineError, match="cannot be run"):
        engine.wait_ready(20)
    engine.stop()


def test_a_log_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    spec = EngineSpec("tiny", tmp_path / "tiny.gguf", "steady")
    (tmp_path / "file").touch()
    engine = EngineProcess(spec, tmp_path / "file" / "tiny.log")
    with pytest.raises(EngineError, match="log cannot be written"):
        engine.start()
    engine.stop()


def test_the_key_is_neither_in_the_arguments_nor_in_the_environment(start: Start) -> None:
    engine = start("steady")
    engine.wait_ready(20)
    given = read_starts(engine)[0]
    assert given["key"] == engine.key
    assert len(engine.key) >= 43
    assert engine.key not in str(given["argv"]) + str(given["env"])


def test_the_child_sees_no_secret_of_the_environment() -> None:
    seen = filter_environment({"PATH": "/bin", "LC_ALL": "C", "OPENAI_API_KEY": "sk-1"})
    assert seen == {"PATH": "/bin", "LC_ALL": "C", "GGML_NO_BACKTRACE": "1"}


def test_nobody_else_gets_the_port_while_the_engine_is_down(start: Start) -> None:
    engine = start("broken")
    with pytest.raises(EngineError):
        engine.wait_ready(20)
    port = int(engine.address.rpartition(":")[2])
    with socket.socket() as other, pytest.raises(OSError) as refusal:  # noqa: PT011 - errno below
        other.bind(("127.0.0.1", port))
    assert refusal.value.errno == errno.EADDRINUSE


PARENT = """
import sys
from pathlib import Path
from trunkline.engines.process import EngineProcess
from trunkline.engines.spec import EngineSpec

folder = Path(sys.argv[1])
engine = EngineProcess(
    EngineSpec("tiny", folder / "tiny.gguf", "steady"),
    folder / "tiny.log",
    command=(sys.executable, sys.argv[2]),
)
engine.start()
engine.wait_ready(20)
print(engine.pid, flush=True)
sys.stdin.read()
"""


def test_a_killed_gateway_leaves_no_orphan(tmp_path: Path) -> None:
    words = [sys.executable, "-c", PARENT, str(tmp_path), str(SCRIPT)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not is_gone(child)
        os.kill(parent.pid, signal.SIGKILL)
        wait_until(lambda: is_gone(child), "the end of the child")
