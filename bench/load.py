"""The load: wrk for whole answers, a counting client of our own for streams."""

import argparse
import asyncio
import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import uvloop
from bench.process import BenchError
from bench.upstream import MARK

CONNECTIONS = 32
STREAM_END = b"0\r\n\r\n"
LAST_ANSWER_LIMIT_S = 30.0

# wrk calls done() once at the end: errors and counts come out as one line of JSON.
LUA_DONE = """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'BENCH {"requests":%d,"bytes":%d,"duration_us":%d,"errors":%d}\\n',
    summary.requests, summary.bytes, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Shot:
    """One request that the load repeats."""

    url: str
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class Load:
    """What one run of the load saw: answers, marks of chunks, reads, wire bytes and errors."""

    answers: int
    marks: int
    reads: int
    wire_bytes: int
    errors: int
    duration_s: float


def write_lua(shot: Shot, path: Path) -> None:
    """Write the wrk script that sends this request."""
    lines = ['wrk.method = "POST"', f"wrk.body = [==[{shot.body.decode()}]==]"]
    lines += [f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}" for k, v in shot.headers.items()]
    path.write_text("\n".join(lines) + LUA_DONE)


def run_wrk(shot: Shot, seconds: float, core: int, work: Path) -> Load:
    """Run wrk with keep-alive connections from one thread pinned to a core."""
    script = work / "shot.lua"
    write_lua(shot, script)
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{CONNECTIONS}"]
    command += [f"-d{seconds:.0f}s", "--timeout", "10s", "-s", str(script), shot.url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for line in output.splitlines():
        if line.startswith("BENCH "):
            seen = json.loads(line.removeprefix("BENCH "))
            return Load(
                answers=seen["requests"],
                marks=seen["requests"],
                reads=seen["requests"],
                wire_bytes=seen["bytes"],
                errors=seen["errors"],
                duration_s=seen["duration_us"] / 1e6,
            )
    raise BenchError(f"wrk printed no summary:\n{output}")


def run_streams(shot: Shot, seconds: float, core: int, work: Path) -> Load:
    """Run the counting stream client in a process of its own, pinned to a core."""
    order = work / "shot.json"
    order.write_text(
        json.dumps({"url": shot.url, "body": shot.body.decode(), "headers": shot.headers})
    )
    command = ["taskset", "-c", str(core), sys.executable, "-m", "bench.load", str(order)]
    done = subprocess.run(
        [*command, str(seconds)], check=True, capture_output=True, text=True, timeout=seconds + 60
    )
    return Load(**json.loads(done.stdout))


class StreamClient(asyncio.Protocol):
    """One connection that asks for a stream again as soon as the last one has ended."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.marks = self.answers = self.reads = self.wire_bytes = self.errors = 0
        self.received = bytearray()
        self.transport: asyncio.Transport
        self.stopping = False
        self.idle = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.ask()

    def ask(self) -> None:
        """Send the request once more."""
        self.idle.clear()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.reads += 1
        self.received += data
        if data.endswith(STREAM_END):
            self.close_answer(ended=True)
            if not self.stopping:
                self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self.stopping:
            self.errors += 1

    def close_answer(self, *, ended: bool) -> None:
        """Count the marks of the answer so far, and check a whole one."""
        answer = bytes(self.received)
        self.received.clear()
        self.idle.set()
        self.wire_bytes += len(answer)
        self.marks += answer.count(MARK)
        if ended:
            self.answers += 1
            if not answer.startswith(b"HTTP/1.1 200 ") or b'"stop"' not in answer:
                self.errors += 1


def write_request(url: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Return the request as it goes over the wire."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


async def count_streams(order: dict[str, object], seconds: float) -> Load:
    """Hold the connections open with streams for the given time and add up what was read."""
    url, body, headers = order["url"], order["body"], order["headers"]
    assert isinstance(url, str)
    assert isinstance(body, str)
    assert isinstance(headers, dict)
    parts = urlsplit(url)
    request = write_request(url, body.encode(), headers)
    loop = asyncio.get_running_loop()
    clients = [StreamClient(request) for _ in range(CONNECTIONS)]
    started = loop.time()
    for client in clients:
        await loop.create_connection(
            partial(lambda own: own, client), parts.hostname or "", parts.port or 80
        )
    await asyncio.sleep(seconds)
    # Let each connection finish the answer that it is reading: whole answers are checked.
    for client in clients:
        client.stopping = True
    last_answers = [client.idle.wait() for client in clients]
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*last_answers), LAST_ANSWER_LIMIT_S)
    duration_s = loop.time() - started
    for client in clients:
        if not client.idle.is_set():
            client.errors += 1
        client.transport.close()
    return Load(
        answers=sum(client.answers for client in clients),
        marks=sum(client.marks for client in clients),
        reads=sum(client.reads for client in clients),
        wire_bytes=sum(client.wire_bytes for client in clients),
        errors=sum(client.errors for client in clients),
        duration_s=duration_s,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the chunks of streams.")
    parser.add_argument("order", type=Path)
    parser.add_argument("seconds", type=float)
    arguments = parser.parse_args()
    order = json.loads(arguments.order.read_text())
    load = uvloop.run(count_streams(order, arguments.seconds))
    print(json.dumps(load.__dict__))


if __name__ == "__main__":
    main()
