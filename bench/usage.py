"""How long usage reports take over a million calls, on SQLite and on PostgreSQL.

`.venv/bin/python -m bench.usage [--models-a-key 3] [--postgres URL]` fills a temporary file, and a
schema of its own that is dropped at the end, with calls spread over 90 days, 50 accounts, 200 keys
and 30 models, and asks each question several times. With 30 models a key, the sums of days are half
as many as the calls: the worst case.
"""

import argparse
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
from sqlalchemy import Connection

from trunkline.ledger.question import find_day, read_question
from trunkline.ledger.report import draw_sheet, make_report
from trunkline.ledger.retention import MOST, remove_old
from trunkline.ledger.sheet import write_csv
from trunkline.store.posting import DAY_US
from trunkline.store.store import Store, open_store
from trunkline.store.usage import Choice

DAYS, KEYS, ACCOUNTS, MODELS = 90, 200, 50, 30
FIRST_DAY = 20_000
LAST_DAY = FIRST_DAY + DAYS - 1
NOW_US = LAST_DAY * DAY_US
SPREAD = 2_654_435_761  # odd, so that no two numbers below 2**32 come to the same place

NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers (n) AS "
    "(SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {calls})",
    "postgresql": "WITH numbers (n) AS (SELECT generate_series(0::bigint, {calls} - 1))",
}
IDS = {"sqlite": "printf('req_%024x', h)", "postgresql": "'req_' || lpad(to_hex(h), 24, '0')"}

FILL_ENTRIES = """
INSERT INTO entries {numbers}, mixed AS (SELECT n, n * {spread} % 4294967296 AS h FROM numbers)
SELECT {id}, {start_us} + n * {step_us}, 'account ' || (h % {accounts}), 'key_' || (h % {keys}),
  'vendor/model-' || ((h % {keys} * 7 + h / {keys} % {models_a_key}) % {models}),
  'openai.chat', n % 2 = 1,
  CASE n % 20 WHEN 0 THEN 'failed' WHEN 1 THEN 'left' ELSE 'complete' END, '',
  'vendor/model-' || ((h % {keys} * 7 + h / {keys} % {models_a_key}) % {models}), 'stop', '', 1,
  'provider', h % 4000, h % 900, h % 300, 0, h % 70, 0, 0,
  CASE n % 50 WHEN 2 THEN NULL ELSE h % 100000 END, 10, 200000, 900000
FROM mixed
"""
FILL_DAYS = """
INSERT INTO usage_days
SELECT at_us / {day_us}, account_id, key_id, model, count(*),
  sum(CASE status WHEN 'failed' THEN 1 ELSE 0 END), count(*) - count(cost_micros), 0,
  sum(input_tokens), sum(output_tokens), sum(cached_tokens), 0, sum(reasoning_tokens), 0, 0,
  coalesce(sum(cost_micros), 0)
FROM entries GROUP BY 1, 2, 3, 4
"""

WEEK = {"since": str(find_day(LAST_DAY - 6))}
QUARTER = {"since": str(find_day(FIRST_DAY))}
ONE = {"account": "account 7"}
REPORTS: dict[str, dict[str, str]] = {
    "by model": {**QUARTER, "by": "model"},
    "by account": {**QUARTER, "by": "account"},
    "by key": {**QUARTER, "by": "key"},
    "by day": {**QUARTER, "by": "day"},
    "by day and model": {**QUARTER, "by": "day,model"},
    "by account and model": {**QUARTER, "by": "account,model"},
    "by day and account, CSV": {**QUARTER, "by": "day,account", "format": "csv"},
    "one account, by day and model": {**QUARTER, **ONE, "by": "day,model"},
    "7 days, by model": {**WEEK, "by": "model"},
    "from calls: 7 days, by hour": {**WEEK, "by": "hour"},
    "from calls: one account, by status": {**QUARTER, **ONE, "by": "status"},
    "from calls: one target, by day": {**QUARTER, "target": "vendor/model-3", "by": "day"},
    "from calls: by hour": {**QUARTER, "by": "hour"},
    "from calls: by status": {**QUARTER, "by": "status"},
}


