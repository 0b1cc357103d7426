"""Measures failover: two targets, of which the first fails in every way before content.

    python -m bench.failover [--calls 10000] [--rate 200] [--never-open]

Every call must succeed. Printed are how long calls take beside those to a target that is well, and
how many attempts a call needs once the first target's circuit has opened. With `--never-open` it
never does, so that every call meets a fault first. `--json FILE` keeps the figures.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvloop
from bench.lab_process import Laboratory, run_laboratory

from trunkline.chaos.caller import Question, ask
from trunkline.chaos.heard import DOORS, Heard
from trunkline.chaos.verdict import is_complete

CALLERS = 32
PATIENCE_S = 20.0
WAIT_S = CONNECT_S = 1.0
WARM_CALLS = 200


@dataclass
class Run:
    """What came of many calls; times are seconds."""

    calls: int = 0
    failures: list[str] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    targets: Counter[str] = field(default_factory=Counter)

    def note(self, heard: Heard) -> None:
        """Count one call."""
        self.calls += 1
        if not is_complete(heard) or heard.fault or not heard.text or not heard.finish_reason:
            self.failures.append(f"{heard.status} {heard.code} {heard.fault}".strip())
            return
        self.times_s.append(heard.elapsed_s)
        self.attempts.append(int(heard.headers["x-trunkline-attempts"]))
        self.targets[heard.headers["x-trunkline-target"]] += 1

    def find_share(self, share: float) -> float:
        """The time that so many calls do not exceed, in milliseconds."""
        ranked = sorted(self.times_s)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))] * 1000

    def count_after_opening(self) -> float:
        """Attempts a call, from the first on that needed only one."""
        opened = next((at for at, count in enumerate(self.attempts) if count == 1), None)
        if opened is None:
            return float("inf")
        rest = self.attempts[opened:]
        return sum(rest) / len(rest)


async def drive(laboratory: Laboratory, model: str, calls: int, rate: float) -> Run:
    """Ask so often, at most ``rate`` times a second, through every door, streamed and not."""
    run, loop = Run(), asyncio.get_running_loop()
    gateway, started_s = laboratory.gateway, loop.time()
    numbers = iter(range(calls))

    async def call_on() -> None:
        for number in numbers:
            await asyncio.sleep(max(0.0, started_s + number / rate - loop.time()))
            question = Question(DOORS[number % 3], model, stream=number % 2 == 0)
            run.note(await ask(gateway.port, gateway.key, question, PATIENCE_S))

    await asyncio.gather(*(call_on() for _ in range(CALLERS)))
    return run


async def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """The figures of one run."""
    words = ["--before-content", "--seed", str(arguments.seed)]
    failures = 100_000 if arguments.never_open else 5
    if arguments.never_open:
        words.append("--no-aside")
    async with run_laboratory(words, wait_s=WAIT_S, failures=failures) as laboratory:
        await drive(laboratory, "calm", WARM_CALLS, arguments.rate)
        calm = await drive(laboratory, "calm", arguments.calls // 5, arguments.rate)
        failing = await drive(laboratory, "model", arguments.calls, arguments.rate)
    figures: dict[str, object] = {
        "calls": failing.calls,
        "failed": len(failing.failures),
        "what failed": dict(Counter(failing.failures)),
        "healthy calls that failed": len(calm.failures),
        "healthy p50_ms": round(calm.find_share(0.5), 2),
        "healthy p99_ms": round(calm.find_share(0.99), 2),
        "p50_ms": round(failing.find_share(0.5), 2),
        "p99_ms": round(failing.find_share(0.99), 2),
        "p90_ms": round(failing.find_share(0.9), 2),
        "longest_ms": round(failing.find_share(1), 2),
        "added p50_ms": round(failing.find_share(0.5) - calm.find_share(0.5), 2),
        "added p99_ms": round(failing.find_share(0.99) - calm.find_share(0.99), 2),
        "attempts a call": round(sum(failing.attempts) / max(1, len(failing.attempts)), 4),
        "attempts a call after the opening": round(failing.count_after_opening(), 4),
        "most attempts": max(failing.attempts, default=0),
        "answered by": dict(failing.targets),
    }
    return figures | {"run": asdict(failing) if arguments.raw else None}


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure failover.")
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=200, help="calls a second at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--never-open", action="store_true", help="so that each call meets a fault")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--raw", action="store_true", help="keep every time in the JSON")
    arguments = parser.parse_args()
    figures = uvloop.run(measure(arguments))
    for name, value in figures.items():
        if name != "run":
            print(f"{name:<36}{value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures))
    within = float(str(figures["added p99_ms"])) <= (WAIT_S + CONNECT_S) * 1000
    attempts = float(str(figures["attempts a call after the opening"]))
    is_good = not figures["failed"] and within and (arguments.never_open or attempts <= 1.2)
    print("good" if is_good else "BAD")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
