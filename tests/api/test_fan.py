"""``n`` alternatives of an upstream that knows no ``n``: as many requests, one answer."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import USAGE, Door, RunningGateway, run_gateway, run_upstream, talking
from scripted import Peer, Script, ScriptedServer, answering, wait_until
from speaking import speaking

MORE = """
[providers.single]
wire = "openai"
base_url = "http://127.0.0.1:{port}/v1"
api_key = "env:LAB_KEY"
rewrites = ["n_fan_out"]

[providers.anthropic]
base_url = "http://127.0.0.1:{port}"
api_key = "env:LAB_KEY"

[models.either]
targets = [
  {{ provider = "single", model = "first" }},
  {{ provider = "lab", model = "second" }},
]
routing = {{ retries = 1 }}

[routing]
retries = 0
"""
CHAT: dict[str, Any] = {"model": "single/m", "messages": [{"role": "user", "content": "Hi"}]}
ROUTES = ["/v1/chat/completions", "/v5/chat/completions"]
SUM = {name: 3 * count for name, count in USAGE.items()}
TEXT = {"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}
STOP = {"index": 0, "delta": {}, "finish_reason": "stop"}


def write_chunk(choice: dict[str, Any], number: int = 0) -> str:
    head = {"id": f"c{number}", "object": "chat.completion.chunk", "created": number, "model": "m"}
    return json.dumps(head | {"choices": [choice]})


async def counting(peer: Peer) -> None:
    """Answers each request with another text, and tells the usage if asked."""
    while True:
        request = await peer.request()
        number = len(peer.server.requests) - 1
        text = f"answer {number}"
        asked = json.loads(request.body)
        if asked.get("stream"):
            await peer.begin_sse()
            for word in text.split():
                delta = TEXT | {"delta": {"role": "assistant", "content": f"{word} "}}
                await peer.frames([write_chunk(delta, number)])
            usage = json.loads(write_chunk(STOP, number)) | {"choices": [], "usage": USAGE}
            await peer.frames([write_chunk(STOP, number), json.dumps(usage), "[DONE]"])
            await peer.end_chunked()
        else:
            message = {"role": "assistant", "content": f"{text} "}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            head = {"id": f"c{number}", "object": "chat.completion", "created": 1, "model": "m"}
            await peer.answer(json.dumps(head | {"choices": [choice], "usage": USAGE}).encode())


@contextmanager
def place(
    tmp_path: Path, door: Door, *scripts: Script
) -> Iterator[tuple[RunningGateway, ScriptedServer]]:
    with run_upstream(*scripts) as upstream, run_upstream(talking()) as lab:
        more = MORE.format(port=upstream.port)
        with run_gateway(tmp_path, lab.port, door=door, more=more) as gateway:
            yield gateway, upstream


@pytest.mark.parametrize("path", ROUTES)
def test_a_whole_answer_has_every_alternative_and_the_sum(
    tmp_path: Path, door: Door, client: httpx.Client, path: str
) -> None:
    with place(tmp_path, door, counting) as (gateway, upstream):
        asked = CHAT | {"n": 3, "stop": None}
        response = client.post(gateway.url + path, json=asked, headers=gateway.headers)
    assert response.status_code == 200
    assert response.headers["x-trunkline-attempts"] == "1"
    assert "x-trunkline-changes" not in response.headers
    # What is waited for at the same time counts once.
    whole_us = response.elapsed.total_seconds() * 1e6
    assert 0 <= int(response.headers["x-trunkline-overhead-us"]) < whole_us
    answer = response.json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    said = {choice["message"]["content"] for choice in answer["choices"]}
    assert said == {"answer 0 ", "answer 1 ", "answer 2 "}
    assert {choice["finish_reason"] for choice in answer["choices"]} == {"stop"}
    assert {name: answer["usage"][name] for name in SUM} == SUM
    sent = [json.loads(request.body) for request in upstream.requests]
    assert sent == [{"model": "m", "messages": CHAT["messages"]}] * 3


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("wants_usage", [False, True])
def test_a_stream_has_every_alternative_and_the_sum(
    tmp_path: Path, door: Door, client: httpx.Client, path: str, wants_usage: bool
) -> None:
    asked = CHAT | {"n": 3, "stream": True}
    if wants_usage:
        asked |= {"stream_options": {"include_usage": True}}
    with place(tmp_path, door, counting) as (gateway, upstream):
        response = client.post(gateway.url + path, json=asked, headers=gateway.headers)
    assert response.status_code == 200
    frames = response.text.removesuffix("\n\n").split("\n\n")
    assert all(frame.startswith("data: ") for frame in frames)
    if path.startswith("/v1"):
        assert frames.pop() == "data: [DONE]"
    chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames]
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    if wants_usage:
        last = chunks.pop()
        assert last["choices"] == []
        assert {name: last["usage"][name] for name in SUM} == SUM
    said, ends = {0: "", 1: "", 2: ""}, []
    for chunk in chunks:
        assert "usage" not in chunk
        (choice,) = chunk["choices"]
        said[choice["index"]] += choice["delta"].get("content", "")
        ends += [choice["index"]] if choice["finish_reason"] else []
    assert {*said.values()} == {"answer 0 ", "answer 1 ", "answer 2 "}
    assert sorted(ends) == [0, 1, 2]
    for request in upstream.requests:
        sent = json.loads(request.body)
        assert "n" not in sent
        assert sent["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("stream", [False, True])
def test_a_translated_target_fans_out_too(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    asked = CHAT | {"model": "anthropic/claude-sonnet-4-5", "n": 2, "stream": stream}
    asked["stream_options"] = {"include_usage": True} if stream else None
    with place(tmp_path, door, speaking("anthropic")) as (gateway, upstream):
        response = client.post(gateway.url + ROUTES[0], json=asked, headers=gateway.headers)
    assert response.status_code == 200
    assert len(upstream.requests) == 2
    assert '"index":1' in response.text
    assert '"total_tokens":20' in response.text


@pytest.mark.parametrize("stream", [False, True])
def test_the_sum_is_told_only_if_every_part_is_known(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        if stream:
            await peer.begin_sse()
            await peer.frames([write_chunk(TEXT), write_chunk(STOP)])
            await peer.end_chunked()
        else:
            message = {"role": "assistant", "content": "Hi"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            await peer.answer(json.dumps({"choices": [choice]}).encode())

    asked = CHAT | {"n": 2, "stream": stream, "stream_options": {"include_usage": True}}
    if not stream:
        del asked["stream_options"]
    with place(tmp_path, door, silent, counting) as (gateway, _):
        response = client.post(gateway.url + ROUTES[1], json=asked, headers=gateway.headers)
    assert response.status_code == 200
    assert '"prompt_tokens"' not in response.text


def holding(closed: threading.Semaphore, *first: str) -> Script:
    """Streams what it has, then nothing more; notes when the gateway leaves it."""

    async def script(peer: Peer) -> None:
        try:
            await peer.request()
            if first:
                await peer.begin_sse()
                await peer.frames(first)
            await peer.wait_closed()
        finally:  # it may leave while we still speak
            closed.release()

    return script


def failing_last(status: int) -> Script:
    """Fails once three requests are there."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await wait_until(lambda: len(peer.server.requests) == 3)
        await peer.answer(b'{"error": {"message": "canary"}}', status)

    return script


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "told"),
    [
        (500, (502, "upstream_error")),
        (401, (502, "upstream_auth")),
        (400, (400, "upstream_rejected")),
    ],
)
def test_one_failure_fails_the_call_and_ends_the_others(
    tmp_path: Path,
    door: Door,
    client: httpx.Client,
    stream: bool,
    status: int,
    told: tuple[int, str],
) -> None:
    closed = threading.Semaphore(0)
    held = holding(closed)
    with place(tmp_path, door, held, failing_last(status), held) as (gateway, upstream):
        asked = CHAT | {"n": 3, "stream": stream}
        response = client.post(gateway.url + ROUTES[0], json=asked, headers=gateway.headers)
        assert (response.status_code, response.json()["error"]["code"]) == told
        assert "canary" not in response.text
        assert closed.acquire(timeout=5)
        assert closed.acquire(timeout=5)
        assert len(upstream.requests) == 3


