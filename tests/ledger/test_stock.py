"""Room: it is found before a call is let in, and what was let in can always be settled."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.calling import SMALL, limit_files, make_entry, make_opening, read_all, wait_until
from trunkline.ledger.entry import Opening
from trunkline.ledger.journal import Journal, JournalFullError

TESTS = Path(__file__).resolve().parent.parent


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def open_until_full(journal: Journal) -> list[Opening]:
    openings: list[Opening] = []
    with pytest.raises(JournalFullError):
        for number in range(100_000):
            opening = make_opening(f"c{number}")
            journal.open(opening)
            openings.append(opening)
    return openings


def test_a_full_disk_is_met_before_a_call_is_let_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    journal = Journal.create(tmp_path, "j1", segment_bytes=SMALL, clock=clock)
    with limit_files(SMALL // 2):
        openings = open_until_full(journal)
        assert openings
        assert "no room" in str(journal.fault)
        # Every call that was let in can be settled, with all that may be said of it.
        entries = [make_entry(opening, attempts=6, changes="x" * 500) for opening in openings]
        for entry in entries:
            journal.settle(entry)
        assert read_all(journal.directory).entries == entries
        assert journal.dropped == 0
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    journal.close()


def test_it_recovers_by_itself_when_it_is_asked(tmp_path: Path) -> None:
    clock = Clock()
    with limit_files(SMALL // 2):
        journal = Journal.create(tmp_path, "j1", segment_bytes=SMALL, clock=clock)
        assert journal.fault
        with pytest.raises(JournalFullError, match="no room"):
            journal.open(make_opening("c1"))
    # It does not try at every call, which would cost each of them.
    with pytest.raises(JournalFullError, match="no room"):
        journal.open(make_opening("c1"))
    clock.now_s += 1.5
    wait_until(lambda: journal.fault is None)
    journal.open(make_opening("c1"))
    journal.close()


def test_it_recovers_at_the_next_call(tmp_path: Path) -> None:
    clock = Clock()
    with limit_files(SMALL // 2):
        journal = Journal.create(tmp_path, "j1", segment_bytes=SMALL, clock=clock)
    clock.now_s += 1.5
    journal.open(make_opening("c1"))
    assert journal.fault is None
    journal.close()


def test_when_its_folder_is_gone_no_call_is_let_in_and_none_fails(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "j1", segment_bytes=SMALL)
    journal.directory.rename(tmp_path / "elsewhere")
    openings = open_until_full(journal)
    assert "No such file" in str(journal.fault)
    for opening in openings:
        journal.settle(make_entry(opening))
    assert len(read_all(tmp_path / "elsewhere").entries) == len(openings)
    journal.close()


def test_a_really_full_disk(tmp_path: Path) -> None:
    script = [sys.executable, str(TESTS / "ledger" / "filler.py"), str(tmp_path)]
    inner = f'mount -t tmpfs -o size=1m none "{tmp_path}" && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inner, "sh"]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("this machine does not let its users mount a file system of their own")
    path = os.pathsep.join((str(TESTS), *sys.path))
    ended = subprocess.run(
        [*command, *script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "full settled recovered\n"), ended.stderr


def test_refused_calls_take_no_room_from_others(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "j1", segment_bytes=SMALL)
    with limit_files(SMALL // 2):
        for number in range(1000):
            journal.note(make_entry(make_opening(f"r{number}"), status="refused"))
        noted = len(read_all(journal.directory).entries)
        assert 0 < noted < 1000
        assert journal.dropped == 1000 - noted
        journal.open(make_opening("c1"))
    journal.close()
