"""A real gateway as a child process, with a data folder and a key of its own."""

import asyncio
import os
import re
import secrets
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from trunkline.store.posting import Posting
from trunkline.store.store import open_store

_START_S: Final = 60.0
_STOP_S: Final = 20.0
_LISTENS: Final = re.compile(rb"listens on http://127\.0\.0\.1:(\d+)")
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "SYSTEMROOT")
"""What a child takes over of the environment: no secret, and no proxy for its own loopback."""


class ChildError(Exception):
    """The gateway did not start, or did not stop as it should; the text says why."""


class ChildGateway:
    """``trunkline serve`` on a free port of this machine, until the block ends.

    Attributes:
        port: where it listens.
        key: of an admin.
        log: the file of what it says.

    Args:
        config: its configuration file; ``server.host`` must be this machine.
        folder: for its data and its log; must exist.
    """

    def __init__(self, config: Path, folder: Path) -> None:
        self.port = 0
        self.key = secrets.token_urlsafe(24)
        self.log = folder / "gateway.log"
        self._config = config
        self.data_dir = folder / "data"
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """Of its process; 0 before it is started."""
        return 0 if self._process is None else self._process.pid

    async def __aenter__(self) -> Self:
        environ = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environ |= {"TRUNKLINE_BOOTSTRAP_KEY": self.key, "HOME": str(self.data_dir)}
        words = ["serve", "--config", str(self._config), "--port", "0"]
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "trunkline", *words, "--data-dir", str(self.data_dir)),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=log,
                env=environ,
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(_START_S):
                self.port = await self._read_port(self._process)
                await self._knock()
        except TimeoutError:
            await self._end(self._process)
            raise ChildError(f"it did not start within {_START_S:.0f} s") from None
        except BaseException:
            await self._end(self._process)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.returncode is None:
            await self._end(self._process)

    async def stop(self) -> None:
        """Ask it to stop, and wait until all is written down.

        Raises:
            ChildError: it did not end by itself in time, or not with exit code 0.
        """
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_S):
                code = await process.wait()
        except TimeoutError:
            await self._end(process)
            raise ChildError(f"it did not stop within {_STOP_S:.0f} s") from None
        if code:
            raise ChildError(f"it ended with exit code {code}:\n{self.read_log()}")

    def read_log(self) -> str:
        """The end of what it said."""
        return self.log.read_text("utf-8", "replace")[-4000:]

    def find_entries(self, call_ids: list[str]) -> dict[str, Posting]:
        """The ledger's entries of these calls, as far as it knows them; after ``stop``."""
        store = open_store(self.data_dir / "trunkline.db")
        try:
            found = {call_id: store.ledger.find_entry(call_id) for call_id in call_ids}
        finally:
            store.close()
        return {call_id: posting for call_id, posting in found.items() if posting is not None}

    async def _read_port(self, process: Process) -> int:
        assert process.stdout is not None  # noqa: S101 - it was started with a pipe
        while line := await process.stdout.readline():
            if match := _LISTENS.search(line):
                return int(match[1])
        await process.wait()
        raise ChildError(f"it did not start:\n{self.read_log()}")

    async def _knock(self) -> None:
        """Wait for its first answer: before, it would not stop in order."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            if not (await reader.readline()).startswith(b"HTTP/1.1 200"):
                raise ChildError(f"it is not well:\n{self.read_log()}")
        finally:
            writer.transport.abort()

    async def _end(self, process: Process) -> None:
        """End it for good, with the processes that it started."""
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
