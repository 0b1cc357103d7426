"""A real `trunkline serve` process in front of a scripted upstream, one for all fuzz tests."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz.served import Served
from gateway import CONFIG, KEY, PIECES, run_upstream, write_answer, write_frames
from scripted import Peer


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("served")
    with run_upstream(_play_model) as upstream, (folder / "log").open("w") as log:
        config = folder / "gateway.toml"
        config.write_text(CONFIG.format(port=upstream.port, more=""))
        command = [sys.executable, "-m", "trunkline", "serve", "--config", str(config)]
        environment = {
            **os.environ,
            "LAB_KEY": "sk-upstream-canary",
            "TRUNKLINE_BOOTSTRAP_KEY": KEY,
            "TRUNKLINE_DATA_DIR": str(folder / "data"),
        }
        process = subprocess.Popen(
            [*command, "--port", "0"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        with process:
            try:
                yield Served(_read_port(process), process)
            finally:
                process.terminate()
                assert process.wait(30) == 0
    assert "Traceback" not in (folder / "log").read_text()


def _read_port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "listens on" in line, line
    return int(line.rsplit(":", 1)[1])


async def _play_model(peer: Peer) -> None:
    """Answers as a model's server would; what it cannot read, it refuses with 400."""
    while True:
        request = await peer.request()
        try:
            asked = json.loads(request.body)
        except (ValueError, RecursionError):
            await peer.answer(b'{"error": {"message": "unreadable"}}', 400)
            continue
        if asked.get("stream"):
            await peer.begin_sse()
            await peer.frames(write_frames(request, asked, PIECES))
            await peer.end_chunked()
        else:
            await peer.answer(json.dumps(write_answer(request, asked, PIECES)).encode())
