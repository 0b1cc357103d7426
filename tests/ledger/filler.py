"""Writes calls until the disk under FOLDER is full, settles them, makes room, and goes on."""

import sys
import time
from pathlib import Path

from ledger.calling import SMALL, make_entry, make_opening, read_all
from trunkline.ledger.entry import Opening
from trunkline.ledger.journal import Journal, JournalFullError


def fill(folder: Path) -> None:
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(SMALL * 4))
    journal = Journal.create(folder / "ledger", "j1", segment_bytes=SMALL)
    openings: list[Opening] = []
    try:
        while True:
            opening = make_opening(f"c{len(openings)}")
            journal.open(opening)
            openings.append(opening)
    except JournalFullError as error:
        if "No space left" in str(error) and openings:
            print("full", end=" ")
    for opening in openings:
        journal.settle(make_entry(opening, changes="x" * 900, attempts=4))
    if len(read_all(journal.directory).entries) == len(openings) and not journal.dropped:
        print("settled", end=" ")
    for number in range(100_000):  # settling has given room back: use it up again
        opening = make_opening(f"d{number}")
        try:
            journal.open(opening)
        except JournalFullError:
            break
        journal.settle(make_entry(opening))
    faulty = journal.fault is not None
    ballast.unlink()
    deadline = time.monotonic() + 20
    while journal.fault is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    journal.open(make_opening("e"))
    print("recovered" if faulty and not journal.dropped else "")


if __name__ == "__main__":
    fill(Path(sys.argv[1]))
