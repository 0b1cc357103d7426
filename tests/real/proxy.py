"""LiteLLM's proxy as its users run it: in an environment of its own, before one OpenAI server.

It is installed once into the user's cache, from the exact versions and hashes of
requirements/litellm.txt, and is started without database, internet and telemetry.
"""

import hashlib
import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from trunkline.engines.file import lock_file

REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "litellm.txt"
INSTALL_S = 900
START_S = 180
STOP_S = 20


@dataclass(frozen=True)
class RealServer:
    """A server that others wrote, at the root ``url``, with its own name for the model."""

    url: str
    key: str
    model: str


def install_proxy(folder: Path) -> Path:
    """Make the environment in ``folder`` unless it is complete; returns its ``bin``."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    stamp = folder / "installed"
    with lock_file(folder):
        if not (stamp.is_file() and stamp.read_text() == wanted):
            run_or_fail(sys.executable, "-m", "venv", "--clear", str(folder))
            pip = ("-m", "pip", "--disable-pip-version-check", "--no-input", "-qq", "install")
            # Most modules are never imported: what is, is compiled at the first start.
            options = ("--no-compile", "--require-hashes", "--requirement", str(REQUIREMENTS))
            run_or_fail(str(folder / "bin" / "python"), *pip, *options)
            stamp.write_text(wanted)
    return folder / "bin"


def run_or_fail(*command: str) -> None:
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(
            f"LiteLLM could not be installed for the tests against it: {' '.join(command)}\n"
            f"It needs a package index the first time; is this machine offline?\n{done.stdout}",
            pytrace=False,
        )


@contextmanager
def run_proxy(bin_folder: Path, home: Path, behind: RealServer) -> Iterator[RealServer]:
    """Run the proxy in front of an OpenAI-compatible server until the block ends."""
    config = home / "config.yaml"
    config.write_text(json.dumps(write_config(behind)))  # JSON is YAML
    log = home / "litellm.log"
    master_key = f"sk-{secrets.token_urlsafe(16)}"
    environ = {
        "HOME": str(home),
        "PATH": "/usr/bin:/bin",
        "BEHIND_KEY": behind.key,
        "LITELLM_MASTER_KEY": master_key,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks GitHub at the start
    }
    port = find_free_port()
    place = ("--config", str(config), "--host", "127.0.0.1", "--port", str(port))
    command = (str(bin_folder / "litellm"), *place, "--telemetry", "False")
    with (
        log.open("wb") as out,
        subprocess.Popen(command, cwd=home, env=environ, stdout=out, stderr=out) as process,
    ):
        try:
            server = RealServer(f"http://127.0.0.1:{port}", master_key, "small")
            wait_alive(server, process, log)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def write_config(behind: RealServer) -> dict[str, object]:
    deployment = {
        "model": f"openai/{behind.model}",
        "api_base": f"{behind.url}/v1",
        "api_key": "os.environ/BEHIND_KEY",
    }
    return {
        "model_list": [{"model_name": "small", "litellm_params": deployment}],
        # Otherwise it serves Anthropic's route by way of OpenAI's Responses, and loses parameters.
        "litellm_settings": {"use_chat_completions_url_for_anthropic_messages": True},
        # A failure that a test provokes must not close the model for the tests after it.
        "router_settings": {"disable_cooldowns": True, "num_retries": 0},
    }


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_alive(server: RealServer, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_s = time.monotonic() + START_S
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        while True:
            assert process.poll() is None, log.read_text()
            try:
                if client.get("/health/liveliness").status_code == 200:
                    return
            except httpx.TransportError:
                pass  # not listening yet
            assert time.monotonic() < give_up_s, log.read_text()
            time.sleep(0.1)
