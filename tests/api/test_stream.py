"""Streams through both doors: failures that every client notices, silence, leaving, slowness."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from api.streaming import (
    CHAT,
    ENVELOPE,
    NATIVE,
    ROLE,
    ROUTES,
    STOP,
    TEXT,
    ask_raw,
    frame,
    streaming,
    unchunk,
)
from gateway import Door, run_gateway, run_upstream
from scripted import Peer, Script, answering


@pytest.mark.parametrize(("path", "body"), ROUTES)
@pytest.mark.parametrize(
    "script",
    [
        streaming(frame(TEXT), ends=False),
        streaming(frame(TEXT)),
        streaming(frame(TEXT), b"data: [DONE]\n\n"),
        streaming(frame(TEXT), b"data: {broken\n\n"),
        streaming(frame(TEXT), b'data: {"error": {"message": "canary"}}\n\n'),
        streaming(frame(TEXT), b'event: error\ndata: {"detail": "canary"}\n\n'),
        streaming(frame(TEXT), b"data: " + frame(STOP)[6:40] + b"\n\n"),
    ],
    ids=["cut", "no-finish", "early-done", "broken-json", "error-inside", "error-event", "half"],
)
def test_a_broken_stream_is_an_open_failure(
    tmp_path: Path, door: Door, path: str, body: dict[str, object], script: Script
) -> None:
    with (
        run_upstream(script) as upstream,
        run_gateway(tmp_path, upstream.port, door=door) as gateway,
    ):
        received, ended = unchunk(ask_raw(gateway.port, path, body))
    assert b"Hi" in received
    assert not ended
    assert b"canary" not in received
    last = received.removesuffix(b"\n\n").rpartition(b"\n\n")[2]
    event, _, data = last.partition(b"\n")
    assert event == b"event: error"
    failure = json.loads(data.removeprefix(b"data: "))
    assert failure["error"]["code"] == "upstream_error"
    assert failure["detail"] == failure["error"]["message"]
    assert b"[DONE]" not in received


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        (streaming(), 502, "upstream_error"),
        (streaming(frame(ROLE), ends=False), 502, "upstream_error"),
        (streaming(frame(ROLE)), 502, "upstream_error"),
        (answering(b"<html>canary</html>"), 502, "upstream_error"),
        (answering(b'{"error": {"message": "canary"}}', 500), 502, "upstream_error"),
        (answering(b'{"error": {"message": "canary"}}', 503), 503, "overloaded"),
        (answering(b'{"error": {"message": "canary"}}', 401), 502, "upstream_auth"),
        (answering(b'{"error": {"message": "canary"}}', 400), 400, "upstream_rejected"),
        (answering(b'{"error": {"message": "canary"}}', 404), 404, "model_not_found"),
        (answering(b"{}", 429, {"retry-after": "7"}), 429, "rate_limit_exceeded"),
    ],
)
def test_failures_before_the_first_content_keep_their_status(
    tmp_path: Path,
    door: Door,
    route: tuple[str, dict[str, object]],
    script: Script,
    status: int,
    code: str,
) -> None:
    path, body = route
    with (
        run_upstream(script) as upstream,
        run_gateway(tmp_path, upstream.port, door=door) as gateway,
    ):
        response = httpx.post(gateway.url + path, json=body, headers=gateway.headers)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert "canary" not in response.text
    if status == 429:
        assert response.headers["retry-after"] == "7"
        assert response.headers["retry-after-ms"] == "7000"
    if code == "upstream_auth":
        assert response.headers["x-should-retry"] == "false"


def test_an_upstream_that_is_away(tmp_path: Path, door: Door) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with run_gateway(tmp_path, port, door=door, more="[routing]\nretries = 0\n") as gateway:
        for _, body in ROUTES[:2]:
            path = "/v4/completions" if "prompt" in body else "/v5/chat/completions"
            for stream in (False, True):
                asked = body | {"stream": stream}
                response = httpx.post(gateway.url + path, json=asked, headers=gateway.headers)
                assert response.status_code == 502


def waiting_for(release: threading.Event, *after: bytes) -> Script:
    """Answers the head at once, and the pieces when the test says so."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.begin_sse()
        await asyncio.to_thread(release.wait, 20)
        for piece in after:
            await peer.chunk(piece)
        await peer.end_chunked()

    return script


