"""How soon the gateway answers, how much memory it holds idle, and how long `--help` takes."""

import argparse
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from bench.process import START_LIMIT_S, BenchError, Child, run_child, send, stop_when_asked
from bench.report import (
    Spread,
    build_bars,
    build_table,
    date_line,
    judge,
    measure_busy,
    warn_if_busy,
    write_section,
)
from bench.server import (
    MARK,
    WHOLE_PORT,
    WORK,
    build_body,
    describe_trunkline,
    find_tool,
    start_whole_upstream,
)

PORT = 9150
START_BAR_S, MEMORY_BAR_MB, HELP_BAR_S = 0.8, 80.0, 0.25
SETTLE_S = 0.5


@dataclass
class Findings:
    """What the rounds measured, in seconds and in megabytes (10**6 bytes)."""

    fresh_s: list[float] = field(default_factory=list)
    existing_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    help_s: list[float] = field(default_factory=list)
    python_s: list[float] = field(default_factory=list)


def start_once(findings: list[float], *, fresh: bool) -> float:
    """Start the gateway, note the time to the first answer, return its memory in megabytes."""
    server = describe_trunkline(WHOLE_PORT, PORT, fresh=fresh)
    route = server.routes[0]
    url = f"http://127.0.0.1:{PORT}{route.path}"
    body = build_body(route, server.model, stream=False)
    headers = {"content-type": "application/json", **server.headers}
    started = time.perf_counter()
    with run_child("start", server.command, PORT, WORK, env=server.env) as child:
        await_answer(child, url, body, headers)
        findings.append(time.perf_counter() - started)
        time.sleep(SETTLE_S)
        return child.read_rss_bytes() / 1e6


def await_answer(child: Child, url: str, body: bytes, headers: dict[str, str]) -> None:
    """Ask again and again without a pause worth mentioning, until the mock's answer comes."""
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        try:
            status, answer = send(url, body, headers)
        except OSError:
            time.sleep(0.002)
            continue
        if status == 200 and MARK.encode() in answer:
            return
        raise child.fail(f"first answer is {status} {answer[:300]!r}")
    raise child.fail("no answer")


def time_command(command: list[str]) -> float:
    """Return the wall time of one run of a command, in seconds."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def measure(rounds: int) -> Findings:
    """Run every measurement in turn, round by round."""
    findings = Findings()
    program = str(Path(sys.executable).with_name("trunkline"))
    with ExitStack() as stack:
        start_whole_upstream(stack)
        for turn in range(rounds):
            start_once(findings.fresh_s, fresh=True)
            findings.memory_mb.append(start_once(findings.existing_s, fresh=False))
            findings.help_s.append(time_command([program, "--help"]))
            findings.python_s.append(time_command([sys.executable, "-c", "pass"]))
            print(
                f"round {turn + 1}: fresh {findings.fresh_s[-1]:.3f} s,"
                f" existing {findings.existing_s[-1]:.3f} s,"
                f" memory {findings.memory_mb[-1]:.1f} MB, help {findings.help_s[-1]:.3f} s",
                flush=True,
            )
    return findings


def build_report(findings: Findings, busy: float) -> str:
    """Return the section of the page."""
    fresh, existing = Spread.of(findings.fresh_s), Spread.of(findings.existing_s)
    memory, help_s = Spread.of(findings.memory_mb), Spread.of(findings.help_s)
    rows = [
        ["start to first answer, empty data directory, s", fresh.show(3)],
        ["start to first answer, used data directory, s", existing.show(3)],
        ["resident memory of one idle worker, MB", memory.show(1)],
        ["`trunkline --help`, s", help_s.show(3)],
        ["`python -c pass`, for comparison, s", Spread.of(findings.python_s).show(3)],
    ]
    bars = [
        judge("start, empty data directory", fresh.median, START_BAR_S, " s"),
        judge("start, used data directory", existing.median, START_BAR_S, " s"),
        judge("memory of one idle worker", memory.median, MEMORY_BAR_MB, " MB"),
        judge("`trunkline --help`", help_s.median, HELP_BAR_S, " s"),
    ]
    return "\n\n".join(
        [
            date_line([f"trunkline {version('trunkline')}"], busy),
            f"Medians of {len(findings.help_s)} rounds (smallest to largest).",
            build_table(["what", "measured"], rows),
            build_bars(bars),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    arguments = parser.parse_args()
    stop_when_asked()
    WORK.mkdir(exist_ok=True)
    try:
        find_tool("nginx")
        busy = measure_busy()
        warn_if_busy(busy)
        findings = measure(arguments.rounds)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    report = build_report(findings, busy)
    print(report)
    if arguments.write:
        write_section("start", report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
