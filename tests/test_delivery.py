"""The ledger knows of a whole answer before its client can."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import CONFIG, KEY, talking
from scripted import ScriptedServer
from trunkline.access.bootstrap import ensure_bootstrap
from trunkline.app import Blueprint, Gateway, build_gateway
from trunkline.bookkeeping import FOLDER
from trunkline.catalog import read_catalog
from trunkline.ledger.recovery import list_journals, read_records
from trunkline.settings import read_settings
from trunkline.store.store import open_store
from trunkline.wishes import read_wishes

PEPPER = bytes(32)
SINGLE = """
[providers.single]
wire = "openai"
base_url = "http://127.0.0.1:{port}/v1"
rewrites = ["n_fan_out"]
"""


class Watch:
    """An exchange that looks at the ledger in the moment in which the last bytes would leave."""

    method = "POST"
    paused = False
    started = False
    gone = False
    idle_s = 60.0

    def __init__(self, body: dict[str, Any], look: Callable[[], list[str]]) -> None:
        self.headers: Mapping[bytes, bytes] = {b"x-api-key": KEY.encode()}
        self.wishes = read_wishes(self.headers)
        self.found: list[str] | None = None
        self.written = b""
        self._body = json.dumps(body).encode()
        self._look = look

    def take_body(self, limit_bytes: int) -> bytes:
        return self._body

    async def read_body(self, limit_bytes: int) -> bytes:
        return self._body

    def answer(self, status: int, head: bytes, body: bytes) -> None:
        assert status == 200
        self.end(body)

    def start(self, status: int, head: bytes) -> None:
        self.started = True

    def write_chunk(self, chunk: bytes) -> bool:
        return self.write(chunk)

    def write(self, data: bytes) -> bool:
        assert self._look() == []
        self.written += data
        return False

    async def drain(self) -> None:
        raise AssertionError("this client is never slow")

    def end(self, last: bytes = b"") -> None:
        assert self.found is None
        self.found = self._look()
        self.written += last

    def cut(self) -> None:
        raise AssertionError("the answer was not whole")


@asynccontextmanager
async def open_gateway(folder: Path) -> AsyncIterator[Gateway]:
    """A gateway without a server around it, before an upstream that says hello."""
    async with ScriptedServer(talking()) as upstream:
        config = folder / "trunkline.toml"
        more = SINGLE.format(port=upstream.port)
        config.write_text(CONFIG.format(port=upstream.port, more=more))
        catalog = read_catalog()
        settings = read_settings(config, catalog, {"LAB_KEY": "sk"})
        store = open_store(folder / "trunkline.db")
        ensure_bootstrap(store, PEPPER, KEY, time.time_ns() // 1000)
        store.close()
        place = folder / "trunkline.db"
        gateway = build_gateway(Blueprint(settings, catalog, (), folder, place, PEPPER))
        orders: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        said: asyncio.Queue[Any] = asyncio.Queue()
        life = asyncio.create_task(gateway({"type": "lifespan"}, orders.get, said.put))
        orders.put_nowait({"type": "lifespan.startup"})
        assert (await said.get())["type"] == "lifespan.startup.complete"
        try:
            yield gateway
        finally:
            orders.put_nowait({"type": "lifespan.shutdown"})
            await life


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "asked"),
    [
        (b"/v1/chat/completions", {"model": "lab/m"}),
        (b"/v1/chat/completions", {"model": "single/m", "n": 2}),
        (b"/v4/completions", {"model": "lab/m"}),
    ],
    ids=["chat", "alternatives", "native"],
)
async def test_the_last_bytes_leave_after_the_call_is_settled(
    tmp_path: Path, path: bytes, asked: dict[str, Any], stream: bool
) -> None:
    def look() -> list[str]:
        (journal,) = list_journals(tmp_path / FOLDER)
        return [entry.status for entry in read_records(journal, 0).entries]

    async with open_gateway(tmp_path) as gateway:
        prompt = {"prompt": "Hi", "messages": [{"role": "user", "content": "Hi"}]}
        watch = Watch({**asked, **prompt, "stream": stream}, look)
        await gateway.inference[path](watch)
        assert watch.found == ["complete"]
        assert b"Hello" in watch.written
