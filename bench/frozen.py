"""What calls notice of a database that freezes: latency before, during and after, at a steady rate.

The gateway's PostgreSQL server stands behind a line that, for a while, takes bytes and lets none
through. Needs a server: `--postgres URL`, or TRUNKLINE_TEST_POSTGRES. Calls are sent at fixed
times, whatever becomes of those before; a latency counts from the time when a call should have been
sent, so that a gateway that stands still is not spared.
"""

import argparse
import asyncio
import os
import secrets
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import cycle
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import psycopg.sql
from bench.process import run_child, stop_when_asked, wait_for
from bench.report import build_table, date_line, measure_busy, warn_if_busy, write_section
from bench.server import (
    CHAT,
    WHOLE_PORT,
    WORK,
    build_body,
    start_whole_upstream,
    write_trunkline,
)

from trunkline.access.key import NewKey, create_key
from trunkline.store.store import open_store
from trunkline.terms import Budget, Limits, Terms

PORT, LINE_PORT = 9170, 9171
PEPPER = secrets.token_bytes(32)
CONFIG = """
[providers.mock]
wire = "openai"
base_url = "http://127.0.0.1:{upstream}/v1"

[models."bench"]
targets = [{{ provider = "mock", model = "bench" }}]

[[prices.list]]
provider = "mock"
model = "*"
input = "1"
output = "2"

[store]
url = "{url}"
"""
KINDS = {
    "no terms": Terms(),
    "limits": Terms(limits=Limits(rpm=10**9, tpm=10**12, concurrent=10**6)),
    "large budget": Terms(budgets=(Budget("usd", "total", 10**9),)),
    # What a worker has of this one in advance is used up seconds after the freeze has begun.
    "small budget": Terms(budgets=(Budget("usd", "total", 1_500_000),)),
}


