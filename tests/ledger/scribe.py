"""A worker that writes calls into a journal as fast as it can, until it is killed.

``scribe.py FOLDER ID SEED [hold]`` prints a line when a write has returned: ``open ID`` or
``settle ID``. With ``hold`` it opens one call and waits.
"""

import os
import random
import sys
import time
from pathlib import Path

from ledger.calling import SMALL, make_entry, make_opening
from trunkline.ledger.journal import Journal


def write(folder: Path, journal_id: str, seed: int) -> None:
    chance = random.Random(seed)
    journal = Journal.create(folder, journal_id, segment_bytes=SMALL)
    calls: list[str] = []
    for number in range(1_000_000):
        call_id = f"{journal_id}-{number}"
        journal.open(make_opening(call_id))
        os.write(1, f"open {call_id}\n".encode())
        calls.append(call_id)
        if chance.random() < 0.2:
            journal.attempt(call_id, 2, "echo/other")
        while len(calls) > chance.randrange(10):
            call_id = calls.pop(chance.randrange(len(calls)))
            changes = "x" * chance.randrange(900)
            journal.settle(make_entry(make_opening(call_id), changes=changes))
            os.write(1, f"settle {call_id}\n".encode())


def hold(folder: Path, journal_id: str) -> None:
    journal = Journal.create(folder, journal_id, segment_bytes=SMALL)
    journal.open(make_opening(f"{journal_id}-0"))
    os.write(1, f"open {journal_id}-0\n".encode())
    time.sleep(600)


if __name__ == "__main__":
    if sys.argv[4:] == ["hold"]:
        hold(Path(sys.argv[1]), sys.argv[2])
    else:
        write(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
