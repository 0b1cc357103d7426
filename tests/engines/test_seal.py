"""The seal: no new socket, no program, in no thread; what was open goes on."""

import json
import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from trunkline.engines.seal import seal_process

CHILD = Path(__file__).with_name("sealed_child.py")


def test_a_sealed_process_takes_calls_and_does_nothing_else() -> None:
    with subprocess.Popen([sys.executable, CHILD], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        told = json.loads(child.stdout.readline())
        with socket.create_connection(("127.0.0.1", told.pop("port")), timeout=20) as caller:
            assert caller.recv(100) == b"served"
    assert child.returncode == 0
    shut = dict.fromkeys(("tcp", "udp", "unix", "program"), "PermissionError")
    assert set(told.pop("before").values()) == {"done"}
    assert told == {"thread": shut | {"file": "done"}, "after": shut | {"file": "done"}}


def test_an_unknown_processor_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "abacus")
    with pytest.raises(OSError, match="no seal is known for abacus"):
        seal_process()
