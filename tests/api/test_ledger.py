"""What the ledger says of calls that went through a whole gateway, on every way to end."""

import asyncio
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from books import read_only
from gateway import USAGE, Door, RunningGateway, run_gateway, run_upstream, talking, write_frames
from scripted import Peer, Script, answering
from trunkline.store.store import open_store
from trunkline.terms import AccountTerms, Limits

CHAT: dict[str, Any] = {"model": "lab/m", "messages": [{"role": "user", "content": "Hi there"}]}
CHAIN = CHAT | {"model": "chain"}
PATH = "/v1/chat/completions"
MORE = """
[providers.second]
wire = "openai"
base_url = "http://127.0.0.1:{port}/v1"

[models.chain]
targets = [{{ provider = "lab", model = "one" }}, {{ provider = "second", model = "two" }}]

[deadlines]
idle_s = 1

[[prices.list]]
provider = "lab"
model = "*"
input = "1"
output = "2"
"""


@contextmanager
def place(tmp_path: Path, door: Door, *scripts: Script) -> Iterator[RunningGateway]:
    with ExitStack() as stack:
        ports = [stack.enter_context(run_upstream(script)).port for script in scripts]
        more = MORE.format(port=ports[-1])
        yield stack.enter_context(run_gateway(tmp_path, ports[0], door=door, more=more))


def running(pieces: int, then: Callable[[Peer], Any], *, counts: bool = True) -> Script:
    """A stream whose chunks carry the usage so far; after some something else happens."""

    async def script(peer: Peer) -> None:
        request = await peer.request()
        frames = list(write_frames(request, json.loads(request.body), ["x"] * pieces))
        await peer.begin_sse()
        for at, frame in enumerate(frames[: pieces + 1]):
            usage = {"prompt_tokens": 5, "completion_tokens": at, "total_tokens": 5 + at}
            told = json.loads(frame) | ({"usage": usage} if counts else {})
            await peer.frames([json.dumps(told)])
        result = then(peer)
        if result is not None:
            await result

    return script


