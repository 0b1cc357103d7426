"""Calls for journals, and a program that ships them in processes which are killed at any line.

As a program: ``shipping.py STORE FOLDER ROUNDS``. ``ROUNDS`` is JSON, a list of lists of pairs: for
each round, the processes to run at once, by the name of their journal and how many lines of the
gateway's code the shipper may run before it is killed, 0 for as many as it likes. The last line
that is printed says how many lines the last one ran that was not killed.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import trunkline
from store.posted import find_spent, list_all, list_days
from trunkline.ledger.entry import Attempt, Charge, Entry, Opening, Tokens, Window
from trunkline.ledger.journal import Journal
from trunkline.ledger.ship import Pace, Shipper
from trunkline.store.store import Store, open_store

NOW_US = 1_800_000_000_000_000
MONTH = Window("account", "a", "usd", "month", NOW_US)
TOTAL = Window("key", "k1", "tokens", "total", 0)
HELD = (Charge(MONTH, 1000), Charge(TOTAL, 500))
CHARGED = (Charge(MONTH, 450), Charge(TOTAL, 120))
QUICK = Pace(busy_s=0.005, idle_s=0.01, fault_s=0.05, sweep_s=0.1)

_CODE = str(Path(trunkline.__file__).parent)
_TRACED = (f"{_CODE}/ledger/", f"{_CODE}/store/")


def make_opening(call_id: str) -> Opening:
    return Opening(call_id, NOW_US, "a", "k1", "m", "chat", stream=True, target="p/m", holds=HELD)


def make_entry(call_id: str) -> Entry:
    attempt = Attempt("p/m", "complete", "provider", Tokens(100, 20), 450)
    return Entry(make_opening(call_id), "complete", (attempt,), CHARGED, total_us=5)


def write_calls(journal: Journal, settled: Iterable[str], left_open: Iterable[str] = ()) -> None:
    for call_id in settled:
        journal.open(make_opening(call_id))
        journal.settle(make_entry(call_id))
    for call_id in left_open:
        journal.open(make_opening(call_id))


def poll(condition: Callable[[], object], what: str) -> None:
    until_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until_s, what
        time.sleep(0.005)


class Told:
    """What the shipper said was shipped, by window."""

    def __init__(self) -> None:
        self.amounts = {MONTH: 0, TOTAL: 0}

    def add(self, charges: list[Charge]) -> None:
        for charge in charges:
            self.amounts[charge.window] += charge.amount


def make_shipper(store: Store, folder: Path, journal: Journal, told: Told | None = None) -> Shipper:
    shipper = Shipper(store.ledger, folder, journal, pace=QUICK, on_shipped=(told or Told()).add)
    shipper.start()
    return shipper


def make_ids(name: str, count: int) -> list[str]:
    return [f"{name}-{number}" for number in range(count)]


def check_ledger(store: Store, settled: list[str], lost: Sequence[str] = ()) -> None:
    """Each call is there once, and so are its tokens, its cost and what it was charged."""
    entries = list_all(store)
    expected = {**dict.fromkeys(settled, "complete"), **dict.fromkeys(lost, "lost")}
    assert {entry.id: entry.status for entry in entries} == expected
    assert len(entries) == len(expected)
    [day] = list_days(store)
    assert (day.calls, day.unknown_calls) == (len(expected), len(lost))
    assert (day.input_tokens, day.cost_micros) == (100 * len(settled), 450 * len(settled))
    assert find_spent(store) == {
        used.window: used.amount * len(settled) + held.amount * len(lost)
        for used, held in zip(CHARGED, HELD, strict=True)
    }


def ship_everything(store: Store, folder: Path, name: str, limit: int) -> int:
    """Write a few calls, then ship them and all that dead processes left; lines that it took."""
    journal = Journal.create(folder, name, segment_bytes=64 * 1024)
    write_calls(journal, [f"{name}-{number}" for number in range(3)], [f"{name}-open"])
    lines = 0

    def count(_frame: FrameType, _event: str, _arg: Any) -> Any:
        nonlocal lines
        lines += 1
        if lines == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        return count

    def trace(frame: FrameType, _event: str, _arg: Any) -> Any:
        return count if frame.f_code.co_filename.startswith(_TRACED) else None

    shipper = Shipper(store.ledger, folder, journal, pace=QUICK)
    threading.settrace(trace)
    shipper.start()
    poll(lambda: not any(folder.glob("dead*")), "dead journals stay")
    assert shipper.flush(30), shipper.fault
    assert shipper.stop(30), shipper.fault
    return lines


def run_round(where: str, folder: Path, processes: list[tuple[str, int]]) -> None:
    children = {}
    for name, limit in processes:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                store = open_store(where)
                lines = ship_everything(store, folder, name, limit)
                print(lines, flush=True)
                code = 0
            finally:
                os._exit(code)
        children[child] = limit
    for child, limit in children.items():
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code == 0 or (limit and code == -signal.SIGKILL), code


if __name__ == "__main__":
    for each in json.loads(sys.argv[3]):
        run_round(sys.argv[1], Path(sys.argv[2]), each)
