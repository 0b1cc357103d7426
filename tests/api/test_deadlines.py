"""Every deadline, through a whole gateway: 504 before content, the error in the stream after it."""

import asyncio
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from gateway import run_gateway, run_upstream
from scripted import Peer, Script
from trunkline.settings import DeadlineName

ENVELOPE = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]}
TEXT = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}
THOUGHT = {"choices": [{"index": 0, "delta": {"reasoning_content": "Hm"}, "finish_reason": None}]}
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
PING = b": alive\n\n"
NATIVE, CHAT = "/v4/completions", "/v5/chat/completions"
MORE = "[routing]\nretries = 0\n[deadlines]\n"
BODIES: Mapping[str, Mapping[str, object]] = {
    NATIVE: {"model": "model", "prompt": "hi"},
    CHAT: {"model": "model", "messages": [{"role": "user", "content": "hi"}]},
}


def frame(chunk: Mapping[str, object]) -> bytes:
    return b"data: " + json.dumps({**ENVELOPE, **chunk}).encode() + b"\n\n"


def stalling(*pieces: bytes, then: bytes = b"", every_s: float = 0.03) -> Script:
    """Streams the pieces, and then the same sign of life for ever, or nothing."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_sse()
        for piece in pieces:
            await peer.chunk(piece)
        while then:
            await peer.chunk(then)
            await asyncio.sleep(every_s)
        await peer.wait_closed()

    return script


def silent(head: bytes = b"") -> Script:
    """Takes the request, sends what it is given, and nothing more."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.write(head)
        await peer.wait_closed()

    return script


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"


@pytest.mark.parametrize("path", [NATIVE, CHAT])
@pytest.mark.parametrize(
    ("script", "stream", "deadlines", "name"),
    [
        (silent(), False, {"first_token_s": 0.2}, "first_token_s"),
        (silent(), True, {"first_token_s": 0.2}, "first_token_s"),
        (silent(), False, {"total_s": 0.2}, "total_s"),
        (silent(HEAD), False, {"idle_s": 0.2}, "idle_s"),
        (silent(HEAD), False, {"total_s": 0.2}, "total_s"),
        (stalling(), True, {"first_token_s": 0.2}, "first_token_s"),
        (stalling(frame(ROLE)), True, {"first_token_s": 0.2}, "first_token_s"),
        (stalling(then=PING), True, {"first_token_s": 0.2}, "first_token_s"),
        (stalling(then=frame(ROLE)), True, {"first_token_s": 0.2}, "first_token_s"),
        (stalling(then=PING), True, {"total_s": 0.2}, "total_s"),
    ],
)
def test_too_late_for_content_is_504(
    tmp_path: Path,
    path: str,
    script: Script,
    stream: bool,
    deadlines: Mapping[DeadlineName, float],
    name: DeadlineName,
) -> None:
    more = MORE + "".join(f"{each} = {seconds}\n" for each, seconds in deadlines.items())
    with run_upstream(script) as upstream, run_gateway(tmp_path, upstream.port, more=more) as at:
        began_s = time.monotonic()
        body = {**BODIES[path], "stream": stream}
        response = httpx.post(at.url + path, json=body, headers=at.headers)
        assert time.monotonic() - began_s < 5
    failure = response.json()["error"]
    assert (response.status_code, failure["code"]) == (504, "upstream_timeout")
    assert f"({name})" in failure["message"]


@pytest.mark.parametrize("path", [NATIVE, CHAT])
@pytest.mark.parametrize(
    ("script", "deadlines", "name"),
    [
        (stalling(frame(ROLE), frame(TEXT)), {"idle_s": 0.2}, "idle_s"),
        (stalling(frame(TEXT), then=PING), {"idle_s": 0.2}, "idle_s"),
        (stalling(frame(TEXT), then=frame(TEXT)), {"total_s": 0.3}, "total_s"),
        (stalling(frame(TEXT), then=PING), {"total_s": 0.3}, "total_s"),
    ],
)
def test_too_late_after_content_is_told_in_the_stream(
    tmp_path: Path,
    path: str,
    script: Script,
    deadlines: Mapping[DeadlineName, float],
    name: DeadlineName,
) -> None:
    more = MORE + "".join(f"{each} = {seconds}\n" for each, seconds in deadlines.items())
    with run_upstream(script) as upstream, run_gateway(tmp_path, upstream.port, more=more) as at:
        body = {**BODIES[path], "stream": True}
        received, began_s = "", time.monotonic()
        with (
            pytest.raises(httpx.RemoteProtocolError),
            httpx.stream("POST", at.url + path, json=body, headers=at.headers) as response,
        ):
            assert response.status_code == 200
            for piece in response.iter_text():
                received += piece
        assert time.monotonic() - began_s < 5
    assert "Hi" in received
    assert f"({name})" in received.rpartition("event: error\ndata: ")[2]
    assert '"upstream_timeout"' in received


@pytest.mark.parametrize("path", [NATIVE, CHAT])
def test_thoughts_are_tokens_though_a_client_may_not_see_them(tmp_path: Path, path: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_sse()
        for _ in range(30):
            await peer.chunk(frame(THOUGHT))
            await asyncio.sleep(0.03)
        await peer.chunk(frame(TEXT))
        await peer.chunk(frame(STOP))
        await peer.end_chunked()

    more = MORE + "first_token_s = 0.8\nidle_s = 0.8\n"
    with run_upstream(script) as upstream, run_gateway(tmp_path, upstream.port, more=more) as at:
        body = {**BODIES[path], "stream": True}
        response = httpx.post(at.url + path, json=body, headers=at.headers)
    assert response.status_code == 200
    assert "Hi" in response.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_shortens_all_of_them(tmp_path: Path, *, stream: bool) -> None:
    headers = {"x-trunkline-timeout": "0.3"}
    with run_upstream(silent()) as upstream, run_gateway(tmp_path, upstream.port) as at:
        began_s = time.monotonic()
        body = {**BODIES[NATIVE], "stream": stream}
        response = httpx.post(at.url + NATIVE, json=body, headers=at.headers | headers)
        assert time.monotonic() - began_s < 5
        assert response.status_code == 504
        # What is left of it when the upstream is asked.
        given = re.search(r"within ([0-9.]+) s", response.text)
        assert given
        assert 0 < float(given[1]) <= 0.3
        for wish in ("soon", "0", "-1"):
            headers = at.headers | {"x-trunkline-timeout": wish}
            refused = httpx.post(at.url + NATIVE, json=body, headers=headers)
            assert refused.status_code == 400
            assert "x-trunkline-timeout" in refused.json()["error"]["message"]
        assert len(upstream.requests) == 1


def test_a_whole_answer_is_given_up_while_its_client_still_listens(tmp_path: Path) -> None:
    with run_upstream(silent()) as upstream, run_gateway(tmp_path, upstream.port) as at:
        headers = at.headers | {"x-stainless-read-timeout": "0.5"}
        response = httpx.post(
            at.url + NATIVE, json=BODIES[NATIVE], headers=headers, timeout=httpx.Timeout(5)
        )
    assert response.status_code == 504


def test_the_total_is_that_of_all_attempts(tmp_path: Path) -> None:
    more = "[routing]\nretries = 5\n[deadlines]\nfirst_token_s = 0.25\ntotal_s = 0.6\n"
    with run_upstream(silent()) as upstream, run_gateway(tmp_path, upstream.port, more=more) as at:
        began_s = time.monotonic()
        response = httpx.post(at.url + NATIVE, json=BODIES[NATIVE], headers=at.headers)
        assert time.monotonic() - began_s < 2
    assert response.status_code == 504
