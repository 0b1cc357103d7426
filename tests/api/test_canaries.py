"""Planted keys, prompts and answers, and all the places of a gateway where they must not come.

A real process, calls on every way to end, the admin API and the command line; then its output, its
metrics, its journal, its database and its error bodies are searched, byte by byte.
"""

import json
import os
import re
import socket
import struct
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.crowd import CHAT_PATH
from api.serving import CONFIG, PEPPER, Served, poll, serve
from gateway import run_upstream, write_answer, write_frames
from scripted import Peer, Request
from trunkline.access.key import SHOWN_CHARACTERS

pytestmark = pytest.mark.slow

ADMIN = "canary-key-of-the-admin-4471"
WRONG = "tl-canary-key-of-nobody-8823-aaaaaaaaaaaaaaaaaa"
CALLERS_OWN = "sk-canary-key-of-the-caller-1207"
UPSTREAM = "sk-upstream-canary"
ORGANIZATION = "org-canary-of-the-account-3391"
PROMPT = "canary-prompt-5517"
ANSWER = "canary-answer-9942"
IMAGE = "canary-image-6610"
SECRETS = (ADMIN, WRONG, CALLERS_OWN, UPSTREAM, ORGANIZATION, PEPPER)
TEXTS = (PROMPT, ANSWER, IMAGE)

MORE = """
[providers.openai]
base_url = "http://127.0.0.1:{port}/v1"
api_key = "env:LAB_KEY"

[providers.eyes]
wire = "openai"
base_url = "http://127.0.0.1:{port}/v1"
images = "data"

[models.chain]
targets = [{{ provider = "lab", model = "fails" }}, {{ provider = "lab", model = "whole" }}]

[server]
drain_s = 1
"""
REASON = f"{PROMPT} {ANSWER} {UPSTREAM} {CALLERS_OWN}"
FAILURES = {"refuses": 400, "refuses-the-key": 401, "is-busy": 429, "fails": 500}
CHAT = {
    "messages": [
        {"role": "system", "content": PROMPT},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": PROMPT},
                {"type": "image_url", "image_url": {"url": f"https://127.0.0.1:9/{IMAGE}.png"}},
            ],
        },
    ],
    "max_tokens": 10,
    "user": PROMPT,
    "stop": [PROMPT],
    "metadata": {"tag": PROMPT},
}
NATIVE = {
    "prompt": PROMPT,
    "images": [{"image_url": f"https://127.0.0.1:9/{IMAGE}.png"}],
    "model_parameters": {"max_tokens": 10, "stop_sequences": [PROMPT]},
}


async def play(peer: Peer) -> None:
    """An upstream that does what the model's name says, and says too much when it fails."""
    while True:
        request = await peer.request()
        asked = json.loads(request.body)
        model = asked["model"]
        if model in FAILURES:
            error = {"message": REASON, "code": ANSWER, "type": ANSWER, "param": PROMPT}
            body = json.dumps({"error": error}).encode()
            await peer.answer(body, FAILURES[model], {"openai-organization": ORGANIZATION})
        elif model == "talks-nonsense":
            await peer.answer(f'{{"choices": "{REASON}"'.encode())
        elif model == "is-no-http":
            await peer.write(f"{REASON}\r\n\r\n".encode())
            return
        elif asked.get("stream"):
            if not await talk(peer, request, asked):
                return
        else:
            answer = write_answer(request, asked, [ANSWER])
            own = {"openai-organization": ORGANIZATION, "set-cookie": f"session={UPSTREAM}"}
            await peer.answer(json.dumps(answer).encode(), 200, own)


async def talk(peer: Peer, request: Request, asked: dict[str, Any]) -> bool:
    """Stream an answer, or its beginning; whether the connection may go on."""
    frames = [*write_frames(request, asked, [ANSWER, ANSWER])]
    await peer.begin_chunked(200, {"content-type": "text/event-stream", "x-own": ORGANIZATION})
    if asked["model"] == "whole":
        await peer.frames(frames)
        await peer.end_chunked()
        return True
    await peer.frames(frames[:2])
    if asked["model"] == "fails-late":
        await peer.frames([json.dumps({"error": {"message": REASON, "code": 500}})])
    elif asked["model"] == "hangs":
        await peer.wait_closed()
    return False


