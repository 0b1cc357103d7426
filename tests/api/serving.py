"""Real gateways for tests: ``trunkline serve`` as a process of its own, with its output kept."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from trunkline.access.key import NewKey, create_key
from trunkline.store.account import AccountExistsError
from trunkline.store.store import open_store
from trunkline.terms import NO_TERMS, Terms

ACCOUNT = "team"
PEPPER = bytes(range(32)).hex()
"""The same for all gateways of a test, as those that share a database need it."""
START_S = 120.0
STOP_S = 60.0

CONFIG = """
[providers.lab]
wire = "openai"
base_url = "http://127.0.0.1:{port}/v1"
api_key = "env:LAB_KEY"

[[prices.list]]
provider = "lab"
model = "*"
input = "1"
output = "2"
"""
"""A token of input costs a micro-dollar, one of output two."""


@dataclass
class Served:
    """A running gateway; ``log`` holds all that it prints."""

    process: "subprocess.Popen[bytes]"
    data_dir: Path
    log: Path
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def list_journals(self) -> list[Path]:
        """The journals of its workers: each makes one when it starts."""
        folder = self.data_dir / "ledger"
        return [each for each in folder.glob("[!.]*") if each.is_dir()]

    def wait_ready(self, workers: int = 1) -> None:
        """Wait until all workers serve."""
        poll(lambda: self._is_ready(workers), START_S, self.log)

    def stop(self) -> None:
        """Stop as an operator does; what is under way ends."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(STOP_S) == 0, self.log.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(STOP_S)

    def _is_ready(self, workers: int) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        match = re.search(r"listens on http://127\.0\.0\.1:(\d+)", self.log.read_text())
        self.port = int(match[1]) if match else 0
        return match is not None and len(self.list_journals()) >= workers


@contextmanager
def serve(
    folder: Path, config: str, *words: str, environ: Mapping[str, str] = {}
) -> Iterator[Served]:
    """Start ``trunkline serve``; killed at the end if it still runs.

    Args:
        folder: of the configuration, the log and the data.
        config: the configuration's text.
        words: further words of the command line.
        environ: further variables.
    """
    folder.mkdir(exist_ok=True)
    path, log, data_dir = folder / "trunkline.toml", folder / "serve.log", folder / "data"
    path.write_text(config)
    command = [sys.executable, "-m", "trunkline", "serve", "--config", str(path), "--port", "0"]
    command += ["--data-dir", str(data_dir), *words]
    own = {"LAB_KEY": "sk-upstream-canary", "TRUNKLINE_PEPPER": PEPPER, **environ}
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | own) as process,
    ):
        try:
            yield Served(process, data_dir, log)
        finally:
            if process.poll() is None:
                process.kill()


def make_key(where: Path | str, terms: Terms = NO_TERMS) -> tuple[str, str]:
    """A key of these terms in a store, and its id; the account is made if it is not there."""
    with closing(open_store(where)) as store:
        with suppress(AccountExistsError):
            store.accounts.create(ACCOUNT, "", 1)
        new = NewKey(account_id=ACCOUNT, terms=terms)
        text, key = create_key(store, bytes.fromhex(PEPPER), new, time.time_ns() // 1000)
    return text, key.id


def poll(is_true: Callable[[], bool], within_s: float, log: Path) -> None:
    """Wait until something holds; after too long, fail with what the gateway printed."""
    give_up_s = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < give_up_s, log.read_text()
        time.sleep(0.02)
