"""What a noisy account costs a quiet one: first-token times at a provider that takes few calls.

The gateway lets only so many calls in at once. The quiet account asks for a tenth of its share,
which is half of what the provider can do; first alone, then beside an account that always has 50
times as many calls open as its share of the places. Who is refused comes again after the
``retry-after`` that it was told. Both are measured in turns, so that what else the machine does
falls on both, and the noisy account has two seconds to begin, in which the quiet one already
asks. ``bench.shape`` tells how long calls take.
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
from bench.report import (
    Spread,
    build_bars,
    build_table,
    date_line,
    judge,
    measure_busy,
    warn_if_busy,
)
from bench.server import KEY, WORK, write_trunkline
from bench.shape import SHAPES, TOKEN, Shape, Upstream

UPSTREAM_PORT, PORT = 9160, 9161
TIMES: Final = 50
"""How many times its share the noisy account has open."""
BAR: Final = 1.2
USAGE: Final = 0.1
"""What the quiet account asks for, of its share."""
PATH: Final = "/v4/completions"
SETTLE_S: Final = 2.0
_MARK: Final = b'"%b"' % TOKEN.encode()

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


@dataclass
class Findings:
    """What one account saw: first-token times in seconds, and calls that were refused."""

    first_s: list[float] = field(default_factory=list)
    refused: int = 0

    def find_percentile_ms(self, percent: int) -> float:
        """A percentile of the first-token times, in milliseconds."""
        return statistics.quantiles(self.first_s, n=100)[percent - 1] * 1000

    def add(self, other: "Findings") -> None:
        """Take in what was found at another time."""
        self.first_s += other.first_s
        self.refused += other.refused


@dataclass
class Pair:
    """One run alone and one beside the noisy account, and how busy the gateway was in each."""

    alone: Findings
    beside: Findings
    noise: Findings
    busy: tuple[float, float]

    @property
    def ratio(self) -> float:
        """How much longer the 95th percentile is beside the noisy account."""
        return self.beside.find_percentile_ms(95) / self.alone.find_percentile_ms(95)


class Caller:
    """One connection of an account to the gateway."""

    def __init__(self, account: str, findings: Findings) -> None:
        body = json.dumps({"model": "model", "prompt": "Hi", "stream": True}).encode()
        self._request = (
            f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n"
            f"x-selected-account-id: {account}\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body
        self.findings = findings
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def call(self) -> float:
        """Make one call; returns how long to wait before the next, in seconds."""
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", PORT)
        began = time.perf_counter()
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        fields = dict(
            line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
        )
        if b"chunked" in fields.get(b"transfer-encoding", b""):
            await self._read_stream(began)
        else:
            await self._reader.readexactly(int(fields[b"content-length"]))
        if head.startswith(b"HTTP/1.1 200"):
            return 0
        if not head.startswith(b"HTTP/1.1 503"):
            raise BenchError(f"an answer that is neither 200 nor 503: {head!r}")
        self.findings.refused += 1
        return float(fields[b"retry-after"])

    async def _read_stream(self, began: float) -> None:
        """Read all chunks; the head, and comments, may come before there is a token."""
        assert self._reader is not None
        is_first = True
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            chunk = await self._reader.readexactly(size + 2)
            if is_first and _MARK in chunk:
                self.findings.first_s.append(time.perf_counter() - began)
                is_first = False
        await self._reader.readuntil(b"\r\n")
        if is_first:
            raise BenchError("a stream without a token")

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


async def ask_by_rate(account: str, gaps_s: list[float], skip_s: float) -> Findings:
    """Calls after these gaps, however long those before take; those to skip are not kept."""
    begun, kept, idle = Findings(), Findings(), list[Caller]()

    async def ask_once() -> None:
        is_kept = time.perf_counter() - began >= skip_s
        caller = idle.pop() if idle else Caller(account, begun)
        caller.findings = kept if is_kept else begun
        await caller.call()
        idle.append(caller)

    began = at_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for gap_s in gaps_s:
            at_s += gap_s
            await asyncio.sleep(max(at_s - time.perf_counter(), 0))
            group.create_task(ask_once())
    for caller in idle:
        caller.close()
    return kept


def plan_gaps(shape: Shape, options: argparse.Namespace, number: int) -> list[float]:
    """The gaps between the quiet account's calls, the same ones alone and beside."""
    chance = random.Random(number)
    every_s = shape.whole_s / (options.concurrent / 2 * USAGE)
    count = round((options.seconds + SETTLE_S) / every_s)
    return [every_s if shape.is_steady else chance.expovariate(1 / every_s) for _ in range(count)]