def leave(
    gateway: RunningGateway, body: dict[str, Any], account: str, mark: bytes, times: int = 1
) -> None:
    """Ask, read until the mark has come so many times, and go."""
    content = json.dumps(body).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: {gateway.headers['x-api-key']}\r\n"
        f"x-selected-account-id: {account}\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as client:
        client.sendall(head.encode() + content)
        got = b""
        while got.count(mark) < times:
            piece = client.recv(65536)
            assert piece, got
            got += piece
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("stream", [False, True])
def test_a_whole_answer_has_the_providers_count_and_its_price(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    with place(tmp_path, door, talking()) as gateway:
        asked = CHAT | {"stream": stream}
        response = client.post(gateway.url + PATH, json=asked, headers=gateway.headers)
        assert response.status_code == 200
    entry, (attempt,) = read_only(tmp_path)
    assert entry.id == response.headers["x-request-id"]
    assert (entry.status, entry.usage_source, entry.stream) == ("complete", "provider", stream)
    assert (entry.account_id, entry.model, entry.target) == ("default", "lab/m", "lab/m")
    assert (entry.input_tokens, entry.output_tokens) == (
        USAGE["prompt_tokens"],
        USAGE["completion_tokens"],
    )
    assert entry.cost_micros == 7 * 1 + 3 * 2
    assert entry.finish_reason == "stop"
    assert entry.operation == "openai.chat"
    assert entry.first_token_us is not None
    assert 0 <= entry.queue_us <= entry.first_token_us <= entry.total_us
    assert (attempt.number, attempt.status, attempt.cost_micros) == (1, "complete", 13)


def test_a_failover_is_two_attempts(tmp_path: Path, door: Door, client: httpx.Client) -> None:
    with place(tmp_path, door, answering(b"{}", 503), talking()) as gateway:
        response = client.post(gateway.url + PATH, json=CHAIN, headers=gateway.headers)
        assert response.status_code == 200
    entry, attempts = read_only(tmp_path)
    assert (entry.status, entry.target, entry.attempts) == ("complete", "second/two", 2)
    assert entry.usage_source == "provider"
    assert entry.cost_micros is None  # the second provider has no price
    assert [(each.status, each.code) for each in attempts] == [
        ("failed", "overloaded"),
        ("complete", ""),
    ]
    assert (attempts[0].usage_source, attempts[0].cost_micros) == ("none", 0)


@pytest.mark.parametrize(
    ("body", "code"),
    [(CHAT | {"model": "nobody"}, "model_not_found"), (CHAT | {"n": 0, "model": "x/y"}, "")],
)
def test_what_is_refused_is_there(
    tmp_path: Path, door: Door, client: httpx.Client, body: dict[str, Any], code: str
) -> None:
    with place(tmp_path, door, talking()) as gateway:
        response = client.post(gateway.url + PATH, json=body, headers=gateway.headers)
        assert response.status_code in {400, 404}
    entry, attempts = read_only(tmp_path)
    assert (entry.status, entry.code) == ("refused", code or "model_not_found")
    assert (entry.usage_source, entry.input_tokens, entry.cost_micros) == ("none", 0, 0)
    assert attempts == ()


def test_an_upstreams_error_is_a_failed_call(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    with place(tmp_path, door, answering(b"{}", 500)) as gateway:
        response = client.post(gateway.url + PATH, json=CHAT, headers=gateway.headers)
        assert response.status_code == 502
    entry, attempts = read_only(tmp_path)
    assert (entry.status, entry.code) == ("failed", "upstream_error")
    assert [(each.status, each.usage_source) for each in attempts] == [("failed", "none")] * 3


@pytest.mark.parametrize("end", ["cut", "stall"])
def test_a_stream_that_breaks_is_counted_as_far_as_it_came(
    tmp_path: Path, door: Door, client: httpx.Client, end: str
) -> None:
    def then(peer: Peer) -> Any:
        return peer.cut() if end == "cut" else peer.wait_closed()

    with place(tmp_path, door, running(4, then)) as gateway:
        asked = CHAT | {"stream": True}
        with pytest.raises(httpx.RemoteProtocolError):
            client.post(gateway.url + PATH, json=asked, headers=gateway.headers)
    entry, _ = read_only(tmp_path)
    code = "upstream_error" if end == "cut" else "upstream_timeout"
    assert (entry.status, entry.code, entry.usage_source) == ("failed", code, "counted")
    assert (entry.input_tokens, entry.output_tokens, entry.cost_micros) == (5, 4, 13)


@pytest.mark.parametrize("counts", [True, False])
def test_a_client_that_leaves_in_a_stream_is_counted(
    tmp_path: Path, door: Door, counts: bool
) -> None:
    closed = threading.Event()

    async def then(peer: Peer) -> None:
        await peer.wait_closed()
        closed.set()

    with place(tmp_path, door, running(3, then, counts=counts)) as gateway:
        body = CHAT | {"stream": True, "stream_options": {"include_usage": True}}
        leave(gateway, body, "default", b'"content": "x"', times=3)
        assert closed.wait(10)
    entry, (attempt,) = read_only(tmp_path)
    assert (entry.status, attempt.status, entry.code) == ("left", "left", "")
    if counts:
        assert (entry.usage_source, entry.input_tokens, entry.output_tokens) == ("counted", 5, 3)
    else:
        assert entry.usage_source == "estimated"
        assert entry.input_tokens == len(json.dumps(body)) // 4


def test_a_client_that_leaves_before_the_answer_is_estimated(tmp_path: Path, door: Door) -> None:
    asked, closed = threading.Event(), threading.Event()

    async def silent(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.wait_closed()
        closed.set()

    with place(tmp_path, door, silent) as gateway:
        thread = threading.Thread(target=leave_after, args=(gateway, asked))
        thread.start()
        assert closed.wait(10)
        thread.join(10)
    entry, _ = read_only(tmp_path)
    assert (entry.status, entry.usage_source, entry.output_tokens) == ("left", "estimated", 0)
    assert entry.input_tokens == len(json.dumps(CHAT)) // 4


def leave_after(gateway: RunningGateway, asked: threading.Event) -> None:
    content = json.dumps(CHAT).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: {gateway.headers['x-api-key']}\r\n"
        f"content-length: {len(content)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as client:
        client.sendall(head.encode() + content)
        assert asked.wait(10)


@pytest.mark.parametrize("stream", [False, True])
def test_an_account_may_have_the_rest_read_for_its_count(
    tmp_path: Path, door: Door, stream: bool
) -> None:
    go_on, ended, asked = asyncio.Event(), threading.Event(), threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def slow(peer: Peer) -> None:
        loops.append(asyncio.get_running_loop())
        request = await peer.request()
        frames = list(write_frames(request, json.loads(request.body), ["x"] * 6))
        if stream:
            await peer.begin_sse()
            await peer.frames(frames[:3])
        asked.set()
        await go_on.wait()
        if stream:
            await peer.frames(frames[3:])
            await peer.end_chunked()
        else:
            choice = {"index": 0, "finish_reason": "stop", "message": {"content": "x" * 6}}
            answer = {"choices": [choice], "usage": USAGE}
            await peer.answer(json.dumps(answer).encode())
        ended.set()

    with closing(open_store(tmp_path / "trunkline.db")) as store:
        terms = AccountTerms(leaving="drain", limits=Limits(tpm=100_000))
        store.accounts.create("drainer", "", 1, terms)
    with place(tmp_path, door, slow) as gateway:
        body = CHAT | {"stream": stream}
        if stream:
            leave(gateway, body, "drainer", b'"content": "x"')
        else:
            content = json.dumps(body).encode()
            head = (
                f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-selected-account-id: drainer\r\n"
                f"x-api-key: {gateway.headers['x-api-key']}\r\n"
                f"content-length: {len(content)}\r\n\r\n"
            )
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as client:
                client.sendall(head.encode() + content)
                assert asked.wait(10)
        time.sleep(0.2)  # the gateway shall notice before the answer goes on
        loops[0].call_soon_threadsafe(go_on.set)
        assert ended.wait(10)
    entry, (attempt,) = read_only(tmp_path)
    assert (entry.account_id, entry.status, entry.usage_source) == ("drainer", "left", "provider")
    assert (entry.input_tokens, entry.output_tokens) == (7, 3)
    assert attempt.status == "complete"
