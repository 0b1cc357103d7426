"""Tokens a second of the embedded engine, asked directly and through the gateway, in turns.

Both ways ask the same engine process, so that nothing but the gateway is between the two numbers.
"""

import argparse
import asyncio
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from urllib.parse import urlsplit

import uvloop
from bench.load import write_request
from bench.process import BenchError, run_child, stop_when_asked, wait_for
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
from bench.server import KEY, WORK

from trunkline.engines.model import ModelError, find_model, pull_model
from trunkline.engines.process import EngineError, EngineProcess, EngineSpec

PORT = 9160
SLOTS = 4
MODEL = "smollm2-135m-instruct"
QUESTION = "Tell me the long story of a lighthouse keeper and her ship."
LEAST_TOKENS = 32
RATIO_BAR = 0.97
START_LIMIT_S = 120.0
TOKENS = re.compile(rb'"completion_tokens": ?(\d+)')


@dataclass(frozen=True)
class Way:
    """One way to the engine: where to ask, and as whom."""

    name: str
    url: str
    key: str


@dataclass
class Series:
    """Tokens a second by way, one number a round, for one number of parallel streams."""

    streams: int
    rates: dict[str, list[float]] = field(default_factory=dict)


def write_body(model: str, max_tokens: int) -> bytes:
    """Return a request for a stream that says at its end how many tokens it was."""
    return (
        f'{{"model":"{model}","messages":[{{"role":"user","content":"{QUESTION}"}}],'
        f'"max_tokens":{max_tokens},"temperature":0,"stream":true,'
        '"stream_options":{"include_usage":true}}'
    ).encode()


async def ask(way: Way, model: str, max_tokens: int) -> int:
    """Read one stream to its end and return its tokens as the engine counted them."""
    headers = {"content-type": "application/json", "connection": "close"}
    headers["authorization"] = f"Bearer {way.key}"
    parts = urlsplit(way.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(write_request(way.url, write_body(model, max_tokens), headers))
        answer = await reader.read()
    finally:
        writer.close()
    counts = TOKENS.findall(answer)
    if not answer.startswith(b"HTTP/1.1 200 ") or not counts or int(counts[-1]) < LEAST_TOKENS:
        raise BenchError(f"{way.name}: wrong answer {answer[:500]!r} ... {answer[-300:]!r}")
    return int(counts[-1])


async def measure_rate(way: Way, model: str, streams: int, max_tokens: int) -> float:
    """Return the tokens a second of so many streams together, prompts included in the time."""
    started = time.perf_counter()
    counts = await asyncio.gather(*(ask(way, model, max_tokens) for _ in range(streams)))
    return sum(counts) / (time.perf_counter() - started)


@contextmanager
def run_engine(name: str) -> Iterator[tuple[EngineProcess, str]]:
    """Start the engine as the gateway would, and give it with the alias of its model."""
    pull_model(name, WORK)
    model = find_model(name, WORK)
    engine = EngineProcess(EngineSpec("bench", model.path, model.alias), WORK / "engine.log")
    engine.start()
    try:
        engine.wait_ready(START_LIMIT_S)
        yield engine, model.alias
    finally:
        engine.stop()


@contextmanager
def open_ways(name: str) -> Iterator[tuple[list[Way], str]]:
    """Start engine and gateway, and give both ways with the model's alias, which both know."""
    with run_engine(name) as (engine, alias):
        folder = WORK / "trunkline-engine"
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "bench.engine_gateway", str(folder)]
        command += [engine.address, alias, str(PORT)]
        env = {
            "TRUNKLINE_BOOTSTRAP_KEY": KEY,
            "TRUNKLINE_DATA_DIR": str(folder),
            "BENCH_ENGINE_KEY": engine.key,
        }
        with run_child("trunkline-engine", command, PORT, WORK, env=env) as child:
            wait_for(child, f"http://127.0.0.1:{PORT}/readyz")
            path = "/v1/chat/completions"
            bare = Way("engine alone", engine.address + path, engine.key)
            yield [bare, Way("through the gateway", f"http://127.0.0.1:{PORT}{path}", KEY)], alias


async def measure(ways: list[Way], model: str, rounds: int, max_tokens: int) -> list[Series]:
    """Ask both ways in turns, alone and with all slots busy; each round swaps who is first."""
    all_series = [Series(1), Series(SLOTS)]
    for way in ways:
        await measure_rate(way, model, SLOTS, max_tokens)
    for turn in range(rounds):
        for series in all_series:
            for way in ways if turn % 2 == 0 else reversed(ways):
                rate = await measure_rate(way, model, series.streams, max_tokens)
                series.rates.setdefault(way.name, []).append(rate)
                print(f"round {turn + 1}, {series.streams}: {way.name} {rate:.1f}", flush=True)
    return all_series


def build_report(all_series: list[Series], model: str, busy: float) -> str:
    """Return the section of the page."""
    rows, bars = [], []
    for series in all_series:
        bare, through = series.rates.values()
        ratio = Spread.of([b / a for a, b in zip(bare, through, strict=True)])
        streams = "1 stream" if series.streams == 1 else f"{series.streams} streams"
        rows.append([streams, Spread.of(bare).show(), Spread.of(through).show(), ratio.show(3)])
        bars.append(judge(f"speed kept, {streams}", ratio.median, RATIO_BAR, least=True))
    head = ["parallel", "engine alone, tokens/s", "through the gateway, tokens/s", "ratio"]
    releases = [f"trunkline {version('trunkline')}", f"xllamacpp {version('xllamacpp')}", model]
    return "\n\n".join(
        [
            date_line(releases, busy),
            f"Medians of {len(bare)} interleaved rounds (smallest to largest).",
            build_table(head, rows),
            build_bars(bars),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--max-tokens", type=int, default=192)
    parser.add_argument("--model", default=MODEL, help="as `trunkline models pull` takes it")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    arguments = parser.parse_args()
    stop_when_asked()
    WORK.mkdir(exist_ok=True)
    try:
        busy = measure_busy()
        warn_if_busy(busy)
        with open_ways(arguments.model) as (ways, alias):
            found = uvloop.run(measure(ways, alias, arguments.rounds, arguments.max_tokens))
    except (BenchError, EngineError, ModelError) as error:
        print(error, file=sys.stderr)
        return 1
    report = build_report(found, alias, busy)
    print(report)
    if arguments.write:
        write_section("engine", report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