@dataclass
class Search:
    """What came out of a gateway, by where it was found, and the key texts that it has made."""

    gateway: Served
    key: str = ADMIN
    made: list[str] = field(default_factory=list)
    found: dict[str, bytes] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    answered: int = 0

    def keep(self, place: str, data: bytes) -> None:
        self.found[f"{len(self.found)} {place}"] = data

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Send a request, and keep the answer's headers, and its body unless it succeeded."""
        given = {"x-api-key": self.key, **{k.replace("_", "-"): v for k, v in headers.items()}}
        url = f"{self.gateway.url}{path}"
        if isinstance(body, bytes):
            response = httpx.request(method, url, content=body, headers=given, timeout=60)
        else:
            response = httpx.request(method, url, json=body, headers=given, timeout=60)
        self.note(f"{method} {path} {body}", response, response.content)
        return response

    def stream(self, path: str, body: Any) -> None:
        """As ``ask``, for a stream, which may break off."""
        url, given = f"{self.gateway.url}{path}", {"x-api-key": self.key}
        data = b""
        with httpx.stream("POST", url, json=body | {"stream": True}, headers=given) as response:
            try:
                for piece in response.iter_bytes():
                    data += piece
            except httpx.RemoteProtocolError:
                data += b"(cut)"
        self.note(f"stream {path} {body}", response, data)

    def note(self, place: str, response: httpx.Response, data: bytes) -> None:
        self.keep(f"headers of {place}", str(response.headers).encode())
        self.ids.append(response.headers.get("x-request-id", ""))
        if response.status_code >= 400:
            self.keep(f"error of {place}", data)
        elif b"error" in data:
            # The answer itself may be there; what went wrong is told without it.
            self.keep(f"late error of {place}", data.partition(b"error")[2])
        self.answered += ANSWER.encode() in data

    def keep_files(self, place: str) -> None:
        """All that is in the data folder now, and all that was printed."""
        for path in self.gateway.data_dir.rglob("*"):
            if path.is_file():
                self.keep(f"{place} {path.name}", path.read_bytes())
        self.keep(f"{place} log", self.gateway.log.read_bytes())

    def check(self) -> None:
        """Nothing of all that was planted has come out anywhere."""
        parts = [text[SHOWN_CHARACTERS:] for text in self.made]
        planted = [each.encode() for each in (*SECRETS, *TEXTS, *parts)]
        planted += [b64encode(each) for each in planted]
        leaks = [
            (place, canary, data[max(0, at - 80) : at + 80])
            for place, data in self.found.items()
            for canary in planted
            if (at := data.find(canary)) >= 0
        ]
        assert leaks == []


def make_calls(search: Search) -> None:
    """Calls on every way to end, but the gateway's own death."""
    for model in ("lab/whole", "chain", "openai/whole", "eyes/whole", "lab/talks-nonsense"):
        search.ask("POST", CHAT_PATH, CHAT | {"model": model}, x_openai_api_key=CALLERS_OWN)
    for model in (*FAILURES, "is-no-http"):
        for path, body in ((CHAT_PATH, CHAT), ("/v4/completions", NATIVE)):
            search.ask("POST", path, body | {"model": f"lab/{model}"})
    search.ask("POST", "/v4/completions", NATIVE | {"model": "eyes/whole"})
    refused = CHAT | {"model": "openai/refuses-the-key"}
    search.ask("POST", CHAT_PATH, refused, x_openai_api_key=CALLERS_OWN)
    for model in ("whole", "breaks", "fails-late", "fails"):
        search.stream(CHAT_PATH, CHAT | {"model": f"lab/{model}"})
        search.stream("/v4/completions", NATIVE | {"model": f"lab/{model}", "images": []})
    leave(search, "hangs").close()


def make_wrong_calls(search: Search) -> None:
    """Calls that are refused before any target."""
    known = CHAT | {"model": "lab/whole"}
    for body in (
        CHAT | {"model": "nobody"},
        known | {"n": PROMPT},
        known | {"messages": PROMPT},
        json.dumps(known).encode()[:-9],
        PROMPT.encode(),
    ):
        assert search.ask("POST", CHAT_PATH, body).status_code in {400, 404, 422}
    basic = b64encode(f"{WRONG}:".encode()).decode()
    for headers in (
        {"x_api_key": WRONG},
        {"x_api_key": "", "authorization": f"Bearer {WRONG}"},
        {"x_api_key": WRONG, "authorization": f"Basic {basic}"},
        {"x_api_key": ADMIN + WRONG},
    ):
        for method, path in (("POST", CHAT_PATH), ("GET", "/admin/v1/keys"), ("GET", "/metrics")):
            asked = known if method == "POST" else None
            assert search.ask(method, path, asked, **headers).status_code == 401
    openai = CHAT | {"model": "openai/whole"}
    wrong = search.ask("POST", CHAT_PATH, openai, x_openai_api_key=f"{CALLERS_OWN}\tmore")
    assert wrong.status_code == 400
    search.ask("GET", f"/v1/models?api_key={WRONG}", x_api_key="")
    search.ask("GET", f"/nowhere?{PROMPT}={WRONG}")
    with socket.create_connection(("127.0.0.1", search.gateway.port), timeout=60) as raw:
        raw.sendall(f"GET {PROMPT} {WRONG}\r\n\r\n".encode())
        search.keep("answer to what is no HTTP", raw.recv(65536))