def test_silence_is_bridged_with_comments(tmp_path: Path, door: Door) -> None:
    release = threading.Event()
    script = waiting_for(release, frame(ROLE), frame(TEXT), frame(STOP))
    more = "[stream]\nhold_s = 0.1\nkeepalive_s = 0.1"
    with (
        run_upstream(script) as upstream,
        run_gateway(tmp_path, upstream.port, door=door, more=more) as gateway,
        httpx.stream("POST", gateway.url + ROUTES[0][0], json=NATIVE, headers=gateway.headers) as r,
    ):
        assert r.status_code == 200  # held back no longer
        pieces = r.iter_text()
        received = ""
        while received.count(": ping\n\n") < 3:
            received += next(pieces)
        assert received == ": ping\n\n" * received.count(": ping\n\n")
        release.set()
        for piece in pieces:
            received += piece
    assert received.replace(": ping\n\n", "").startswith('data: {"completion":{"text":"Hi"')


def test_a_failure_after_the_hold_is_told_in_the_stream(tmp_path: Path, door: Door) -> None:
    release = threading.Event()
    more = "[stream]\nhold_s = 0.1\nkeepalive_s = 0.1"
    with (
        run_upstream(waiting_for(release)) as upstream,
        run_gateway(tmp_path, upstream.port, door=door, more=more) as gateway,
        pytest.raises(httpx.RemoteProtocolError),
        httpx.stream("POST", gateway.url + ROUTES[0][0], json=NATIVE, headers=gateway.headers) as r,
    ):
        received = ""
        for piece in r.iter_text():
            received += piece
            release.set()
            if "event: error" in received:
                assert "upstream_error" in received


def test_no_comment_while_tokens_flow(tmp_path: Path, door: Door) -> None:
    pieces = [frame(TEXT)] * 50
    more = "[stream]\nhold_s = 5\nkeepalive_s = 5"
    with (
        run_upstream(streaming(*pieces, frame(STOP))) as upstream,
        run_gateway(tmp_path, upstream.port, door=door, more=more) as gateway,
    ):
        for path, body in ROUTES:
            response = httpx.post(gateway.url + path, json=body, headers=gateway.headers)
            assert ": ping" not in response.text
            assert response.text.count("Hi") in {50, 100}


def noting(closed: threading.Event, answer: Callable[[Peer], object] | None = None) -> Script:
    """Begins to answer, and notes when the gateway closes the connection."""

    async def script(peer: Peer) -> None:
        await peer.request()
        if answer is not None:
            await peer.begin_sse()
            await peer.chunk(frame(TEXT))
        await peer.wait_closed()
        closed.set()

    return script


@pytest.mark.parametrize("streams", [False, True])
def test_a_client_that_leaves_frees_the_upstream(tmp_path: Path, door: Door, streams: bool) -> None:
    closed = threading.Event()
    script = noting(closed, (lambda _: None) if streams else None)
    with (
        run_upstream(script) as upstream,
        run_gateway(tmp_path, upstream.port, door=door) as gateway,
    ):
        content = json.dumps(NATIVE | {"stream": streams}).encode()
        head = (
            "POST /v4/completions HTTP/1.1\r\nhost: x\r\nx-api-key: My API Key\r\n"
            f"content-length: {len(content)}\r\n\r\n"
        )
        client = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
        client.sendall(head.encode() + content)
        if streams:
            assert b"Hi" in client.recv(65536)
        else:
            give_up_s = time.monotonic() + 10
            while not upstream.requests:
                assert time.monotonic() < give_up_s
        client.close()
        assert closed.wait(5)


