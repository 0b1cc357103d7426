"""Processes that ship are killed at any line, and want the same journals at the same time."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from ledger.shipping import MONTH, check_ledger
from store.posted import find_granted, grant
from trunkline.ledger.recovery import SHIPPED, list_journals
from trunkline.store.store import Store

CHILD = Path(__file__).with_name("shipping.py")


def run_child(where: Path | str, folder: Path, rounds: list[list[tuple[str, int]]]) -> list[int]:
    """Run the rounds in processes of their own; how many lines each took that was not killed."""
    command = [sys.executable, str(CHILD), str(where), str(folder), json.dumps(rounds)]
    environment = {**os.environ, "PYTHONPATH": str(CHILD.parent.parent)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


def list_expected(names: list[str]) -> tuple[list[str], list[str]]:
    return [f"{name}-{number}" for name in names for number in range(3)], [
        f"{name}-open" for name in names
    ]


def test_killed_at_any_line_it_neither_loses_nor_doubles(
    store: Store, where: Path | str, folder: Path
) -> None:
    [lines] = run_child(where, folder, [[("dead", 1)], [("whole", 0)]])
    assert lines > 100
    chance = random.Random(str(where)[:4])
    points = sorted({chance.randrange(1, lines) for _ in range(8)})
    names = [f"dead{point}" for point in points]
    for name in names:
        grant(store, name, MONTH, 1000)
    rounds = [[(name, point)] for name, point in zip(names, points, strict=True)]
    run_child(where, folder, [*rounds, [("last", 0)]])
    check_ledger(store, *list_expected(["dead", "whole", *names, "last"]))
    assert list_journals(folder) == []
    # One killed at the very end leaves a row, for a while.
    assert {row.position for row in store.ledger.list_journals()} <= {SHIPPED}
    assert all(find_granted(store, name) == {} for name in names)


def test_processes_that_want_the_same_journals_share_them(
    store: Store, where: Path | str, folder: Path
) -> None:
    dead = [(f"dead{number}", 1) for number in range(4)]
    alive = [(f"alive{number}", 0) for number in range(3)]
    # One that stops may leave to others what it has begun, and they may stop as well.
    rounds = [dead, alive, [("last", 0)]]
    run_child(where, folder, rounds)
    check_ledger(store, *list_expected([name for each in rounds for name, _ in each]))
    assert list_journals(folder) == []