@pytest.mark.parametrize("stream", [False, True])
def test_another_target_takes_over_before_the_first_content(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    closed = threading.Semaphore(0)
    held = holding(closed)
    with place(tmp_path, door, held, held, failing_last(503)) as (gateway, _):
        asked = CHAT | {"model": "either", "n": 3, "stream": stream}
        response = client.post(gateway.url + ROUTES[0], json=asked, headers=gateway.headers)
        assert response.status_code == 200
        assert response.headers["x-trunkline-attempts"] == "2"
        assert response.headers["x-trunkline-target"] == "lab/second"
        assert closed.acquire(timeout=5)
        assert closed.acquire(timeout=5)


def test_a_break_after_the_first_content_is_told_in_the_stream(tmp_path: Path, door: Door) -> None:
    closed = threading.Semaphore(0)

    async def breaking(peer: Peer) -> None:
        await peer.request()
        await peer.begin_sse()
        await peer.frames([write_chunk(TEXT)])
        await wait_until(lambda: len(peer.server.requests) == 3)
        peer.cut()

    held = holding(closed, write_chunk(TEXT))
    received = ""
    with place(tmp_path, door, held, breaking, held) as (gateway, _):
        asked = CHAT | {"model": "either", "n": 3, "stream": True}
        url = gateway.url + ROUTES[0]
        with (
            pytest.raises(httpx.RemoteProtocolError),
            httpx.stream("POST", url, json=asked, headers=gateway.headers) as response,
        ):
            assert response.status_code == 200
            for piece in response.iter_text():
                received += piece
        assert closed.acquire(timeout=5)
        assert closed.acquire(timeout=5)
    assert '"content":"Hi"' in received
    *_, last = received.removesuffix("\n\n").split("\n\n")
    assert last.startswith("event: error\ndata: ")
    assert "upstream_error" in last


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_them_all(tmp_path: Path, door: Door, stream: bool) -> None:
    closed = threading.Semaphore(0)
    arrived = threading.Semaphore(0)

    async def noted(peer: Peer) -> None:
        arrived.release()
        await holding(closed, *([write_chunk(TEXT)] if stream else []))(peer)

    with place(tmp_path, door, noted) as (gateway, _):
        content = json.dumps(CHAT | {"n": 3, "stream": stream}).encode()
        head = (
            f"POST {ROUTES[0]} HTTP/1.1\r\nhost: x\r\nx-api-key: My API Key\r\n"
            f"content-length: {len(content)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as leaving:
            leaving.sendall(head.encode() + content)
            for _ in range(3):
                assert arrived.acquire(timeout=5)
            if stream:
                assert b"Hi" in leaving.recv(65536)
        for _ in range(3):
            assert closed.acquire(timeout=5)


@pytest.mark.parametrize("stream", [False, True])
def test_sixteen_are_the_most(
    tmp_path: Path, door: Door, client: httpx.Client, stream: bool
) -> None:
    with place(tmp_path, door, counting) as (gateway, upstream):
        asked = CHAT | {"n": 17, "stream": stream}
        response = client.post(gateway.url + ROUTES[0], json=asked, headers=gateway.headers)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "n"
        assert upstream.requests == []
        asked["n"] = 16
        response = client.post(gateway.url + ROUTES[0], json=asked, headers=gateway.headers)
        assert response.status_code == 200
        assert len(upstream.requests) == 16


def test_answers_put_together_count_as_one_call(
    tmp_path: Path, door: Door, client: httpx.Client
) -> None:
    with place(tmp_path, door, counting, answering(b"{}", 200)) as (gateway, _):
        asked = CHAT | {"n": 2}
        response = client.post(gateway.url + ROUTES[0], json=asked, headers=gateway.headers)
    assert response.status_code == 502  # half an answer is none
    assert response.json()["error"]["code"] == "upstream_error"
