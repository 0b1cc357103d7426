"""Soaks a real gateway: streams and whole answers, faults, slow readers, clients that leave.

    python -m bench.soak --minutes 30

Every 30 seconds it prints memory, descriptors, sockets and tasks of the gateway. At the end the
load stops and it judges: the memory of the last third is within 5 % of the second third's, and
descriptors and tasks are back where they were before the load.
"""

import argparse
import asyncio
import json
import random
import socket
import statistics
import struct
import sys
import time
import urllib.request
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from bench.lab_process import Laboratory, run_laboratory
from bench.process import read_rss_bytes

from trunkline.chaos.answer import AnswerReader
from trunkline.chaos.caller import Question, write_request
from trunkline.chaos.heard import DOORS, read_heard
from trunkline.chaos.verdict import is_complete

EVERY_S = 30.0
CALLERS = 24
SETTLE_S = 15.0
WARM_CALLS = 200
PATIENCE_S = 30.0
MODELS = ("model", "model", "calm", "calm", "alone", "long")
NEVER = ("HANG", "BROKEN", "CUT", "internal_error")
MEMORY_MARGIN = 0.05
SPARE_DESCRIPTORS = 24
"""Connections to upstreams that wait for the next call, and what the database keeps open."""


@dataclass(frozen=True)
class Reading:
    """The gateway at one moment."""

    at_s: float
    rss_bytes: int
    descriptors: int
    sockets: int
    tasks: int
    calls: int

    def write(self) -> str:
        """One line."""
        return (
            f"{self.at_s:7.0f} s  RSS {self.rss_bytes / 1e6:7.1f} MB  "
            f"fds {self.descriptors:4}  sockets {self.sockets:4}  tasks {self.tasks:4}  "
            f"calls {self.calls}"
        )


class Soaker:
    """Clients of every manner; ``seen`` counts how their calls ended."""

    def __init__(self, laboratory: Laboratory, rate: float, seed: int) -> None:
        self.seen: Counter[str] = Counter()
        self._gateway = laboratory.gateway
        self._rate = rate
        self._chance = random.Random(seed)

    async def run(self, until_s: float) -> None:
        """Call until then, by the monotonic clock."""
        await asyncio.gather(*(self._call_on(until_s) for _ in range(CALLERS)))

    async def call_once(self, model: str, manner: str) -> None:
        """Ask once, and be a client of this manner."""
        chance = self._chance
        question = Question(chance.choice(DOORS), model, chance.random() < 0.7)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._gateway.port)
        answer = AnswerReader()
        outcome = manner
        try:
            writer.write(write_request(self._gateway.port, self._gateway.key, question))
            async with asyncio.timeout(PATIENCE_S):
                await self._listen(reader, answer, manner)
        except TimeoutError:
            outcome = "HANG"
        except OSError:
            outcome = "reset"
        else:
            if not manner.startswith("leaves"):
                heard = read_heard(answer, question.door)
                outcome = "complete" if is_complete(heard) else heard.code or "CUT"
                outcome = "BROKEN" if heard.fault else outcome
        finally:
            if manner == "leaves rudely":
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
            writer.transport.abort()
        self.seen[outcome] += 1

    async def _call_on(self, until_s: float) -> None:
        manners = ["stays"] * 14 + ["leaves", "leaves rudely", "leaves early", "reads slowly"]
        while (now_s := time.monotonic()) < until_s:
            model, manner = self._chance.choice(MODELS), self._chance.choice(manners)
            await self.call_once(model, manner)
            spent_s = time.monotonic() - now_s
            await asyncio.sleep(max(0.0, CALLERS / self._rate - spent_s))

    async def _listen(
        self, reader: asyncio.StreamReader, answer: AnswerReader, manner: str
    ) -> None:
        if manner == "leaves early":
            await asyncio.sleep(self._chance.random() / 20)
            return
        left = self._chance.randint(1, 20_000) if manner.startswith("leaves") else 1 << 40
        size, pause_s = (2048, 0.01) if manner == "reads slowly" else (65536, 0.0)
        while left > 0 and not answer.is_over:
            data = await reader.read(min(size, left))
            left -= len(data)
            if not data:
                answer.close()
                return
            answer.feed(data)
            if pause_s:
                await asyncio.sleep(pause_s)


