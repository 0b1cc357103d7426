"""The command ``trunkline serve`` as a real process: start, signals, workers, exit codes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from gateway import CONFIG, KEY, run_upstream, talking
from scripted import Peer, Script

TRUNKLINE = (sys.executable, "-m", "trunkline")
HEADERS = {"x-api-key": KEY}
NATIVE = {"model": "model", "prompt": "hi"}


def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TRUNKLINE, *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"LAB_KEY": "sk-upstream-canary"} | environ,
        check=False,
    )


def write_config(tmp_path: Path, port: int, more: str = "") -> Path:
    path = tmp_path / "trunkline.toml"
    path.write_text(CONFIG.format(port=port, more=more))
    return path


@contextmanager
def serving(
    tmp_path: Path, config: Path | None, *words: str, key: str | None = KEY
) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """The process, its address, and what it printed up to the address."""
    environ = os.environ | {"LAB_KEY": "sk-upstream-canary"}
    environ.pop("TRUNKLINE_BOOTSTRAP_KEY", None)
    if key is not None:
        environ["TRUNKLINE_BOOTSTRAP_KEY"] = key
    choice = ["--config", str(config)] if config else []
    command = [*TRUNKLINE, "serve", *choice, "--port", "0", "--data-dir", str(tmp_path / "data")]
    with subprocess.Popen(
        [*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
    ) as process:
        try:
            assert process.stdout is not None
            printed = ""
            while not (match := re.search(r"(?:is listening|listens) on (http\S+)", printed)):
                line = process.stdout.readline()
                assert line, process.stderr.read() if process.stderr else ""
                printed += line
            yield process, match[1], printed
        finally:
            if process.poll() is None:
                process.kill()
            assert process.stdout is not None
            process.stdout.close()
            assert process.stderr is not None
            process.stderr.close()


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> int:
    process.send_signal(number)
    return process.wait(30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_stop_exits_with_0(tmp_path: Path, number: int) -> None:
    with (
        run_upstream(talking()) as upstream,
        serving(tmp_path, write_config(tmp_path, upstream.port)) as (process, url, _),
    ):
        assert httpx.post(f"{url}/v4/completions", json=NATIVE, headers=HEADERS).status_code == 200
        assert stop(process, number) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/livez")


def slowly(release: threading.Event) -> Script:
    """Streams one piece, and the rest when the test says so."""

    async def script(peer: Peer) -> None:
        import asyncio

        await peer.request()
        await peer.begin_sse()
        start = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        for text in ("one", "two"):
            choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
            await peer.frames([json.dumps(start | {"choices": [choice]})])
            await asyncio.to_thread(release.wait, 30)
        choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
        await peer.frames([json.dumps(start | {"choices": [choice]})])
        await peer.end_chunked()

    return script


def test_sigterm_drains_running_streams(tmp_path: Path) -> None:
    release = threading.Event()
    with (
        run_upstream(slowly(release)) as upstream,
        serving(tmp_path, write_config(tmp_path, upstream.port)) as (process, url, _),
        httpx.stream(
            "POST", f"{url}/v4/completions", json=NATIVE | {"stream": True}, headers=HEADERS
        ) as response,
    ):
        pieces = response.iter_text()
        received = next(pieces)
        assert "one" in received
        process.send_signal(signal.SIGTERM)
        wait_until_refused(url)
        release.set()
        received += "".join(pieces)
        assert "two" in received
        assert '"finish_reason":"stop"' in received
        assert process.wait(30) == 0


def test_the_drain_ends_with_an_open_failure(tmp_path: Path) -> None:
    release = threading.Event()
    config = write_config(tmp_path, 9, "[server]\ndrain_s = 1")
    with run_upstream(slowly(release)) as upstream:
        config.write_text(config.read_text().replace("127.0.0.1:9/", f"127.0.0.1:{upstream.port}/"))
        received = ""
        with (
            serving(tmp_path, config) as (process, url, _),
            pytest.raises(httpx.RemoteProtocolError),
            httpx.stream(
                "POST", f"{url}/v4/completions", json=NATIVE | {"stream": True}, headers=HEADERS
            ) as response,
        ):
            for piece in response.iter_text():
                if not received:
                    process.send_signal(signal.SIGTERM)
                received += piece
        assert "event: error" in received
        assert "overloaded" in received
        release.set()


def wait_until_refused(url: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    give_up_s = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except ConnectionError:
            return
        assert time.monotonic() < give_up_s


def test_workers_share_one_port(tmp_path: Path) -> None:
    with (
        run_upstream(talking()) as upstream,
        serving(tmp_path, write_config(tmp_path, upstream.port), "--workers", "3") as started,
    ):
        process, url, _ = started
        with httpx.Client(headers=HEADERS | {"connection": "close"}, timeout=60) as client:
            for _ in range(30):
                assert client.post(f"{url}/v4/completions", json=NATIVE).status_code == 200
        assert stop(process) == 0


def test_a_bad_configuration_names_every_fault_and_exits_with_2(tmp_path: Path) -> None:
    config = tmp_path / "bad.toml"
    config.write_text(
        '[server]\nprot = 1\nworkers = 0\n[providers.lab]\nwire = "openai"\n'
        'api_key = "env:NOT_SET_ANYWHERE"\n[models.x]\ntargets = []\n'
    )
    for command in (("serve", "--config", str(config)), ("check", str(config))):
        done = run(*command, "--data-dir", str(tmp_path / "data"))
        assert done.returncode == 2
        assert done.stderr.splitlines() == [
            f"{config}:2: server.prot: unknown key, did you mean 'port'?",
            f"{config}:3: server.workers: Expected `int` >= 1",
        ]
    config.write_text(config.read_text().replace("prot", "port").replace("workers = 0", ""))
    done = run("check", str(config))
    assert done.returncode == 2
    unset = "expected the environment variable NOT_SET_ANYWHERE to be set"
    assert done.stderr.splitlines() == [
        f"{config}:4: providers.lab.base_url: is required: this row has none of its own",
        f"{config}:6: providers.lab.api_key: {unset}",
        f"{config}:8: models.x.targets: expected at least one target",
    ]


def test_check_says_what_a_good_file_configures(tmp_path: Path) -> None:
    done = run("check", str(write_config(tmp_path, 9)))
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 providers, 0 engines, 3 models" in done.stdout


def test_a_public_address_needs_a_key(tmp_path: Path) -> None:
    config = write_config(tmp_path, 9)
    words = ("serve", "--config", str(config), "--port", "0", "--data-dir", str(tmp_path / "data"))
    done = run(*words, "--host", "0.0.0.0", TRUNKLINE_BOOTSTRAP_KEY="")
    assert done.returncode == 2
    assert "no key exists" in done.stderr


def test_a_taken_port_is_a_clear_failure(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        config = str(write_config(tmp_path, 9))
        done = run("serve", "--config", config, "--port", port, "--data-dir", str(tmp_path / "d"))
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_line_explains_itself() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in ("serve", "check", "accounts", "keys", "models"):
        assert command in done.stdout
        assert run(command, "--help").returncode == 0
    assert run("--version").stdout.startswith("trunkline 0.")
    assert run("nonsense").returncode == 2


@pytest.mark.model
def test_the_demo_answers_the_seed_example(tmp_path: Path, model_path: Path) -> None:
    with serving(tmp_path, None, "--workers", "2", key=None) as (process, url, _):
        assert process.stdout is not None
        shown = ""
        while "API key" not in shown:
            shown = process.stdout.readline()
        match = re.search(r"shown once\): (tl-\S+)", shown)
        assert match
        seed = {
            "model": "gpt-oss-120b",
            "prompt": "prompt",
            "model_parameters": {"max_tokens": 8},
        }
        answer = httpx.post(
            f"{url}/v4/completions", json=seed, headers={"x-api-key": match[1]}, timeout=60
        )
        assert answer.status_code == 200
        assert answer.headers["x-trunkline-changes"] == "stand_in"
        completion = answer.json()["completion"]
        assert completion["text"]
        metadata = completion["response_metadata"]
        assert metadata["model"] == "smollm2-135m-instruct"
        assert (metadata["provider"], metadata["stand_in"]) == ("local", True)
        assert httpx.get(f"{url}/readyz", timeout=30).status_code == 200
        assert stop(process) == 0
