import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from trunkline.catalog import read_catalog
from trunkline.cli import main
from trunkline.mock import FAULTS
from trunkline.settings import read_settings

ASKED = {"model": "m", "messages": [{"role": "user", "content": "echo hi"}]}


@contextmanager
def run_command(*words: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """The command as a process: itself, its address, and what it said first."""
    command = [sys.executable, "-m", "trunkline", "mock", "--port", "0", *words]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            said = ""
            while "llm-engine" not in said or not said.endswith("\n\n"):
                line = process.stdout.readline()
                assert line, said
                said += line
            found = re.search(r"http://127\.0\.0\.1:\d+", said)
            assert found is not None
            yield process, found[0], said
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_says_how_to_configure_it_and_stops(tmp_path: Path, number: int) -> None:
    with run_command("--log", "--seed", "3") as (process, url, said):
        answer = httpx.post(f"{url}/v1/chat/completions", json=ASKED).json()
        assert answer["choices"][0]["message"]["content"] == "hi"
        config = tmp_path / "gateway.toml"
        config.write_text(said)
        settings = read_settings(config, read_catalog(), {})
        assert {*tomllib.loads(said)["providers"]} <= {*settings.providers}
        process.send_signal(number)
        assert process.stdout is not None
        log = process.stdout.read()
        assert process.wait(10) == 0
    assert re.match(r" +1 openai chat whole m no fault 200 complete \d+\.\d ms\n", log)


def test_a_fault_for_a_share_of_requests() -> None:
    with run_command("--fault", "status_503:retry_after=4", "--share", "0.5") as (_, url, _said):
        answers = [httpx.post(f"{url}/v1/chat/completions", json=ASKED) for _ in range(20)]
    assert {answer.status_code for answer in answers} == {200, 503}
    assert {each.headers.get("retry-after") for each in answers} == {None, "4"}


def test_a_script_and_a_reset_under_the_fast_loop(tmp_path: Path) -> None:
    script = tmp_path / "script.toml"
    script.write_text('[[rules]]\nmodel = "m"\nfault = "reset:at=after_content"\n')
    with run_command("--script", str(script)) as (_, url, _said):
        with pytest.raises(httpx.ReadError):
            httpx.post(f"{url}/v1/chat/completions", json=ASKED)
        fine = httpx.post(f"{url}/v1/chat/completions", json=ASKED | {"model": "n"})
        assert fine.status_code == 200


def test_the_list_names_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mock", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [*FAULTS]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--fault", "nope"), "there is no fault 'nope'"),
        (("--share", "2"), "--share: expected a number from 0 to 1"),
        (("--port", "70000"), "--port: expected a number from 0 to 65535"),
        (("--fault", "html", "--script", "x.toml"), "exclude each other"),
        (("--script", "missing.toml"), "missing.toml: cannot be read"),
    ],
)
def test_wrong_usage_is_told_and_ends_with_2(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], why: str
) -> None:
    assert main(["mock", *words]) == 2
    assert why in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["mock", "--port", str(port)]) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
