"""A client leaves: whatever its call waits for, the upstream's connection closes at once."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import KEY, Door, RunningGateway, run_gateway, run_upstream
from scripted import Peer, Script

WITHIN_S = 0.05
TRIES = 5
MORE = """
[providers.single]
wire = "openai"
base_url = "http://127.0.0.1:{port}/v1"
rewrites = ["n_fan_out"]

[providers.secure]
wire = "openai"
base_url = "https://127.0.0.1:{port}/v1"
"""
HEAD = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
ROLE = HEAD + b'[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}\n\n'
TEXT = HEAD + b'[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n'


class Moment:
    """The moment in which a client leaves: what the upstream does until then.

    Args:
        begin: what it says before it waits to be left.
    """

    def __init__(self, begin: Callable[[Peer], Any] | None) -> None:
        self.reached = threading.Semaphore(0)
        self.lefts: list[float] = []
        self._begin = begin

    async def play(self, peer: Peer) -> None:
        try:
            if self._begin is None:
                await peer.reader.read(1)
            else:
                await peer.request()
                await self._begin(peer)
            self.reached.release()
            await peer.wait_closed()
        finally:
            self.lefts.append(time.monotonic())


async def say_nothing(_peer: Peer) -> None:
    """The head does not come."""


async def begin_stream(peer: Peer) -> None:
    await peer.begin_sse()
    await peer.chunk(ROLE)


async def speak(peer: Peer) -> None:
    await begin_stream(peer)
    await peer.chunk(TEXT % b"Hello")


async def begin_answer(peer: Peer) -> None:
    await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{")


@contextmanager
def serve(tmp_path: Path, door: Door, script: Script) -> Iterator[RunningGateway]:
    """A gateway behind a door, before an upstream that plays a script."""
    with run_upstream(script) as upstream:
        more = MORE.format(port=upstream.port)
        with run_gateway(tmp_path, upstream.port, door=door, more=more) as gateway:
            yield gateway


def ask(gateway: RunningGateway, **fields: Any) -> socket.socket:
    """A client that has asked."""
    messages = [{"role": "user", "content": "Hi"}]
    content = json.dumps({"model": "model", "messages": messages, **fields}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n"
    client = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
    client.sendall(b"%bcontent-length: %d\r\n\r\n%b" % (head.encode(), len(content), content))
    return client


def measure(moment: Moment, gateway: RunningGateway, count: int = 1, **fields: Any) -> float:
    """How long the upstream's connections outlive their client, in seconds."""
    moment.lefts.clear()
    client = ask(gateway, **fields)
    for _ in range(count):
        assert moment.reached.acquire(timeout=10)
    if moment._begin is speak:
        assert b"Hello" in client.recv(65536)
    left_s = time.monotonic()
    client.close()
    give_up_s = left_s + 10
    while len(moment.lefts) < count:
        assert time.monotonic() < give_up_s, "the upstream was never left"
        time.sleep(0.001)
    return max(moment.lefts) - left_s


@pytest.mark.parametrize(
    ("begin", "fields"),
    [
        (None, {"model": "secure/m"}),
        (None, {"model": "secure/m", "stream": True}),
        (say_nothing, {}),
        (say_nothing, {"stream": True}),
        (say_nothing, {"user": "x" * 300_000}),
        (begin_answer, {}),
        (begin_stream, {"stream": True}),
        (speak, {"stream": True}),
        (speak, {"stream": True, "user": "x" * 300_000}),
    ],
    ids=[
        "connect",
        "connect-stream",
        "head",
        "head-stream",
        "long-request",
        "whole",
        "before-content",
        "mid-stream",
        "mid-stream-long-request",
    ],
)
def test_the_upstream_is_left_at_once(
    tmp_path: Path, door: Door, begin: Callable[[Peer], Any] | None, fields: dict[str, Any]
) -> None:
    moment = Moment(begin)
    with serve(tmp_path, door, moment.play) as gateway:
        times = [measure(moment, gateway, **fields) for _ in range(TRIES)]
    assert min(times) < WITHIN_S


@pytest.mark.parametrize("stream", [False, True])
def test_all_of_a_fan_are_left_at_once(tmp_path: Path, door: Door, *, stream: bool) -> None:
    moment = Moment(begin_stream if stream else say_nothing)
    with serve(tmp_path, door, moment.play) as gateway:
        asked = {"model": "single/m", "n": 3, "stream": stream}
        times = [measure(moment, gateway, 3, **asked) for _ in range(TRIES)]
    assert min(times) < WITHIN_S


def test_the_upstream_is_left_at_once_while_its_reader_is_slow(tmp_path: Path, door: Door) -> None:
    lefts: list[float] = []
    sent = 0

    async def flood(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.begin_sse()
        try:
            while True:
                await peer.chunk(TEXT % (b"x" * 60_000))
                sent += 1
        finally:
            lefts.append(time.monotonic())

    with serve(tmp_path, door, flood) as gateway:
        times = []
        for number in range(TRIES):
            client = ask(gateway, stream=True)
            before = -1
            while sent != before:  # until nothing moves any more
                before = sent
                time.sleep(0.3)
            left_s = time.monotonic()
            client.close()
            while len(lefts) == number:
                assert time.monotonic() < left_s + 10
                time.sleep(0.001)
            times.append(lefts[-1] - left_s)
    assert min(times) < WITHIN_S
