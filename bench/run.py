"""CPU time a request and a streamed chunk, next to nginx and vllm-router in the same run.

The server under test has one core, the mock upstream and the load have another. Rounds go
A B C, A B C, ... so that whatever the machine does meanwhile meets all servers alike, and a ratio
is taken inside a round.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.load import Load, Shot, run_streams, run_wrk
from bench.process import BenchError, Child, send, stop_when_asked
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
    SERVERS,
    STREAM_PORT,
    WHOLE_PORT,
    WORK,
    Route,
    Server,
    build_body,
    find_tool,
    start_server,
    start_upstreams,
)
from bench.upstream import CHUNKS
from bench.upstream import MARK as CHUNK_MARK

RIVALS = ("vllm-router", "vllm-router, cheapest")
RATIO_BAR = 0.75
# Reads at the client per chunk: below this the chunks did not travel one by one.
LEAST_READS = 0.95
TRIES = 10


@dataclass
class Case:
    """One server asked in one way, and what each round measured."""

    server: Server
    route: Route
    child: Child
    shot: Shot
    wire_bytes: int
    marks: int
    cpu_us: list[float] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)


def build_case(server: Server, route: Route, child: Child, *, stream: bool) -> Case:
    """Ask once, check the answer, and keep its size to compare the load's answers with."""
    headers = {"content-type": "application/json", **server.headers}
    body = build_body(route, server.model, stream=stream)
    shot = Shot(f"http://127.0.0.1:{server.port}{route.path}", body, headers)
    status, answer = send(shot.url, shot.body, shot.headers)
    mark = CHUNK_MARK if stream else MARK.encode()
    # Some dialects say a chunk's text twice; wrk does not look into answers.
    marks = answer.count(mark) if stream else 1
    if status != 200 or mark not in answer or (stream and marks % CHUNKS):
        raise child.fail(f"wrong answer at {route.path}: {status} {answer[:500]!r}")
    return Case(server, route, child, shot, len(answer), marks)


def check_load(case: Case, load: Load, *, stream: bool) -> None:
    """Refuse a round in which anything but the right answers went over the wire."""
    if load.errors or not load.answers:
        raise case.child.fail(f"{load.errors} errors in {load.answers} answers")
    # wrk counts heads too, so an answer is at least the body and at most a large head more.
    if (
        not stream
        and not case.wire_bytes <= load.wire_bytes / load.answers <= case.wire_bytes + 2000
    ):
        raise case.child.fail(f"{load.wire_bytes} bytes in {load.answers} answers")


def measure(case: Case, seconds: float, core: int, *, stream: bool) -> None:
    """Load one server for a while and note its CPU time per answer or per chunk."""
    for _ in range(TRIES):
        before_ns = case.child.read_cpu_ns()
        load = (run_streams if stream else run_wrk)(case.shot, seconds, core, WORK)
        spent_ns = case.child.read_cpu_ns() - before_ns
        check_load(case, load, stream=stream)
        count = load.answers * (CHUNKS if stream else 1)
        # A mark that is missing was cut in two by a proxy that read several chunks at once.
        if load.marks == load.answers * case.marks and load.reads >= LEAST_READS * count:
            case.cpu_us.append(spent_ns / 1000 / count)
            case.loads.append(load)
            return
        print(f"{case.server.name}: again, {load.reads} reads for {count} chunks", flush=True)
    raise BenchError(
        "the chunks run together or are lost: use a quieter machine or a longer --tick-ms"
    )


def measure_all(arguments: argparse.Namespace, *, stream: bool) -> list[Case]:
    """Start every server, warm each up, measure in turns, stop them all."""
    kind, upstream, first = ("stream", STREAM_PORT, 9130) if stream else ("whole", WHOLE_PORT, 9110)
    with ExitStack() as stack:
        start_upstreams(stack, arguments.load_core, arguments.tick_ms)
        cases = []
        for port, name in enumerate(arguments.servers, first):
            server = SERVERS[name](upstream, port)
            child = start_server(stack, server, kind, arguments.server_core)
            cases += [build_case(server, r, child, stream=stream) for r in server.routes]
        for case in cases:
            measure(case, 1, arguments.load_core, stream=stream)
            case.cpu_us.clear()
            case.loads.clear()
        for turn in range(arguments.rounds):
            for case in cases:
                measure(case, arguments.seconds, arguments.load_core, stream=stream)
            print(
                f"{kind} round {turn + 1}: "
                + ", ".join(f"{c.server.name} {c.route.label} {c.cpu_us[-1]:.1f}" for c in cases),
                flush=True,
            )
    return cases


