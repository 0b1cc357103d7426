"""Measures the CPU time that one request through the upstream client costs.

A canned server runs in a child process on one core, the client here on another; what is printed
is the client's process CPU time (user and system) divided by the number of requests.

    python bench/upstream_micro.py [--requests N] [--connections N] [--loop asyncio]

Three clients are measured: "floor" is a bare protocol that writes the same bytes and counts the
ones that come back (event loop and kernel only), "client" reads a JSON answer whole, "stream"
reads an event stream piece by piece.
"""

import argparse
import asyncio
import multiprocessing
import os
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection as Pipe

import uvloop

from trunkline.call import Deadlines
from trunkline.providers.upstream import Origin, Upstream

BODY = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * 160 + b'"}]}'
HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: trunkline\r\n"
    b"authorization: Bearer sk-0123456789abcdef0123456789\r\ncontent-type: application/json\r\n"
    b"accept: application/json\r\n"
)
ANSWER_HEAD = (
    b"HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 00:00:00 GMT\r\nserver: canned\r\n"
    b"content-type: application/json\r\nx-request-id: 0123456789abcdef\r\n"
)
ANSWER = ANSWER_HEAD + b"content-length: 700\r\n\r\n" + b"j" * 700
FRAME = b'data: {"choices":[{"index":0,"delta":{"content":" word"}}]}\n\n'
FRAMES = 20


class CannedServer(asyncio.Protocol):
    """Answers every read with the same bytes: whole, or as frames with a loop turn between."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"GET"):
            self.transport.write(ANSWER_HEAD + b"transfer-encoding: chunked\r\n\r\n")
            self.send_frame(FRAMES)
        else:
            self.transport.write(ANSWER)

    def send_frame(self, left: int) -> None:
        if left == 0:
            self.transport.write(b"0\r\n\r\n")
            return
        self.transport.write(b"%x\r\n%b\r\n" % (len(FRAME), FRAME))
        asyncio.get_running_loop().call_soon(self.send_frame, left - 1)


def run_server(pipe: "Pipe[int, int]", core: int) -> None:
    os.sched_setaffinity(0, {core})

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(CannedServer, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())


class BareClient(asyncio.Protocol):
    """The least that a client can do: write, and wait for as many bytes as the answer has."""

    def __init__(self) -> None:
        self.size = 0
        self.request = HEAD + b"content-length: %d\r\n\r\n" % len(BODY) + BODY

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.size += len(data)
        if self.size == len(ANSWER):
            self.size = 0
            self.waiter.set_result(None)

    async def exchange(self) -> None:
        self.waiter = asyncio.get_running_loop().create_future()
        self.transport.write(self.request)
        await self.waiter


async def run_floor(port: int, requests: int) -> None:
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_connection(BareClient, "127.0.0.1", port)
    for _ in range(requests):
        await client.exchange()
    transport.close()


async def run_client(upstream: Upstream, requests: int) -> None:
    deadlines = Deadlines()
    for _ in range(requests):
        response = await upstream.send(HEAD, BODY, deadlines)
        try:
            body = await response.read_all(1 << 20)
        finally:
            response.close()
        if response.status != 200 or len(body) != 700:
            raise SystemExit("wrong answer")


async def run_stream(upstream: Upstream, requests: int) -> None:
    deadlines = Deadlines()
    head = HEAD.replace(b"POST", b"GET")
    for _ in range(requests):
        response = await upstream.send(head, BODY, deadlines)
        size = 0
        while data := await response.read():
            size += len(data)
        response.close()
        if size != FRAMES * len(FRAME):
            raise SystemExit("wrong answer")


async def measure(
    name: str, run: Callable[[int], Awaitable[None]], requests: int, connections: int
) -> None:
    each = requests // connections
    await asyncio.gather(*(run(each // 10 + 1) for _ in range(connections)))
    before, start = os.times(), time.perf_counter()
    await asyncio.gather(*(run(each) for _ in range(connections)))
    after, wall_s = os.times(), time.perf_counter() - start
    user_us = (after.user - before.user) / (each * connections) * 1e6
    system_us = (after.system - before.system) / (each * connections) * 1e6
    print(
        f"{name:8} {user_us + system_us:6.2f} us CPU a request"
        f" ({user_us:.2f} user, {system_us:.2f} system), {each * connections / wall_s:,.0f}/s"
    )


async def run_all(port: int, requests: int, connections: int) -> None:
    upstream = Upstream(Origin("http", "127.0.0.1", port))
    await measure("floor", lambda n: run_floor(port, n), requests, connections)
    await measure("client", lambda n: run_client(upstream, n), requests, connections)
    await measure("stream", lambda n: run_stream(upstream, n), requests // 10, connections)
    await upstream.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe()
    server = context.Process(target=run_server, args=(far, cores[-1]), daemon=True)
    server.start()
    os.sched_setaffinity(0, {cores[0]})
    factory = uvloop.new_event_loop if options.loop == "uvloop" else asyncio.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(run_all(near.recv(), options.requests, options.connections))
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
