"""Clients that read slowly, or not at all: memory is bounded, and nobody is waited for for ever."""

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from books import read_only
from gateway import KEY, Door, RunningGateway, run_gateway, run_upstream
from scripted import Peer, Script

MEBIBYTE = 1 << 20
GROWTH_BYTES = 8 * MEBIBYTE
"""What a reader that does not read may cost, whatever is sent to it."""
IDLE_S = 0.5
MORE = f"[deadlines]\nidle_s = {IDLE_S}"
HEAD = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
TEXT = HEAD + b'[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n'
STOP = HEAD + b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
PIECE = TEXT % (b"x" * 60_000)


class Flood:
    """An upstream that streams as fast as it is read; ``end_bytes`` later it ends properly."""

    def __init__(self, end_bytes: int) -> None:
        self.sent_bytes = 0
        self.left = threading.Event()
        self._end_bytes = end_bytes

    async def play(self, peer: Peer) -> None:
        await peer.request()
        await peer.begin_sse()
        try:
            while self.sent_bytes < self._end_bytes:
                await peer.chunk(PIECE)
                self.sent_bytes += len(PIECE)
            await peer.chunk(STOP)
            await peer.end_chunked()
            await peer.wait_closed()
        finally:
            self.left.set()


@contextmanager
def serve(tmp_path: Path, door: Door, script: Script, more: str = MORE) -> Iterator[RunningGateway]:
    with (
        run_upstream(script) as upstream,
        run_gateway(tmp_path, upstream.port, door=door, more=more) as gateway,
    ):
        yield gateway


def ask(gateway: RunningGateway, *, stream: bool = True, close: bool = False) -> socket.socket:
    """A client that has asked, and has little room for an answer."""
    messages = [{"role": "user", "content": "Hi"}]
    content = json.dumps({"model": "model", "messages": messages, "stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n"
    head += "connection: close\r\n" if close else ""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.settimeout(20)
    client.connect(("127.0.0.1", gateway.port))
    client.sendall(b"%bcontent-length: %d\r\n\r\n%b" % (head.encode(), len(content), content))
    return client


def wait_until(is_true: Callable[[], bool], within_s: float = 10) -> float:
    """How long it took, in seconds."""
    start_s = time.monotonic()
    while not is_true():
        assert time.monotonic() < start_s + within_s
        time.sleep(0.01)
    return time.monotonic() - start_s


def test_who_reads_nothing_costs_little_memory(tmp_path: Path, door: Door) -> None:
    flood, process = Flood(100 * MEBIBYTE), psutil.Process()
    with serve(tmp_path, door, flood.play, "") as gateway:
        with closing(ask(gateway)) as client:
            client.recv(65536)
            before_bytes = process.memory_info().rss
            seen = -1
            while seen != flood.sent_bytes:  # until nothing moves any more
                seen = flood.sent_bytes
                time.sleep(0.5)
            assert seen < 30 * MEBIBYTE  # in the kernel's buffers, almost all of it
            assert process.memory_info().rss - before_bytes < GROWTH_BYTES
        assert flood.left.wait(5)


def test_who_reads_nothing_is_dropped(
    tmp_path: Path, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    flood = Flood(100 * MEBIBYTE)
    with (
        caplog.at_level(logging.ERROR, "asyncio"),
        serve(tmp_path, door, flood.play) as gateway,
        closing(ask(gateway)) as client,
    ):
        client.recv(100)
        assert flood.left.wait(10)
        if door == "direct":
            wait_until(lambda: not gateway.server.server_state.connections)
    assert read_only(tmp_path)[0].status == "left"
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_who_reads_slowly_gets_everything(tmp_path: Path, door: Door) -> None:
    flood = Flood(12 * MEBIBYTE)
    with serve(tmp_path, door, flood.play) as gateway, closing(ask(gateway, close=True)) as client:
        received = 0
        while data := client.recv(MEBIBYTE // 2):
            received += len(data)
            time.sleep(0.02)
        assert received > 12 * MEBIBYTE
    assert read_only(tmp_path)[0].status == "complete"


def answering(text_bytes: int) -> Script:
    choice = {"index": 0, "finish_reason": "stop"}
    message = {"role": "assistant", "content": "x" * text_bytes}
    answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    body = json.dumps(answer | {"choices": [choice | {"message": message}]}).encode()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(body)
            await asyncio.sleep(0)

    return script


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_a_whole_answer_is_not_kept_for_ever(tmp_path: Path, *, stream: bool, close: bool) -> None:
    script = Flood(5 * MEBIBYTE).play if stream else answering(20 * MEBIBYTE)
    with (
        serve(tmp_path, "direct", script) as gateway,
        closing(ask(gateway, stream=stream, close=close)) as client,
    ):
        connections = gateway.server.server_state.connections
        client.recv(100)
        assert connections
        wait_until(lambda: not connections)


def test_a_whole_answer_waits_for_a_slow_reader(tmp_path: Path) -> None:
    with (
        serve(tmp_path, "direct", answering(6 * MEBIBYTE)) as gateway,
        closing(ask(gateway, stream=False, close=True)) as client,
    ):
        received = 0
        while data := client.recv(MEBIBYTE // 2):
            received += len(data)
            time.sleep(0.03)
    assert received > 6 * MEBIBYTE