def find_ratio(case: Case, cases: Sequence[Case], name: str) -> Spread | None:
    """Return this case's CPU time over a rival's, round by round."""
    rival = next((other for other in cases if other.server.name == name), None)
    if rival is None:
        return None
    return Spread.of([a / b for a, b in zip(case.cpu_us, rival.cpu_us, strict=True)])


def build_rows(cases: Sequence[Case], *, stream: bool) -> list[list[str]]:
    """Return one table row a case."""
    rows = []
    for case in cases:
        ratios = [find_ratio(case, cases, name) for name in RIVALS]
        size = CHUNKS if stream else 1
        rate = Spread.of([load.answers * size / load.duration_s for load in case.loads])
        row = [f"{case.server.name}: {case.route.label}", Spread.of(case.cpu_us).show()]
        row += [ratio.show(2) if ratio else "" for ratio in ratios]
        row.append(f"{rate.median:,.0f}")
        if stream:
            chunks = sum(load.answers for load in case.loads) * CHUNKS
            row += [f"{sum(load.reads for load in case.loads) / chunks:.2f}"]
        rows.append(row)
    return rows


def build_report(whole: Sequence[Case], streams: Sequence[Case], busy: float) -> str:
    """Return the section of the page: both tables, the bars, date and machine."""
    releases = list(dict.fromkeys(case.server.release for case in whole))
    ratios = [f"ratio to {name}" for name in RIVALS]
    head = ["server: route", "CPU µs a request", *ratios, "requests a second"]
    stream_head = ["server: route", "CPU µs a chunk", *ratios, "chunks a second", "reads a chunk"]
    bars = []
    for cases, what in ((whole, "a request"), (streams, "a chunk")):
        for case in cases:
            for rival in RIVALS:
                found = find_ratio(case, cases, rival)
                if found and case.server.name == "trunkline":
                    name = f"CPU {what}, {case.route.label}, over {rival}"
                    bars.append(judge(name, found.median, RATIO_BAR))
    parts = [
        date_line(releases, busy),
        f"Medians of {len(whole[0].cpu_us)} interleaved rounds (smallest to largest).",
        "Whole answers:",
        build_table(head, build_rows(whole, stream=False)),
        "Streams:",
        build_table(stream_head, build_rows(streams, stream=True)),
    ]
    if bars:
        parts.append(build_bars(bars))
    return "\n\n".join(parts)


def parse_arguments() -> argparse.Namespace:
    """Read the command line; the first and last usable cores are the defaults."""
    cores = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="length of a turn, default 3")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 2 seconds")
    parser.add_argument("--servers", nargs="+", default=list(SERVERS), choices=list(SERVERS))
    parser.add_argument("--tick-ms", type=float, default=5, help="pause between two chunks")
    parser.add_argument("--server-core", type=int, default=cores[0])
    parser.add_argument("--load-core", type=int, default=cores[-1])
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 2, 2
    return arguments


def check_machine(arguments: argparse.Namespace) -> float:
    """Refuse to measure without a second core or the tools; return how busy the machine is."""
    if arguments.server_core == arguments.load_core:
        raise BenchError("two cores are needed: one for the server, one for the load")
    for tool in ("nginx", "wrk", "taskset"):
        find_tool(tool)
    busy = measure_busy()
    warn_if_busy(busy)
    return busy


def main() -> int:
    arguments = parse_arguments()
    stop_when_asked()
    WORK.mkdir(exist_ok=True)
    try:
        busy = check_machine(arguments)
        whole = measure_all(arguments, stream=False)
        streams = measure_all(arguments, stream=True)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    report = build_report(whole, streams, busy)
    print(report)
    if arguments.write:
        write_section("run", report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