def read_gateway(laboratory: Laboratory, at_s: float, calls: int) -> Reading:
    """Look at the gateway's process."""
    pid = laboratory.gateway.pid
    links = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except OSError:
            continue  # closed while we looked
    sockets = sum(link.startswith("socket:") for link in links)
    return Reading(at_s, read_rss_bytes(pid), len(links), sockets, count_tasks(laboratory), calls)


def count_tasks(laboratory: Laboratory) -> int:
    """The tasks of its event loop, as its metrics tell."""
    url = f"http://127.0.0.1:{laboratory.gateway.port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("trunkline_tasks"):
                return int(float(line.rsplit(" ", 1)[1]))
    return -1


async def soak(arguments: argparse.Namespace) -> tuple[list[Reading], Counter[str]]:
    """Soak and read; the first reading is before the load, the last after it."""
    words = ["--share", "0.3", "--seed", str(arguments.seed), "--pace-s", "0.002"]
    async with run_laboratory(words, wait_s=2) as laboratory:
        soaker = Soaker(laboratory, arguments.rate, arguments.seed)
        for _ in range(WARM_CALLS):
            await soaker.call_once("calm", "stays")
        await asyncio.sleep(SETTLE_S)
        started_s = time.monotonic()
        readings = [await asyncio.to_thread(read_gateway, laboratory, 0.0, 0)]
        print(readings[0].write(), flush=True)
        end_s = started_s + arguments.minutes * 60
        load = asyncio.create_task(soaker.run(end_s))
        while not load.done():
            await asyncio.wait((load,), timeout=EVERY_S)
            at_s, calls = time.monotonic() - started_s, soaker.seen.total()
            readings.append(await asyncio.to_thread(read_gateway, laboratory, at_s, calls))
            print(readings[-1].write(), dict(soaker.seen), flush=True)
        await load
        await asyncio.sleep(SETTLE_S)
        at_s, calls = time.monotonic() - started_s, soaker.seen.total()
        readings.append(await asyncio.to_thread(read_gateway, laboratory, at_s, calls))
        print(readings[-1].write(), flush=True)
    return readings, soaker.seen


def judge(readings: list[Reading], seen: Counter[str]) -> list[str]:
    """What is wrong, one sentence each."""
    before, *during, after = readings
    third = len(during) // 3
    faults = []
    if third:
        second = statistics.median(each.rss_bytes for each in during[third : 2 * third])
        last = statistics.median(each.rss_bytes for each in during[2 * third :])
        print(f"memory: second third {second / 1e6:.1f} MB, last third {last / 1e6:.1f} MB")
        if last > second * (1 + MEMORY_MARGIN):
            faults.append(f"memory grew by {100 * (last / second - 1):.1f} %")
    if after.descriptors > before.descriptors + SPARE_DESCRIPTORS:
        faults.append(f"descriptors: {before.descriptors} before, {after.descriptors} after")
    if after.tasks > before.tasks:
        faults.append(f"tasks: {before.tasks} before, {after.tasks} after")
    faults += [
        f"{seen[name]} calls ended as {name}"
        for name in ("HANG", "BROKEN", "CUT", "internal_error")
        if seen[name]
    ]
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description="Soak a gateway.")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=40, help="calls a second at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    readings, seen = uvloop.run(soak(arguments))
    faults = judge(readings, seen)
    if arguments.json:
        rows = [asdict(reading) for reading in readings]
        arguments.json.write_text(json.dumps({"readings": rows, "seen": seen, "faults": faults}))
    print("\n".join(faults) or "good")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