async def compare(shape: Shape, options: argparse.Namespace, child: Child) -> list[Pair]:
    """The quiet account alone and beside the noisy one, in turns."""
    loop, chance = asyncio.get_running_loop(), random.Random(1)
    server = await loop.create_server(
        lambda: Upstream(shape, chance), "127.0.0.1", UPSTREAM_PORT, backlog=1024
    )
    body = json.dumps({"model": "model", "prompt": "Hi"}).encode()
    headers = {"content-type": "application/json", "x-api-key": KEY}
    await asyncio.to_thread(wait_for, child, f"http://127.0.0.1:{PORT}{PATH}", body, headers)
    pairs = []
    for number in range(options.pairs):
        gaps_s = plan_gaps(shape, options, number)
        marks = [(time.perf_counter(), child.read_cpu_ns())]
        alone = await ask_by_rate("quiet", gaps_s, SETTLE_S)
        marks.append((time.perf_counter(), child.read_cpu_ns()))
        noise = Findings()
        offset_s = SETTLE_S / 2 if shape.sigma else 0.0
        noisy = [
            loop.create_task(ask_always("noisy", noise, chance.uniform(0, offset_s)))
            for _ in range(TIMES * options.concurrent // 2)
        ]
        beside = await ask_by_rate("quiet", gaps_s, SETTLE_S)
        marks.append((time.perf_counter(), child.read_cpu_ns()))
        for task in noisy:
            task.cancel()
        await asyncio.gather(*noisy, return_exceptions=True)
        await asyncio.sleep(SETTLE_S / 2)
        first, second, third = marks
        busy = (measure_share(first, second), measure_share(second, third))
        pairs.append(Pair(alone, beside, noise, busy))
    server.close()
    return pairs


def measure_share(before: tuple[float, int], after: tuple[float, int]) -> float:
    """How much of a core was used between two marks of the time and the CPU time."""
    return (after[1] - before[1]) / 1e9 / (after[0] - before[0])


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


def show(name: str, pairs: list[Pair], run_s: float) -> list[str]:
    """A row of the table: medians of all pairs, and the least and most of the ratio."""
    count = len(pairs)
    served = sum(len(pair.noise.first_s) for pair in pairs)
    refused = sum(pair.noise.refused for pair in pairs)
    alone, beside = Findings(), Findings()
    for pair in pairs:
        alone.add(pair.alone)
        beside.add(pair.beside)
    pooled = beside.find_percentile_ms(95) / alone.find_percentile_ms(95)
    if beside.refused:
        raise BenchError(f"{beside.refused} calls of the quiet account were refused")
    return [
        name,
        *(
            f"{statistics.median(p.alone.find_percentile_ms(at) for p in pairs):.1f}"
            for at in (50, 95)
        ),
        *(
            f"{statistics.median(p.beside.find_percentile_ms(at) for p in pairs):.1f}"
            for at in (50, 95)
        ),
        Spread.of([pair.ratio for pair in pairs]).show(2),
        f"{pooled:.2f}",
        f"{served / count / run_s:.0f}",
        f"{refused / count / run_s:.0f}",
        " / ".join(f"{statistics.median(pair.busy[at] for pair in pairs):.0%}" for at in (0, 1)),
    ]


HEAD: Final = [
    "calls",
    "alone p50, ms",
    "p95",
    "beside p50, ms",
    "p95",
    "p95, beside / alone, by pair",
    "of all calls",
    "noisy calls a second",
    "refused a second",
    "gateway's CPU, alone / beside",
]


def go_first() -> bool:
    """Have this process and its children run before all other work, if the system allows it.

    What waits for a core waits in no gate, and a tenth of a second of that hides what is measured.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    return True


def main() -> int:
    """Measure and print; returns 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, prog="bench.fairness")
    parser.add_argument("shapes", nargs="*", help=f"of {', '.join(SHAPES)}; all unless said")
    parser.add_argument("--pairs", type=int, default=5, help="runs alone and beside, in turns")
    parser.add_argument("--seconds", type=float, default=15, help="each run")
    parser.add_argument("--concurrent", type=int, default=16, help="calls at once at the provider")
    parser.add_argument("--core", type=int, default=0, help="the gateway's core")
    options = parser.parse_args()
    stop_when_asked()
    WORK.mkdir(exist_ok=True)
    busy = measure_busy()
    is_first = go_first()
    if not is_first:
        warn_if_busy(busy)
    os.sched_setaffinity(0, set(os.sched_getaffinity(0)) - {options.core})
    found = {}
    for name in options.shapes or SHAPES:
        with serve(options) as child:
            found[name] = asyncio.run(compare(SHAPES[name], options, child))
        print(f"{name}: {', '.join(f'{pair.ratio:.2f}' for pair in found[name])}", file=sys.stderr)
    run_s = options.seconds + SETTLE_S
    order = "before" if is_first else "beside"
    releases = [f"trunkline {version('trunkline')}", f"scheduled {order} that other work"]
    print(date_line(releases, busy))
    print(build_table(HEAD, [show(name, pairs, run_s) for name, pairs in found.items()]))
    ratios = {name: statistics.median(p.ratio for p in pairs) for name, pairs in found.items()}
    print(
        build_bars(
            [
                judge(f"{name}: p95 of the first token, beside / alone", ratio, BAR)
                for name, ratio in ratios.items()
            ]
        )
    )
    return 0 if max(ratios.values()) < BAR else 1


if __name__ == "__main__":
    sys.exit(main())
