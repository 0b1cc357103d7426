"""Reading: of a journal that is written to, of one that was killed, and of one that is damaged."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.calling import SMALL, TARGET, make_entry, make_opening, read_all
from trunkline.ledger.entry import Attempt, Entry
from trunkline.ledger.journal import Journal
from trunkline.ledger.recovery import Adopted, Record, adopt, list_journals, read_records
from trunkline.ledger.segment import find_path, list_numbers

TESTS = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join((str(TESTS), *sys.path))}
ADOPTER = """
import sys
from pathlib import Path
from trunkline.ledger.recovery import adopt
print("ready", flush=True)
sys.stdin.readline()
print("got" if adopt(Path(sys.argv[1])) else "none", flush=True)
sys.stdin.readline()
"""


@contextmanager
def run(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, *arguments],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def run_scribe(folder: Path, journal_id: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    script = str(TESTS / "ledger" / "scribe.py")
    with run(script, str(folder), journal_id, *more) as process:
        yield process


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def take(directory: Path) -> Adopted:
    adopted = adopt(directory)
    assert adopted is not None
    return adopted


def write_calls(folder: Path, count: int, *, journal_id: str = "j1") -> Path:
    """A journal of so many settled calls, of which the worker is gone."""
    journal = Journal.create(folder, journal_id, segment_bytes=SMALL)
    for number in range(count):
        opening = make_opening(f"c{number}")
        journal.open(opening)
        journal.settle(make_entry(opening))
    journal.close()
    return journal.directory


@pytest.mark.parametrize("seed", range(8))
def test_a_killed_worker_loses_no_write_that_returned(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    said: list[str] = []
    with run_scribe(tmp_path, f"w{seed}", str(seed)) as process:
        assert process.stdout is not None
        said += [read_line(process) for _ in range(chance.randrange(1, 2000))]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read().split("\n")
    opened = {line[5:] for line in said if line.startswith("open ")}
    settled = {line[7:] for line in said if line.startswith("settle ")}
    assert settled <= opened

    adopted = take(tmp_path / f"w{seed}")
    batch = read_all(adopted.directory, final=True, limit=100)
    entries = Counter(entry.opening.id for entry in batch.entries)
    lost = Counter(entry.opening.id for entry in adopted.list_lost())
    assert max((entries + lost).values()) == 1
    assert settled <= entries.keys()
    assert opened <= entries.keys() | lost.keys()
    # At most one write of each kind had happened and not been said; half a record may be there.
    assert len(entries.keys() - settled) <= 1
    assert len((entries.keys() | lost.keys()) - opened) <= 1
    assert len(batch.damages) <= 1
    adopted.remove()
    assert list_journals(tmp_path) == []


def test_a_reader_beside_the_writer_gets_all_in_order(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "j1", segment_bytes=SMALL)
    read: list[str] = []
    damages: list[object] = []
    done = threading.Event()

    def ship() -> None:
        position, last = 0, False
        while not last:
            last = done.is_set()
            more = True
            while more:
                batch = read_records(journal.directory, position, 50)
                read.extend(entry.opening.id for entry in batch.entries)
                damages.extend(batch.damages)
                position, more = batch.position, batch.more
                journal.release(position)

    shipper = threading.Thread(target=ship)
    shipper.start()
    written = []
    for number in range(4000):
        opening = make_opening(f"c{number}")
        journal.open(opening)
        journal.settle(make_entry(opening, changes="x" * (number % 1500)))
        written.append(opening.id)
    done.set()
    shipper.join()
    journal.close()
    assert read == written
    assert damages == []


def test_a_journal_has_one_owner(tmp_path: Path) -> None:
    with run_scribe(tmp_path, "w1", "0", "hold") as owner:
        assert read_line(owner) == "open w1-0"
        (directory,) = list_journals(tmp_path)
        assert adopt(directory) is None
        owner.kill()
        owner.wait()
        adopters = [run("-c", ADOPTER, str(directory)) for _ in range(4)]
        processes = [each.__enter__() for each in adopters]
        assert [read_line(process) for process in processes] == ["ready"] * 4
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        assert sorted(read_line(process) for process in processes) == ["got", *["none"] * 3]
        assert adopt(directory) is None
        for each in adopters:
            each.__exit__(None, None, None)
    (lost,) = take(directory).list_lost()
    opening = make_opening("w1-0")
    assert lost == Entry(opening, "lost", (Attempt(TARGET, "lost", "none"),), opening.holds)


def test_the_owner_itself_can_adopt_it_only_when_it_is_closed(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "j1", segment_bytes=SMALL)
    assert adopt(journal.directory) is None
    journal.close()
    adopted = take(journal.directory)
    assert adopt(journal.directory) is None
    adopted.close()
    take(journal.directory).remove()
    assert adopt(journal.directory) is None
    assert [*tmp_path.iterdir()] == []


def test_a_journal_that_was_removed_meanwhile_is_not_adopted(tmp_path: Path) -> None:
    gone: list[Path] = []
    together = threading.Barrier(3)

    def adopt_each() -> None:
        for number in range(200):
            directory = tmp_path / str(number)
            together.wait()
            for _ in range(5):
                adopted = adopt(directory)
                if adopted is not None:
                    if not (directory / "lock").exists():
                        gone.append(directory)
                    adopted.remove()

    threads = [threading.Thread(target=adopt_each) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(200):
        (tmp_path / str(number)).mkdir()
        together.wait()
    for thread in threads:
        thread.join()
    assert gone == []
    assert [*tmp_path.iterdir()] == []


def test_journals_are_listed_by_name(tmp_path: Path) -> None:
    assert list_journals(tmp_path / "nowhere") == []
    (tmp_path / "a file").touch()
    (tmp_path / ".new").mkdir()
    directories = [write_calls(tmp_path, 1, journal_id=name) for name in ("b", "a")]
    assert list_journals(tmp_path) == directories[::-1]


@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_batches_end_where_the_next_begins(tmp_path: Path, limit: int) -> None:
    directory = write_calls(tmp_path, 300)
    assert len(list_numbers(directory)) > 2
    batch = read_all(directory, final=True, limit=limit)
    assert [entry.opening.id for entry in batch.entries] == [f"c{n}" for n in range(300)]
    assert read_records(directory, batch.position, limit, final=True).records == []
    assert batch.damages == []


def test_reading_where_nothing_is(tmp_path: Path) -> None:
    for position in (0, 5 << 32 | 16):
        batch = read_records(tmp_path / "nowhere", position)
        assert (batch.records, batch.position, batch.more) == ([], position, False)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, list[Record]]]:
    """A journal to do damage to, and what stands in each of its segments."""
    directory = write_calls(tmp_path_factory.mktemp("ledger"), 400)
    whole = read_all(directory, final=True).records
    records: dict[int, list[Record]] = {}
    for number in list_numbers(directory):
        rest = read_records(directory, number << 32, 1000, final=True).records
        records[number] = rest
    for number in records:
        behind = len(records.get(number + 1, []))
        records[number] = records[number][: len(records[number]) - behind]
    assert [*chain(*records.values())] == whole
    assert len(records[2]) > 2
    assert records[3]
    return directory, records


@settings(max_examples=80)
@given(st.data())
def test_damage_is_said_and_ends_its_segment_alone(
    damaged: tuple[Path, dict[int, list[Record]]], data: st.DataObject
) -> None:
    directory, records = damaged
    number = data.draw(st.sampled_from([each for each in records if records[each]]))
    path = find_path(directory, number)
    before = path.read_bytes()
    used = len(before.rstrip(b"\0"))
    content = bytearray(before)
    if data.draw(st.booleans()):
        places = st.dictionaries(st.integers(0, used - 1), st.integers(1, 255), min_size=1)
        for at, change in data.draw(places).items():
            content[at] ^= change
    else:
        del content[data.draw(st.integers(0, used)) :]
    path.write_bytes(content)
    try:
        batch = read_all(directory, final=True, limit=100)
    finally:
        path.write_bytes(before)
    left = len(records[number]) - (sum(map(len, records.values())) - len(batch.records))
    expected: list[Record] = []
    for each, those in records.items():
        expected += those[:left] if each == number else those
    assert batch.records == expected
    assert {damage.segment for damage in batch.damages} <= {number}
    if len(content) == len(before) and left < len(records[number]):
        assert batch.damages[0].size_bytes > 0


def test_a_live_segment_that_cannot_be_read_is_waited_for(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "j1", segment_bytes=SMALL)
    journal.open(make_opening("c1"))
    journal.settle(make_entry(make_opening("c1")))
    path = find_path(journal.directory, 1)
    with path.open("r+b") as file:
        file.seek(16)
        file.write(b"\xff")
    batch = read_all(journal.directory)
    assert (batch.records, batch.damages) == ([], [])
    for number in range(200):
        journal.open(make_opening(f"n{number}"))
        journal.settle(make_entry(make_opening(f"n{number}")))
    batch = read_all(journal.directory)
    assert [(damage.segment, damage.offset) for damage in batch.damages] == [(1, 16)]
    assert batch.damages[0].size_bytes > SMALL // 2
    assert batch.entries
    journal.close()


def test_a_segment_that_is_gone_is_said(tmp_path: Path) -> None:
    directory = write_calls(tmp_path, 700)
    batch = read_records(directory, 1 << 32 | 16, 1)
    find_path(directory, 2).unlink()
    found, position = [], batch.position
    while True:
        batch = read_records(directory, position, 50, final=True)
        found += batch.damages
        position = batch.position
        if not batch.more:
            break
    assert [(damage.segment, damage.reason) for damage in found] == [(2, "its file is gone")]


def test_records_of_a_later_version_are_said_and_passed(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "j1", segment_bytes=SMALL)
    journal._write(9, b"new")
    journal._write(1, b"\x93not an opening")
    journal.note(make_entry(make_opening("c1")))
    journal.close()
    batch = read_all(journal.directory, final=True)
    assert [entry.opening.id for entry in batch.entries] == ["c1"]
    assert [damage.reason[:13] for damage in batch.damages] == ["a record that"] * 2
    assert [damage.size_bytes for damage in batch.damages] == [16, 24]
