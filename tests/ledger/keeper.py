"""The gateway as a process of its own: started, killed and stopped again and again."""

import asyncio
import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from trunkline.ledger.segment import LOCK

LEDGER = "ledger"


class Keeper:
    """One gateway on one data folder and port.

    Args:
        config: the file.
        data_dir: the folder.
        environ: what the process gets besides the test's own environment.
    """

    def __init__(self, config: Path, data_dir: Path, environ: dict[str, str]) -> None:
        self.log = data_dir.with_name(f"{data_dir.name}.log")
        self.port = find_port()
        self._data_dir = data_dir
        self._environ = os.environ | environ
        self._command = [
            *(sys.executable, "-m", "trunkline", "serve", "--config", str(config)),
            *("--port", str(self.port), "--data-dir", str(data_dir)),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, in a group of its own, so that its workers die with it."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command, stdout=out, stderr=out, env=self._environ, start_new_session=True
            )

    async def wait_ready(self) -> None:
        """Wait until it answers."""
        async with asyncio.timeout(60):
            while not await self._is_alive():
                self.check()
                await asyncio.sleep(0.05)

    async def kill(self) -> float:
        """Kill it and all its workers; returns when that was, on the monotonic clock."""
        process = self._process
        assert process is not None
        self.check()
        at_s = time.monotonic()
        os.killpg(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait, 60)
        async with asyncio.timeout(60):
            # Its workers are no children of ours.
            while any(map(_is_locked, self.list_journals())):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)
        return at_s

    async def kill_worker(self) -> float:
        """Kill one of its workers, once there is one; returns when that was."""
        assert self._process is not None
        async with asyncio.timeout(60):
            while not (workers := _list_workers(self._process.pid)):
                self.check()
                await asyncio.sleep(0.05)
        at_s = time.monotonic()
        os.kill(workers[0], signal.SIGKILL)
        return at_s

    async def stop(self) -> None:
        """Stop it as an operator does; it must end well."""
        process = self._process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(process.wait, 60)
        assert code == 0, f"ended with {code} after SIGTERM:\n{self.read_log()}"

    def end(self) -> None:
        """Kill what is still there."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(60)

    def read_log(self) -> str:
        """What it has said, but for single calls that upstreams failed."""
        lines = self.log.read_text().splitlines(keepends=True)
        return "".join(line for line in lines if "call req_" not in line)

    def list_journals(self) -> list[Path]:
        """The folders of the journals, of workers dead and alive."""
        folder = self._data_dir / LEDGER
        return [each for each in folder.glob("*") if not each.name.startswith(".")]

    async def wait_swept(self, workers: int) -> None:
        """Wait until the journals of dead workers are shipped and gone."""
        async with asyncio.timeout(60):
            while len(self.list_journals()) > workers:
                self.check()
                await asyncio.sleep(0.05)

    async def _is_alive(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
        except OSError:
            return False
        return b" 200 " in answer

    def check(self) -> None:
        """Make sure that it has not ended by itself."""
        assert self._process is not None
        code = self._process.poll()
        assert code is None, f"ended by itself with {code}:\n{self.read_log()}"


def find_port() -> int:
    """A free port that the kernel gives to nobody by itself.

    A client that asks for one of the kernel's own ports, while nothing listens there, can be
    given that very port and so be connected with itself.
    """
    for port in random.Random().sample(range(20_000, 32_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port is free")


def _is_locked(journal: Path) -> bool:
    try:
        with (journal / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def _list_workers(pid: int) -> list[int]:
    """The worker processes of a supervisor."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    lines = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    return [child for child, line in lines.items() if b"spawn_main" in line]
