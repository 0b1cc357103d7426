"""A laboratory of mock upstreams and a real gateway in front of it, each a process."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.process import BenchError

from trunkline.chaos.gateway import ChildGateway

SETTINGS = """
[server]
host = "127.0.0.1"
metrics_open = true
drain_s = 5

[deadlines]
connect_s = 1
first_token_s = {wait_s}
idle_s = {wait_s}
total_s = 10

[routing.circuit]
failures = {failures}

[providers.first]
wire = "openai"
base_url = "http://127.0.0.1:{first}/v1"

[providers.second]
wire = "openai"
base_url = "http://127.0.0.1:{second}/v1"

[models.model]
targets = [{{ provider = "first", model = "m" }}, {{ provider = "second", model = "m" }}]

[models.calm]
targets = [{{ provider = "second", model = "m" }}, {{ provider = "first", model = "m" }}]

[models.alone]
targets = [{{ provider = "first", model = "a" }}]

[models.long]
targets = [{{ provider = "second", model = "long" }}]
"""


@dataclass(frozen=True)
class Laboratory:
    """A gateway, and the process of the mocks behind it."""

    gateway: ChildGateway
    mocks: int

    def heal(self) -> None:
        """Let the failing upstream be well from now on."""
        os.kill(self.mocks, signal.SIGUSR1)


@asynccontextmanager
async def run_laboratory(
    words: Sequence[str], *, wait_s: float, failures: int = 5
) -> AsyncIterator[Laboratory]:
    """Start the mocks with these words on their command line, then the gateway.

    ``wait_s`` is the deadline of the first token and between tokens; ``failures`` in a row open
    a circuit.
    """
    lab = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.lab", *words, stdout=PIPE, start_new_session=True
    )
    try:
        assert lab.stdout is not None
        line = await lab.stdout.readline()
        if not line:
            raise BenchError("the mocks did not start")
        with tempfile.TemporaryDirectory(prefix="trunkline-lab-") as folder:
            config = Path(folder) / "lab.toml"
            config.write_text(SETTINGS.format(**json.loads(line), wait_s=wait_s, failures=failures))
            async with ChildGateway(config, Path(folder)) as gateway:
                yield Laboratory(gateway, lab.pid)
                await gateway.stop()
    finally:
        lab.terminate()
        await lab.wait()