class Line:
    """A relay on 127.0.0.1 that can be frozen; on the same loop as everything else here."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection, both ways."""
        far_reader, far_writer = await asyncio.open_connection(*self._server)
        for pair in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._carry(*pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        await self._flowing.wait()
        writer.close()

    def freeze(self) -> None:
        """Let nothing through."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Let through what was held back."""
        self._flowing.set()


@dataclass
class Load:
    """Calls at fixed times, each on a connection of its own."""

    keys: dict[str, str]
    rate: float
    phase: str = "before"
    latency_ms: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    statuses: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    before: int = 1
    """Calls before the first of these: to see that the gateway is there, and to warm it up."""
    late_ms: float = 0

    async def run(self) -> None:
        """Send calls until cancelled; those under way then end."""
        due = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            with suppress(asyncio.CancelledError):
                for kind in cycle(self.keys):
                    self.late_ms = max(self.late_ms, (time.perf_counter() - due) * 1000)
                    group.create_task(self._ask(kind, due))
                    due += 1 / self.rate
                    await asyncio.sleep(due - time.perf_counter())

    async def _ask(self, kind: str, due: float) -> None:
        phase = self.phase
        body = build_body(CHAT, "bench", stream=False)
        head = (
            f"POST {CHAT.path} HTTP/1.1\r\nhost: x\r\nx-api-key: {self.keys[kind]}\r\n"
            f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        writer.write(head.encode() + body)
        data = await reader.read()
        writer.close()
        self.latency_ms.setdefault((kind, phase), []).append((time.perf_counter() - due) * 1000)
        self.statuses[kind, phase, int(data.split(b" ", 2)[1])] += 1


async def measure(load: Load, line: Line, url: str, even_s: float, frozen_s: float) -> None:
    """Run the load before, during and after the freeze."""
    server = await asyncio.start_server(line.accept, "127.0.0.1", LINE_PORT)
    async with server:
        with ExitStack() as stack:
            try:
                await start_gateway(stack, url, load.keys["no terms"])
                warm = Load(load.keys, load.rate)
                await run_for(warm, [("before", 3.0)], line)
                phases = [("before", even_s), ("frozen", frozen_s), ("after", even_s)]
                await run_for(load, phases, line)
                load.before += warm.statuses.total()
            finally:
                line.thaw()
                # The gateway's last entries pass the line, which is on this loop.
                await asyncio.to_thread(stack.close)


async def run_for(load: Load, phases: list[tuple[str, float]], line: Line) -> None:
    """Run a load for so long in each phase."""
    running = asyncio.create_task(load.run())
    for name, seconds in phases:
        load.phase = name
        (line.freeze if name == "frozen" else line.thaw)()
        await asyncio.sleep(seconds)
    running.cancel()
    await running


async def start_gateway(stack: ExitStack, url: str, key: str) -> None:
    """Start the gateway behind the line, and wait for its first answer."""
    config = CONFIG.format(upstream=WHOLE_PORT, url=url)
    folder = WORK / f"frozen-{PORT}"
    shutil.rmtree(folder, ignore_errors=True)
    command = write_trunkline(folder, config, PORT)
    env = {"TRUNKLINE_DATA_DIR": str(folder), "TRUNKLINE_PEPPER": PEPPER.hex()}
    child = stack.enter_context(run_child("frozen", command, PORT, WORK, env=env))
    body, headers = build_body(CHAT, "bench", stream=False), {"x-api-key": key}
    await asyncio.to_thread(wait_for, child, f"http://127.0.0.1:{PORT}{CHAT.path}", body, headers)


@contextmanager
def make_schema(server: str) -> Iterator[tuple[str, str]]:
    """A schema of this run's own: its URL, and its URL through the line."""
    name = f"trunkline_{secrets.token_hex(8)}"
    parts = urlsplit(server)
    query = "options=" + quote(f"-csearch_path={name}", safe="")
    user = parts.netloc.rpartition("@")[0]
    netloc = f"{user}@127.0.0.1:{LINE_PORT}" if user else f"127.0.0.1:{LINE_PORT}"
    urls = [urlunsplit(parts._replace(netloc=each, query=query)) for each in (parts.netloc, netloc)]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("CREATE SCHEMA {}").format(psycopg.sql.Identifier(name)))
        try:
            yield urls[0], urls[1]
        finally:
            connection.execute(
                psycopg.sql.SQL("DROP SCHEMA {} CASCADE").format(psycopg.sql.Identifier(name))
            )


def make_keys(url: str) -> dict[str, str]:
    """A key of each kind."""
    with closing(open_store(url)) as store:
        store.accounts.create("bench", "", 1)
        return {
            kind: create_key(store, PEPPER, NewKey(account_id="bench", terms=terms), 2)[0]
            for kind, terms in KINDS.items()
        }


def count_entries(url: str) -> int:
    """How many calls the ledger has."""
    with closing(open_store(url)) as store:
        return len(store.ledger.list_entries(0, 1 << 62, None, 1_000_000))


def build_report(load: Load, entries: int, frozen_s: float, busy: float) -> str:
    """Return the section of the page."""
    rows = []
    for kind in KINDS:
        for phase in ("before", "frozen", "after"):
            times = load.latency_ms[kind, phase]
            points = statistics.quantiles(times, n=100)
            served = load.statuses[kind, phase, 200]
            others = sum(load.statuses[kind, phase, code] for code in (429, 503))
            figures = [points[49], points[98], max(times)]
            cells = [f"{value:.1f}" for value in figures]
            rows.append([kind, phase, str(served), str(others), *cells])
    head = ["key", "phase", "served", "refused", "p50 ms", "p99 ms", "longest ms"]
    calls = load.before + load.statuses.total()
    releases = [f"trunkline {version('trunkline')}"]
    return (
        f"{date_line(releases, busy)}\n\n"
        f"{load.rate:g} calls a second, frozen for {frozen_s:g} s.\n\n"
        f"{build_table(head, rows)}\n\n"
        f"Calls that were sent: {calls:,}; in the ledger at the end: {entries:,}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    variable = "TRUNKLINE_TEST_POSTGRES"
    parser.add_argument("--postgres", metavar="URL", default=os.environ.get(variable))
    parser.add_argument("--rate", type=float, default=100.0, help="calls a second, of all kinds")
    parser.add_argument("--frozen-s", type=float, default=60.0)
    parser.add_argument("--even-s", type=float, default=30.0, help="before and after")
    parser.add_argument("--write", action="store_true", help="write it into the page")
    arguments = parser.parse_args()
    if not arguments.postgres:
        parser.error(f"name a server: --postgres URL, or {variable}")
    stop_when_asked()
    busy = measure_busy()
    warn_if_busy(busy)
    parts = urlsplit(arguments.postgres)
    with ExitStack() as stack:
        start_whole_upstream(stack)
        url, through = stack.enter_context(make_schema(arguments.postgres))
        load = Load(make_keys(url), arguments.rate)
        line = Line(parts.hostname or "127.0.0.1", parts.port or 5432)
        asyncio.run(measure(load, line, through, arguments.even_s, arguments.frozen_s))
        report = build_report(load, count_entries(url), arguments.frozen_s, busy)
    print(report)
    print(f"a call was sent up to {load.late_ms:.1f} ms late")
    if arguments.write:
        write_section("frozen", report)


if __name__ == "__main__":
    main()