def fill(connection: Connection, calls: int, models_a_key: int) -> None:
    dialect = connection.dialect.name
    values = {
        "numbers": NUMBERS[dialect].format(calls=calls),
        "id": IDS[dialect],
        "spread": SPREAD,
        "start_us": FIRST_DAY * DAY_US,
        "step_us": DAYS * DAY_US // calls,
        "day_us": DAY_US,
        "accounts": ACCOUNTS,
        "keys": KEYS,
        "models": MODELS,
        "models_a_key": models_a_key,
    }
    # Doubled: psycopg takes a lone one for the beginning of a parameter.
    percent = "%%" if dialect == "postgresql" else "%"
    for statement in (FILL_ENTRIES, FILL_DAYS):
        connection.exec_driver_sql(statement.format(**values).replace("%", percent))
    connection.exec_driver_sql("ANALYZE")


def measure(action: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Medians in milliseconds: until it is done, and of this process's own CPU time.

    SQLite works in this process, so on a busy machine the second one says more. One round before
    the others is not counted.
    """
    action()
    times = []
    for _ in range(rounds):
        started, cpu = time.perf_counter(), time.process_time()
        action()
        times.append((time.perf_counter() - started, time.process_time() - cpu))
    took, worked = zip(*times, strict=True)
    return statistics.median(took) * 1000, statistics.median(worked) * 1000


def measure_once(action: Callable[[], object]) -> tuple[float, float]:
    started, cpu = time.perf_counter(), time.process_time()
    action()
    return (time.perf_counter() - started) * 1000, (time.process_time() - cpu) * 1000


def show(name: str, times_ms: tuple[float, float]) -> None:
    took_ms, worked_ms = times_ms
    print(f"  {name:<40}{took_ms:>9,.1f} ms{worked_ms:>12,.1f} ms CPU here", flush=True)


def measure_store(store: Store, args: argparse.Namespace) -> None:
    started = time.perf_counter()
    with store.database.rebuild() as connection:
        fill(connection, args.calls, args.models_a_key)
        count = connection.exec_driver_sql("SELECT count(*) FROM usage_days").scalar()
    took_s = time.perf_counter() - started
    print(
        f"{store.database.engine.dialect.name}: {args.calls:,} calls, {count:,} sums of days",
        end="",
    )
    print(f" (filled in {took_s:.0f} s)")
    for name, query in REPORTS.items():
        show(name, measure(partial(make_report, store, query, NOW_US), args.rounds))
    choices = {"50 newest calls": Choice(), "50 newest of a key": Choice(key_id="key_7")}
    for name, choice in choices.items():
        show(name, measure(partial(store.usage.list_calls, choice, 50), args.rounds))
    all_parts = read_question({**QUARTER, "by": "day,account,key,model"}, NOW_US)
    show("all parts, CSV, once", measure_once(lambda: write_csv(draw_sheet(store, all_parts))))
    name = f"remove {MOST:,} old calls, once"
    show(name, measure_once(lambda: remove_old(store, 30, NOW_US)))


@contextmanager
def make_place(url: str) -> Iterator[str]:
    """The URL of a schema that is gone after the block."""
    name = f"bench_{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
        try:
            yield f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{name}"
        finally:
            connection.execute(f"DROP SCHEMA {name} CASCADE".encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--models-a-key", type=int, default=MODELS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--postgres", default=os.environ.get("TRUNKLINE_TEST_POSTGRES"))
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    args = parser.parse_args()
    if args.only != "postgresql":
        with tempfile.TemporaryDirectory() as folder:
            store = open_store(Path(folder) / "trunkline.db")
            measure_store(store, args)
            store.close()
    if args.only != "sqlite" and args.postgres:
        with make_place(args.postgres) as url:
            store = open_store(url)
            measure_store(store, args)
            store.close()


if __name__ == "__main__":
    main()
