"""What a noisy account costs a quiet one: first-token times at a provider that takes few calls.

The upstream takes a set time for every call, and the gateway lets only so many in at once. The
quiet account asks at a steady rate, well under its share; first alone, then beside an account that
always has 50 times as many calls open as its share of the places. Who is refused comes again
after the ``retry-after`` that it was told.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final

from bench.process import BenchError, Child, run_child, stop_when_asked, wait_for
from bench.report import build_bars, build_table, date_line, judge, measure_busy, warn_if_busy
from bench.server import KEY, WORK, write_trunkline

UPSTREAM_PORT, PORT = 9160, 9161
TIMES: Final = 50
"""How many times its share the noisy account has open."""
BAR: Final = 1.2
JITTER: Final = 0.1
"""Calls take this much more or less than the set time, as real ones do; else all end at once."""
PATH: Final = "/v4/completions"
WARM_S: Final = 1.0
SPREAD: Final = 40

CONFIG = """
[providers.lab]
wire = "openai"
base_url = "http://127.0.0.1:{upstream}/v1"
concurrent = {concurrent}

[models.model]
targets = [{{ provider = "lab", model = "m" }}]

[routing]
retries = 0
"""
_CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


@dataclass
class Findings:
    """What one account saw: first-token times in seconds, and calls that were refused."""

    first_s: list[float] = field(default_factory=list)
    refused: int = 0

    def find_percentile_ms(self, percent: int) -> float:
        """A percentile of the first-token times, in milliseconds."""
        return statistics.quantiles(self.first_s, n=100)[percent - 1] * 1000


class Upstream(asyncio.Protocol):
    """Answers every request with a short stream when its time has passed."""

    def __init__(self, service_s: float, chance: random.Random) -> None:
        self._service_s = service_s
        self._chance = chance
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Read one request whole; there is never a second behind it."""
        self._data += data
        head, blank, body = self._data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        if blank and len(body) >= length:
            self._data = b""
            took_s = self._service_s * self._chance.uniform(1 - JITTER, 1 + JITTER)
            is_stream = b'"stream":true' in body.replace(b" ", b"")
            asyncio.get_running_loop().call_later(took_s, self._answer, is_stream)

    def _answer(self, is_stream: bool) -> None:
        if self._transport.is_closing():
            return
        if is_stream:
            frames = b"".join(
                b"data: %b\n\n" % json.dumps({**_CHUNK, "choices": [choice]}).encode()
                for choice in (
                    {"index": 0, "delta": {"role": "assistant", "content": "Hi"}},
                    {"index": 0, "delta": {}, "finish_reason": "stop"},
                )
            )
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            body = frames + b"data: [DONE]\n\n"
        else:
            message = {"role": "assistant", "content": "Hi"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            whole = {**_CHUNK, "object": "chat.completion", "choices": [choice]}
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
            body = json.dumps(whole).encode()
        self._transport.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)


