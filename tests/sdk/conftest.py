"""Gateways for the official clients: the demo on its own port, and one behind either door."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway import ACCOUNT, DOORS, KEY, Door, RunningGateway, run_gateway, run_upstream, talking
from scripted import ScriptedServer
from sdk.client import Line
from trunkline.access.bootstrap import BOOTSTRAP_ACCOUNT
from trunkline.cli import find_dir, main

DEMO_PORT = 5003
"""Where the SDKs' ``development`` and ``local`` environments point: it cannot be another."""
DEMO_KEY = "sk-demo"
FOREIGN_VARIABLES = ("SGP_", "EGP_", "OPENAI_")
V5_ACCOUNT = "My Account ID"
"""The account under which the tests in the v5 SDK's own distribution call."""


@pytest.fixture(autouse=True)
def clear_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person's own settings of the clients must not decide where a test calls."""
    for name in os.environ:
        if name.startswith(FOREIGN_VARIABLES):
            monkeypatch.delenv(name)


def make_line(gateway: RunningGateway) -> Line:
    return Line(gateway.url, KEY, ACCOUNT)


@pytest.fixture(params=DOORS, scope="module")
def door(request: pytest.FixtureRequest) -> Door:
    value: Door = request.param
    return value


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedServer]:
    with run_upstream(talking()) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, upstream: ScriptedServer, door: Door
) -> Iterator[RunningGateway]:
    """A gateway before an upstream that says hello to everything."""
    with run_gateway(tmp_path_factory.mktemp("gateway"), upstream.port, door=door) as running:
        assert main(["accounts", "create", V5_ACCOUNT, "--data-dir", str(running.data_dir)]) == 0
        yield running


@pytest.fixture(scope="module")
def line(gateway: RunningGateway) -> Line:
    return make_line(gateway)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, model_path: Path) -> Iterator[Line]:
    """``trunkline serve`` as a person starts it who has configured nothing."""
    refuse_taken_port()
    home = tmp_path_factory.mktemp("demo")
    log = home / "serve.log"
    environ = os.environ | {
        "TRUNKLINE_CACHE_DIR": str(find_dir(os.environ, "CACHE", ".cache")),
        "TRUNKLINE_DATA_DIR": str(home / "data"),
        "TRUNKLINE_BOOTSTRAP_KEY": DEMO_KEY,
    }
    command = (sys.executable, "-m", "trunkline", "serve")
    with (
        log.open("wb") as out,
        subprocess.Popen(command, cwd=home, env=environ, stdout=out, stderr=out) as server,
    ):
        try:
            wait_ready(server, log)
            yield Line(f"http://127.0.0.1:{DEMO_PORT}", DEMO_KEY, BOOTSTRAP_ACCOUNT, local=True)
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait(60)
    assert code == 0, log.read_text()


def refuse_taken_port() -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", DEMO_PORT))
        except OSError:
            pytest.fail(
                f"Port {DEMO_PORT} is taken, and the SDKs' local environments know no other: "
                "stop what listens there (trunkline serve?) and run the tests again.",
                pytrace=False,
            )


def wait_ready(server: subprocess.Popen[bytes], log: Path) -> None:
    give_up_s = time.monotonic() + 120
    while True:
        assert server.poll() is None, log.read_text()
        try:
            if httpx.get(f"http://127.0.0.1:{DEMO_PORT}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass  # not listening yet
        assert time.monotonic() < give_up_s, log.read_text()
        time.sleep(0.05)