def leave(search: Search, model: str) -> socket.socket:
    """A stream of which a piece has come; to close the connection is to leave."""
    body = json.dumps(CHAT | {"model": f"lab/{model}", "stream": True}).encode()
    head = f"POST {CHAT_PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: {search.key}\r\n"
    client = socket.create_connection(("127.0.0.1", search.gateway.port), timeout=60)
    client.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    got = b""
    while ANSWER.encode() not in got:
        piece = client.recv(65536)
        assert piece, got
        got += piece
    match = re.search(rb"x-request-id: (\S+)", got)
    assert match
    search.ids.append(match[1].decode())
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return client


def administer(search: Search) -> str:
    """Keys made, changed, rotated and revoked by the admin API; the text of one that works."""
    made = search.ask("POST", "/admin/v1/keys", {"account_id": "default", "name": "one"}).json()
    path = f"/admin/v1/keys/{made['id']}"
    rotated = search.ask("POST", f"{path}/rotate", {"overlap_s": 0}).json()
    search.made += [made["key"], rotated["key"]]
    newest = f"/admin/v1/keys/{rotated['id']}"
    assert search.ask("PATCH", newest, {"limits": {"rpm": 1000}}).status_code == 200
    for wrong in ({"key": WRONG}, {"name": 7, "role": WRONG}, {"expires_at": WRONG}, WRONG):
        assert search.ask("PATCH", newest, wrong).status_code == 422
    again = search.ask("POST", f"{newest}/rotate", {"overlap_s": 60}).json()
    search.made.append(again["key"])
    assert search.ask("DELETE", newest).status_code == 200
    assert search.ask("POST", CHAT_PATH, CHAT, x_api_key=rotated["key"]).status_code == 401
    assert search.ask("GET", "/admin/v1/keys", x_api_key=again["key"]).status_code == 403
    for listing in ("keys", "accounts", "audit", "usage"):
        answer = search.ask("GET", f"/admin/v1/{listing}")
        assert answer.status_code == 200
        search.keep(listing, answer.content)
    return str(again["key"])


def use_command_line(search: Search) -> None:
    """``keys create`` and ``keys list``: the one shows a key on standard output, this once."""
    data_dir = str(search.gateway.data_dir)
    for words in (("create", "--account", "default", "--name", "by hand"), ("list", "--json")):
        done = subprocess.run(
            [
                sys.executable,
                "-X",
                "dev",
                "-m",
                "trunkline",
                "keys",
                *words,
                "--data-dir",
                data_dir,
            ],
            capture_output=True,
            text=True,
            timeout=120,
            env=os.environ | {"TRUNKLINE_PEPPER": PEPPER},
            check=True,
        )
        search.keep(f"stderr of keys {words[0]}", done.stderr.encode())
        if words[0] == "create":
            search.made.append(done.stdout.strip())
        else:
            search.keep("keys list", done.stdout.encode())
            assert "by hand" in done.stdout


def look_round(search: Search) -> None:
    """What the gateway says of itself."""
    for path in ("/metrics", "/readyz", "/livez", "/v1/models", "/openapi.json"):
        answer = search.ask("GET", path)
        assert answer.status_code == 200
        search.keep(path, answer.content)


@pytest.fixture
def upstream_port() -> Iterator[int]:
    with run_upstream(play) as upstream:
        yield upstream.port


def test_nothing_that_was_planted_comes_out(tmp_path: Path, upstream_port: int) -> None:
    config = CONFIG.format(port=upstream_port) + MORE.format(port=upstream_port)
    environ = {"TRUNKLINE_BOOTSTRAP_KEY": ADMIN}
    with serve(tmp_path, config, environ=environ) as gateway:
        gateway.wait_ready()
        search = Search(gateway)
        make_calls(search)
        make_wrong_calls(search)
        search.key = administer(search)
        make_calls(search)
        search.key = ADMIN
        use_command_line(search)
        look_round(search)
        assert search.answered > 5
        with leave(search, "hangs"):
            search.keep_files("running")
            assert any(place.endswith("running trunkline.db-wal") for place in search.found)
            gateway.kill()
        search.keep_files("killed")
        (journal,) = gateway.list_journals()
    segments = b"".join(path.read_bytes() for path in journal.glob("*.seg"))
    assert search.ids[-1].encode() in segments
    assert sum(each.encode() in segments for each in search.ids) > 40
    with serve(tmp_path, config, environ=environ) as gateway:
        search.gateway = gateway
        gateway.wait_ready()
        poll(lambda: not journal.exists(), 60, gateway.log)
        look_round(search)
        gateway.stop()
        search.keep_files("stopped")
    base = (gateway.data_dir / "trunkline.db").read_bytes()
    assert all(each.encode() in base for each in (search.ids[0], "by hand", "key.rotate", "lost"))
    search.check()