class Caller:
    """One connection of an account to the gateway."""

    def __init__(self, account: str, findings: Findings) -> None:
        body = json.dumps({"model": "model", "prompt": "Hi", "stream": True}).encode()
        self._request = (
            f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n"
            f"x-selected-account-id: {account}\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._findings = findings
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def call(self) -> float:
        """Make one call; returns how long to wait before the next, in seconds."""
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", PORT)
        began = time.perf_counter()
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        first_s = time.perf_counter() - began
        fields = dict(
            line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
        )
        if b"chunked" in fields.get(b"transfer-encoding", b""):
            while (await self._reader.readuntil(b"\r\n")) != b"0\r\n":
                pass
            await self._reader.readuntil(b"\r\n")
        else:
            await self._reader.readexactly(int(fields[b"content-length"]))
        if head.startswith(b"HTTP/1.1 200"):
            self._findings.first_s.append(first_s)
            return 0
        if not head.startswith(b"HTTP/1.1 503"):
            raise BenchError(f"an answer that is neither 200 nor 503: {head!r}")
        self._findings.refused += 1
        return float(fields[b"retry-after"])

    def close(self) -> None:
        """Leave."""
        if self._writer is not None:
            self._writer.close()


async def ask_always(account: str, findings: Findings, offset_s: float) -> None:
    """A caller that is never content."""
    caller = Caller(account, findings)
    try:
        wait_s = offset_s
        while True:
            await asyncio.sleep(wait_s)
            wait_s = await caller.call()
    finally:
        caller.close()


async def ask_steadily(account: str, every_s: float, run_s: float) -> Findings:
    """Calls at a steady rate, each by itself, however long those before take."""
    findings, idle = Findings(), list[Caller]()

    async def ask_once() -> None:
        caller = idle.pop() if idle else Caller(account, findings)
        await caller.call()
        idle.append(caller)

    began, number = time.perf_counter(), 0
    async with asyncio.TaskGroup() as group:
        while (left_s := began + number * every_s - time.perf_counter()) < run_s:
            if number * every_s > run_s:
                break
            await asyncio.sleep(max(left_s, 0))
            group.create_task(ask_once())
            number += 1
    for caller in idle:
        caller.close()
    return findings


async def compare(options: argparse.Namespace, child: Child) -> tuple[Findings, Findings, Findings]:
    """The quiet account alone, and beside the noisy one, whose findings come last."""
    service_s, chance = options.service_ms / 1000, random.Random(1)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Upstream(service_s, chance), "127.0.0.1", UPSTREAM_PORT, backlog=1024
    )
    body = json.dumps({"model": "model", "prompt": "Hi"}).encode()
    headers = {"content-type": "application/json", "x-api-key": KEY}
    await asyncio.to_thread(wait_for, child, f"http://127.0.0.1:{PORT}{PATH}", body, headers)
    # A tenth of its share, which is half of what the provider can do.
    every_s = service_s / (options.concurrent / 2 * 0.1)
    run_s = options.seconds / 2
    alone = await ask_steadily("quiet", every_s, run_s)
    noise = Findings()
    count = TIMES * options.concurrent // 2
    noisy = [
        loop.create_task(ask_always("noisy", noise, chance.uniform(0, WARM_S)))
        for _ in range(count)
    ]
    # Calls that began at once end at once; it takes a while until they are spread out.
    await asyncio.sleep(2 * WARM_S + SPREAD * service_s)
    beside = await ask_steadily("quiet", every_s, run_s)
    for task in noisy:
        task.cancel()
    await asyncio.gather(*noisy, return_exceptions=True)
    server.close()
    return alone, beside, noise


@contextlib.contextmanager
def serve(options: argparse.Namespace) -> Iterator[Child]:
    """The gateway with both accounts, on a core of its own."""
    folder = WORK / "fairness"
    shutil.rmtree(folder, ignore_errors=True)
    text = CONFIG.format(upstream=UPSTREAM_PORT, concurrent=options.concurrent)
    command = write_trunkline(folder, text, PORT)
    env = {"TRUNKLINE_BOOTSTRAP_KEY": KEY, "TRUNKLINE_DATA_DIR": str(folder)}
    for account in ("quiet", "noisy"):
        create = [command[0], "accounts", "create", account]
        subprocess.run(create, check=True, env={**os.environ, **env}, stderr=subprocess.DEVNULL)
    with run_child("fairness", command, PORT, WORK, core=options.core, env=env) as child:
        yield child


def show(name: str, found: Findings, run_s: float) -> list[str]:
    """A row of the table."""
    rate = len(found.first_s) / run_s
    figures = [f"{found.find_percentile_ms(percent):.1f}" for percent in (50, 95)]
    return [name, *figures, f"{rate:.0f}", str(found.refused)]


def main() -> int:
    """Measure and print; returns 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, prog="bench.fairness")
    parser.add_argument("--seconds", type=float, default=30, help="both runs together")
    parser.add_argument("--concurrent", type=int, default=16, help="calls at once at the provider")
    parser.add_argument("--service-ms", type=float, default=50, help="what a call takes there")
    parser.add_argument("--core", type=int, default=0, help="the gateway's core")
    options = parser.parse_args()
    stop_when_asked()
    WORK.mkdir(exist_ok=True)
    busy = measure_busy()
    warn_if_busy(busy)
    os.sched_setaffinity(0, set(os.sched_getaffinity(0)) - {options.core})
    with serve(options) as child:
        alone, beside, noise = asyncio.run(compare(options, child))
    run_s = options.seconds / 2
    ratio = beside.find_percentile_ms(95) / alone.find_percentile_ms(95)
    print(date_line([f"trunkline {version('trunkline')}"], busy))
    print(
        build_table(
            ["account", "p50, ms", "p95, ms", "calls a second", "refused"],
            [
                show("quiet, alone", alone, run_s),
                show(f"quiet, beside {TIMES} times its share", beside, run_s),
                show("noisy", noise, run_s + 2 * WARM_S + SPREAD * options.service_ms / 1000),
            ],
        )
    )
    print(build_bars([judge("p95 of the first token, beside / alone", ratio, BAR)]))
    return 0 if ratio <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
