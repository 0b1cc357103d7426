"""Numbers to words: medians and ratios, Markdown tables, the machine, and the page's section."""

import datetime as dt
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BUSY_WARNING = 0.1
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


@dataclass(frozen=True)
class Spread:
    """The median, smallest and largest of several measurements of one thing."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Sum up at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def show(self, digits: int = 1) -> str:
        """Return `median (low-high)`."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def measure_busy(seconds: float = 2) -> float:
    """Return how busy all cores are with other work just now, as a share from 0 to 1."""
    before = read_ticks()
    time.sleep(seconds)
    total, idle = (after - early for after, early in zip(read_ticks(), before, strict=True))
    return 1 - idle / max(total, 1)


def read_ticks() -> tuple[int, int]:
    """Return all ticks of all cores so far, and the idle ones among them (proc(5), /proc/stat)."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    return sum(ticks), ticks[3] + ticks[4]


def warn_if_busy(busy: float) -> None:
    """Say so when other work would spoil the numbers: it empties caches and keeps cores awake."""
    if busy > BUSY_WARNING:
        print(f"warning: other work keeps the cores {busy:.0%} busy, all figures will be too high")


def describe_machine() -> str:
    """Return the processor, its cores, the memory, the kernel and Python in one line."""
    facts = Path("/proc/cpuinfo").read_text()
    model = read_fact(facts, "model name")
    family, number = read_fact(facts, "cpu family"), read_fact(facts, "model")
    mhz = float(read_fact(facts, "cpu MHz") or 0)
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    guest = ", virtual machine" if "hypervisor" in read_fact(facts, "flags").split() else ""
    return (
        f"{model} (family {family}, model {number}, {mhz / 1000:.2f} GHz), "
        f"{os.cpu_count()} cores, {memory_gib:.0f} GiB{guest}; "
        f"Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}"
    )


def read_fact(facts: str, name: str) -> str:
    """Return the first value of a line `name : value`, or nothing."""
    for line in facts.splitlines():
        key, found, value = line.partition(":")
        if found and key.strip() == name:
            return value.strip()
    return ""


def build_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, aligned so that it also reads well in a terminal."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


def judge(name: str, value: float, bar: float, unit: str = "", *, least: bool = False) -> list[str]:
    """Return a table row that sets a measured value against its bar."""
    met = value >= bar if least else value <= bar
    sign = "at least" if least else "at most"
    return [name, f"{value:.3g}{unit}", f"{sign} {bar:g}{unit}", "met" if met else "missed"]


def build_bars(rows: Sequence[Sequence[str]]) -> str:
    """Return the table of bars."""
    return build_table(["bar", "measured", "wanted", ""], rows)


def date_line(releases: Sequence[str], busy: float) -> str:
    """Return when, where and with what was measured, and what else the machine was doing."""
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    return (
        f"Measured {today} on {describe_machine()}, {busy:.0%} busy with other work before the "
        f"run; {', '.join(releases)}."
    )


def write_section(name: str, text: str, page: Path = PAGE) -> None:
    """Replace what stands between this section's markers on the page; raises when they are gone."""
    begin, end = f"<!-- bench {name}: begin -->", f"<!-- bench {name}: end -->"
    whole = page.read_text()
    before, found, rest = whole.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page} has no markers '{begin}' and '{end}'")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")
    print(f"wrote the section '{name}' of {page}")