def test_a_slow_reader_slows_the_upstream_down(tmp_path: Path, door: Door) -> None:
    sent = 0
    text = {"choices": [{"index": 0, "delta": {"content": "x" * 60_000}, "finish_reason": None}]}

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.begin_sse()
        for _ in range(1000):
            await peer.chunk(frame(text))
            sent += 1
        await peer.chunk(frame(STOP))
        await peer.end_chunked()

    with (
        run_upstream(script) as upstream,
        run_gateway(tmp_path, upstream.port, door=door) as gateway,
    ):
        with httpx.stream(
            "POST", gateway.url + "/v5/chat/completions", json=CHAT, headers=gateway.headers
        ) as response:
            before = -1
            while sent != before:  # until nothing moves any more
                before = sent
                time.sleep(0.5)
            assert sent < 400  # of 60 MB, what the kernel's buffers and ours hold
            received = sum(len(piece) for piece in response.iter_bytes())
        assert sent == 1000
        assert received > 60_000_000


def test_pipelined_requests_are_answered_in_order(tmp_path: Path, door: Door) -> None:
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            said = json.loads(request.body)["messages"][0]["content"]
            choice = {"index": 0, "finish_reason": "stop"}
            message = {"role": "assistant", "content": said}
            whole = ENVELOPE | {
                "object": "chat.completion",
                "choices": [choice | {"message": message}],
            }
            await peer.answer(json.dumps(whole).encode())

    with (
        run_upstream(script) as upstream,
        run_gateway(tmp_path, upstream.port, door=door) as gateway,
    ):
        sent = b""
        for number in range(5):
            content = json.dumps({"model": "model", "prompt": f"<{number}>"}).encode()
            last = b"connection: close\r\n" if number == 4 else b""
            sent += (
                b"POST /v4/completions HTTP/1.1\r\nhost: x\r\nx-api-key: My API Key\r\n"
                b"%bcontent-length: %d\r\n\r\n%b" % (last, len(content), content)
            )
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as client:
            client.sendall(sent)
            received = b""
            while data := client.recv(65536):
                received += data
    assert received.count(b"200 OK") == 5
    places = [received.index(f"<{number}>".encode()) for number in range(5)]
    assert places == sorted(places)


def test_http_1_0_gets_an_unchunked_body(tmp_path: Path) -> None:
    with (
        run_upstream(streaming(frame(TEXT), frame(STOP))) as upstream,
        run_gateway(tmp_path, upstream.port) as gateway,
    ):
        answer = ask_raw(gateway.port, "/v5/chat/completions", CHAT, "1.0")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body.startswith(b"data: {")
    assert body.endswith(b"\n\n")


def test_expect_continue_and_chunked_uploads(tmp_path: Path, door: Door) -> None:
    whole = streaming(frame(TEXT), frame(STOP))
    with (
        run_upstream(whole) as upstream,
        run_gateway(tmp_path, upstream.port, door=door) as gateway,
    ):
        content = json.dumps(NATIVE).encode()
        head = b"POST /v4/completions HTTP/1.1\r\nhost: x\r\nx-api-key: My API Key\r\n"
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as client:
            client.sendall(
                head + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(content)
            )
            assert client.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
            client.sendall(content)
            assert b"200 OK" in client.recv(65536)
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as client:
            client.sendall(head + b"transfer-encoding: chunked\r\n\r\n")
            for byte in content:
                client.sendall(b"1\r\n%c\r\n" % byte)
            client.sendall(b"0\r\n\r\n")
            assert b"200 OK" in client.recv(65536)


def test_a_large_body_without_a_key_is_not_read(tmp_path: Path) -> None:
    with run_gateway(tmp_path) as gateway:
        head = b"POST /v4/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 19000000\r\n\r\n"
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as client:
            client.sendall(head + b"x" * 200_000)
            assert client.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_headers_without_end_are_refused(tmp_path: Path) -> None:
    with run_gateway(tmp_path) as gateway:
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as client:
            client.sendall(b"POST /v4/completions HTTP/1.1\r\nhost: x\r\nx-a: ")
            received = b""
            try:
                for _ in range(100):
                    client.sendall(b"a" * 10_000)
                received = client.recv(65536)
            except ConnectionError:
                pass
        assert b" 200 " not in received
        assert httpx.get(f"{gateway.url}/livez").status_code == 200
