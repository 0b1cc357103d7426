"""Plays `trunkline chaos` against bench/reliability.toml and writes docs/reliability.md's tables.

    python -m bench.reliability [--write] [--failover FILE] [--soak FILE]

The files are what `bench.failover --json` and `bench.soak --json` kept.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop
from bench.report import build_table, date_line, write_section

from trunkline import __version__
from trunkline.catalog import read_catalog
from trunkline.chaos.configuration import read_configuration
from trunkline.chaos.drill import Result, play
from trunkline.chaos.rehearsal import make_rehearsal
from trunkline.chaos.report import write_result, write_table
from trunkline.chaos.scenario import list_scenarios
from trunkline.chaos.verdict import sort_by
from trunkline.mock import FAULTS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reliability.md"
CONFIG = ROOT / "bench" / "reliability.toml"
CHAIN = "chain"


def play_all() -> list[Result]:
    """Every scenario of the configuration."""
    catalog = read_catalog()
    rehearsal = make_rehearsal(read_configuration(CONFIG, catalog), catalog)
    scenarios = list_scenarios(rehearsal.lines, list(FAULTS))
    return uvloop.run(play(rehearsal, scenarios, tell_if_wrong))


def tell_if_wrong(result: Result) -> None:
    if result.verdict.judgement == "wrong":
        print(write_result(result), end="")


def write_counts(results: Sequence[Result]) -> str:
    """How often each judgement was passed on each public name."""
    names = dict.fromkeys(result.scenario.line.name for result in results)
    rows = []
    for name in names:
        of_name = [result.verdict for result in results if result.scenario.line.name == name]
        rows.append([f"`{name}`", str(len(of_name)), *map(str, sort_by(of_name).values())])
    sums = sort_by([result.verdict for result in results])
    rows.append(["all", str(len(results)), *map(str, sums.values())])
    return build_table(["name", "scenarios", "complete", "failed honestly", "wrong"], rows)


def write_failover(opening: dict[str, Any], closed: dict[str, Any]) -> str:
    """The figures of `bench.failover`: with the circuit, and without."""
    rows = [
        [name.replace("_ms", ", ms"), write_number(value), write_number(closed[name])]
        for name, value in opening.items()
        if isinstance(value, int | float)
    ]
    return build_table(["measured", "with the circuit", "circuit never opens"], rows)


def write_number(value: float) -> str:
    return "never" if value == float("inf") else f"{value:,}"


def write_soak(told: dict[str, Any]) -> str:
    """A few of the readings of `bench.soak`, and what it found."""
    readings = told["readings"]
    step = max(1, len(readings) // 10)
    shown = [*readings[:-1:step], readings[-1]]
    rows = [
        [
            f"{each['at_s'] / 60:.1f} min",
            f"{each['calls']:,}",
            f"{each['rss_bytes'] / 1e6:.1f} MB",
            str(each["descriptors"]),
            str(each["sockets"]),
            str(each["tasks"]),
        ]
        for each in shown
    ]
    head = ["after", "calls", "memory", "descriptors", "sockets", "tasks"]
    ends = ", ".join(f"{count:,} {name}" for name, count in sorted(told["seen"].items()))
    found = "; ".join(told["faults"]) or "nothing"
    return f"{build_table(head, rows)}\n\nHow the calls ended: {ends}. Found wrong: {found}."


def main() -> int:
    parser = argparse.ArgumentParser(description="Try the gateway's reliability.")
    parser.add_argument("--write", action="store_true", help="write docs/reliability.md")
    parser.add_argument(
        "--failover", type=Path, nargs=2, help="JSON of bench.failover, and of it with --never-open"
    )
    parser.add_argument("--soak", type=Path, help="JSON of bench.soak")
    arguments = parser.parse_args()
    results = play_all()
    counts = write_counts(results)
    print(counts)
    if arguments.write:
        told = date_line([f"trunkline {__version__}"], 0).replace(
            ", 0% busy with other work before the run", ""
        )
        write_section("chaos", f"{told}\n\n{counts}", PAGE)
        chain = [result for result in results if result.scenario.line.name == CHAIN]
        write_section("chain", write_table(chain), PAGE)
        if arguments.failover:
            figures = [json.loads(each.read_text()) for each in arguments.failover]
            write_section("failover", f"{told}\n\n{write_failover(*figures)}", PAGE)
        if arguments.soak:
            soaked = json.loads(arguments.soak.read_text())
            write_section("soak", f"{told}\n\n{write_soak(soaked)}", PAGE)
    return int(any(result.verdict.judgement == "wrong" for result in results))


if __name__ == "__main__":
    sys.exit(main())
