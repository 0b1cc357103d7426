"""A whole gateway in a thread, behind either door, and a scripted upstream in another.

with run_upstream(talking()) as upstream, run_gateway(tmp_path, upstream.port) as gateway:
    httpx.post(f"{gateway.url}/v4/completions", headers=gateway.headers, json={...})
"""

import asyncio
import json
import socket
import struct
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import uvicorn

from scripted import Peer, Request, Script, ScriptedServer
from trunkline.access.bootstrap import ensure_bootstrap
from trunkline.access.pepper import load_pepper
from trunkline.api.direct import DirectProtocol
from trunkline.app import Blueprint, EngineLink, build_gateway
from trunkline.catalog import read_catalog
from trunkline.providers.fetch import Fetcher
from trunkline.settings import read_settings
from trunkline.store.store import open_store

Server = TypeVar("Server", bound=AbstractAsyncContextManager[Any])
Door = Literal["direct", "asgi"]
DOORS: Sequence[Door] = ("direct", "asgi")
KEY = "My API Key"
ACCOUNT = "account_id"

CONFIG = """
[providers.lab]
wire = "openai"
base_url = "http://127.0.0.1:{port}/v1"
api_key = "env:LAB_KEY"

[models.model]
targets = [{{ provider = "lab", model = "upstream-model" }}]

[models.gpt-oss-120b]
targets = [{{ provider = "lab", model = "upstream-model" }}]

[models.raw]
targets = [{{ provider = "lab", model = "base-model" }}]
prompt_mode = "raw"
{more}
"""

STEADY = """
[routing]
retries = 0
[routing.circuit]
failures = 1000000
"""
"""Every call makes one attempt, however many have failed: for gateways that tests share."""


@dataclass
class RunningGateway:
    """A gateway that answers at ``url``."""

    url: str
    data_dir: Path
    server: uvicorn.Server
    headers: dict[str, str] = field(default_factory=lambda: {"x-api-key": KEY})

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])


@contextmanager
def run_gateway(
    tmp_path: Path,
    upstream_port: int = 9,
    *,
    door: Door = "direct",
    more: str = "",
    engines: tuple[EngineLink, ...] = (),
    find_fetcher: Callable[[], Fetcher] | None = None,
) -> Iterator[RunningGateway]:
    """Build a gateway from ``CONFIG`` and serve it until the block ends."""
    config_path = tmp_path / "gateway.toml"
    config_path.write_text(CONFIG.format(port=upstream_port, more=more))
    catalog = read_catalog()
    settings = read_settings(config_path, catalog, {"LAB_KEY": "sk-upstream-canary"})
    pepper = load_pepper(tmp_path)
    store = open_store(tmp_path / "trunkline.db")
    ensure_bootstrap(store, pepper, KEY, time.time_ns() // 1000)
    if not store.accounts.find(ACCOUNT):
        store.accounts.create(ACCOUNT, "", time.time_ns() // 1000)
    store.close()
    blueprint = Blueprint(settings, catalog, engines, tmp_path, tmp_path / "trunkline.db", pepper)
    config = uvicorn.Config(
        partial(build_gateway, blueprint, find_fetcher),
        factory=True,
        http=DirectProtocol if door == "direct" else "httptools",
        loop="uvloop",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            _wait_for(lambda: server.started)
            port = listener.getsockname()[1]
            yield RunningGateway(f"http://127.0.0.1:{port}", tmp_path, server)
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive(), "the gateway did not stop"


def run_upstream(*scripts: Script) -> AbstractContextManager[ScriptedServer]:
    """A scripted server with a loop and thread of its own."""
    return run_apart(ScriptedServer(*scripts))


@contextmanager
def run_apart(server: Server) -> Iterator[Server]:
    """A server with a loop and thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)
        yield server
    finally:
        end = server.__aexit__(None, None, None)
        try:
            asyncio.run_coroutine_threadsafe(end, loop).result(10)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()


def _wait_for(is_true: Callable[[], bool], within_s: float = 20) -> None:
    give_up_s = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < give_up_s, "the gateway did not start"
        time.sleep(0.01)


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
PIECES = ("Hello", ", wor", "ld")


def talking(pieces: Sequence[str] = PIECES) -> Script:
    """A script that answers chat and text requests, whole and streamed, as a model would."""

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            asked = json.loads(request.body)
            if asked.get("stream"):
                await peer.begin_sse()
                await peer.frames(write_frames(request, asked, pieces))
                await peer.end_chunked()
            else:
                await peer.answer(
                    json.dumps(write_answer(request, asked, pieces)).encode(),
                    headers={"content-type": "application/json"},
                )

    return script


def write_answer(request: Request, asked: dict[str, Any], pieces: Sequence[str]) -> dict[str, Any]:
    """A whole answer of the upstream."""
    path = request.target.partition("?")[0]
    if path.endswith("/embeddings"):
        return write_vectors(asked)
    text = "".join(pieces)
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "logprobs": None}
    if path.endswith("/chat/completions"):
        choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        kind = "chat.completion"
    else:
        choice["text"] = text
        kind = "text_completion"
    return {
        "id": "chatcmpl-up",
        "object": kind,
        "created": 1700000000,
        "model": asked["model"],
        "choices": [choice],
        "usage": USAGE,
    }


VECTOR = (0.5, -0.25)


def write_vectors(asked: dict[str, Any]) -> dict[str, Any]:
    """An answer with the same vector for every text."""
    vector: Any = VECTOR
    if asked.get("encoding_format") == "base64":
        vector = b64encode(struct.pack(f"<{len(VECTOR)}f", *VECTOR)).decode()
    texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
    data = [
        {"object": "embedding", "index": index, "embedding": vector} for index in range(len(texts))
    ]
    usage = {"prompt_tokens": 7, "total_tokens": 7}
    return {"object": "list", "data": data, "model": asked["model"], "usage": usage}


def write_frames(request: Request, asked: dict[str, Any], pieces: Sequence[str]) -> Iterator[str]:
    """The data of the frames of a streamed answer."""
    is_chat = request.target.partition("?")[0].endswith("/chat/completions")
    kind = "chat.completion.chunk" if is_chat else "text_completion"
    start = {"id": "chatcmpl-up", "object": kind, "created": 1700000000, "model": asked["model"]}

    def frame(piece: str | None, reason: str | None) -> str:
        choice: dict[str, Any] = {"index": 0, "finish_reason": reason}
        if is_chat:
            choice["delta"] = {} if piece is None else {"content": piece}
        else:
            choice["text"] = piece or ""
        return json.dumps({**start, "choices": [choice]})

    if is_chat:
        role = {"index": 0, "finish_reason": None, "delta": {"role": "assistant", "content": ""}}
        yield json.dumps({**start, "choices": [role]})
    for piece in pieces:
        yield frame(piece, None)
    yield frame(None, "stop")
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield json.dumps({**start, "choices": [], "usage": USAGE})
    yield "[DONE]"
