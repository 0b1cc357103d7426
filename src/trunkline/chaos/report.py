"""Writes what a drill found, for people, for programs and for documents. Pure."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec

from trunkline.chaos.drill import Result
from trunkline.chaos.rehearsal import Line, Rehearsal
from trunkline.chaos.verdict import Judgement, sort_by

_SHORT: Final[dict[Judgement, str]] = {
    "complete": "complete",
    "failed honestly": "failed",
    "wrong": "WRONG",
}


def write_preface(rehearsal: Rehearsal, count: int) -> str:
    """What is played, and what was changed for it."""
    lines = [f"{count} scenarios; {len(rehearsal.dialects)} providers are mocks on this machine"]
    if rehearsal.scale < 1:
        lines.append(f"deadlines are scaled by {rehearsal.scale:.3g}, so that it takes minutes")
    lines += map(_describe_line, rehearsal.lines)
    lines.append("retries are not held to their share of calls, for here every call goes wrong;")
    lines.append("limits of calls at once, accounts, prices and certificates are left out")
    return "".join(f"# {line}\n" for line in lines)


def _describe_line(line: Line) -> str:
    targets = ", ".join(f"{part.provider}/{part.model}" for part in line.parts)
    deadlines = line.deadlines
    alike = f"; likewise {', '.join(line.alike)}" if line.alike else ""
    return (
        f"'{line.name}': {targets}; first token {deadlines.first_token_s:.3g} s, idle "
        f"{deadlines.idle_s:.3g} s, total {deadlines.total_s:.3g} s{alike}"
    )


def write_result(result: Result) -> str:
    """One scenario in a line, and what is wrong with it below."""
    verdict, scenario = result.verdict, result.scenario
    head = (
        f"{verdict.judgement:<16}{scenario.line.name}: {scenario.title}, by {scenario.door}: "
        f"{verdict.what} ({result.heard.elapsed_s:.2f} s)\n"
    )
    return head + "".join(f"{'':<16}- {fault}\n" for fault in verdict.faults)


def write_summary(results: Sequence[Result]) -> str:
    """The counts, in a line."""
    counts = sort_by([result.verdict for result in results])
    told = ", ".join(f"{count} {judgement}" for judgement, count in counts.items())
    return f"{len(results)} scenarios: {told}\n"


def write_json(results: Sequence[Result]) -> str:
    """Everything, for programs."""
    rows = [
        {
            "model": result.scenario.line.name,
            "fault": result.scenario.fault.kind if result.scenario.fault else None,
            "at": result.scenario.fault.place if result.scenario.fault else None,
            "aim": result.scenario.aim,
            "stream": result.scenario.stream,
            "calls": result.scenario.calls,
            "door": result.scenario.door,
            "verdict": result.verdict.judgement,
            "status": result.heard.status,
            "code": result.heard.code,
            "seconds": round(result.heard.elapsed_s, 3),
            "wrong": result.verdict.faults,
        }
        for result in results
    ]
    counts = sort_by([result.verdict for result in results])
    return msgspec.json.format(msgspec.json.encode({"counts": counts, "scenarios": rows})).decode()


def write_table(results: Sequence[Result]) -> str:
    """A Markdown table: a row a fault and its place, all public names together."""
    columns = [(aim, stream) for aim in ("first", "all") for stream in (False, True)]
    cells: dict[str, dict[tuple[str, bool], set[str]]] = defaultdict(lambda: defaultdict(set))
    for result in results:
        scenario = result.scenario
        fault = scenario.fault
        name = "none" if fault is None else f"`{fault.kind}` | {scenario.place}"
        word = _SHORT[result.verdict.judgement]
        if result.verdict.judgement != "complete":
            word += f", {result.verdict.what}"
        cells[name if fault else "none |"][scenario.aim, scenario.stream].add(word)
    lines = [
        "| fault | where | first target, whole | first target, stream | all, whole | all, stream |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in cells.items():
        shown = ("; ".join(sorted(row.get(column, ()))) for column in columns)
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"
