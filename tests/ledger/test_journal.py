"""Writing: what is written stands in the files at once, in room that was there before."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.calling import (
    SMALL,
    TARGET,
    limit_files,
    make_entry,
    make_opening,
    read_all,
    wait_until,
)
from trunkline.ledger.entry import Attempt, Entry, Opening, Tokens
from trunkline.ledger.journal import Journal, JournalFullError
from trunkline.ledger.recovery import Record, adopt, read_records
from trunkline.ledger.segment import Tried, list_numbers
from trunkline.terms import Charge, Window

TESTS = Path(__file__).resolve().parent.parent


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal.create(tmp_path, "j1", segment_bytes=SMALL)
    yield made
    made.close()


def make_lost(entry: Entry) -> Entry:
    """A lost call has used nothing that anybody knows of, and is charged what it held."""
    attempts = tuple(Attempt(attempt.target, "lost", "none") for attempt in entry.attempts)
    return Entry(entry.opening, "lost", attempts, entry.opening.holds)


def test_a_record_stands_in_the_file_when_the_call_returns(journal: Journal) -> None:
    opening = make_opening("c1")
    expected: list[Record] = [opening]
    journal.open(opening)
    assert read_all(journal.directory).records == expected
    journal.attempt("c1", 2, "echo/other")
    expected.append(Tried("c1", 2, "echo/other"))
    assert read_all(journal.directory).records == expected
    entry = make_entry(opening, attempts=2)
    journal.settle(entry)
    expected.append(entry)
    refused = make_entry(make_opening("c2"), status="refused")
    journal.note(refused)
    expected.append(refused)
    batch = read_all(journal.directory)
    assert batch.records == expected
    assert batch.position == journal.position
    assert journal.fault is None
    assert journal.dropped == 0


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["open", "open", "attempt", "settle", "settle", "note", "release", "read"]),
        st.integers(0, 20),
        st.integers(0, 2500),
    ),
    max_size=150,
)


@settings(max_examples=40)
@given(OPERATIONS)
def test_any_sequence_comes_back(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, int, int]]
) -> None:
    journal = Journal.create(tmp_path_factory.mktemp("ledger"), "j1", segment_bytes=SMALL)
    opened: dict[str, list[str]] = {}
    ended: list[Entry] = []
    shipped: list[Entry] = []
    position = 0
    for count, (operation, number, size) in enumerate(operations):
        dropped = journal.dropped
        call_id = sorted(opened)[number % len(opened)] if opened else ""
        if operation == "open":
            journal.open(make_opening(f"c{count}", holds=number % 4))
            opened[f"c{count}"] = [TARGET]
        elif operation == "attempt" and call_id:
            journal.attempt(call_id, len(opened[call_id]) + 1, f"echo/{number}")
            if journal.dropped == dropped:  # what needs no room of its own may be left out
                opened[call_id].append(f"echo/{number}")
        elif operation == "settle" and call_id:
            del opened[call_id]
            ended.append(make_entry(make_opening(call_id), changes="x" * size))
            journal.settle(ended[-1])
            assert journal.dropped == dropped
        elif operation == "note":
            refused = make_entry(make_opening(f"c{count}"), status="refused")
            journal.note(refused)
            ended += [refused] if journal.dropped == dropped else []
        elif operation == "read":
            batch = read_records(journal.directory, position, number + 1)
            shipped += batch.entries
            position = batch.position
        elif operation == "release":
            journal.release(position)
    journal.close()
    adopted = adopt(journal.directory)
    assert adopted is not None
    more = True
    while more:
        batch = adopted.read_records(position, 9)
        assert batch.damages == []
        shipped += batch.entries
        position, more = batch.position, batch.more
    assert shipped == ended
    lost = adopted.list_lost()
    tried = {entry.opening.id: [each.target for each in entry.attempts] for entry in lost}
    assert tried == opened
    assert all(entry == make_lost(entry) for entry in lost)
    adopted.close()


def test_many_calls_at_once_have_their_room(journal: Journal) -> None:
    openings = [make_opening(f"c{number}") for number in range(500)]
    for opening in openings:
        journal.open(opening)
    entries = [make_entry(opening, attempts=6, changes="x" * 700) for opening in openings]
    with limit_files(SMALL // 2):
        for entry in entries:
            journal.settle(entry)
    assert read_all(journal.directory).entries == entries


def test_what_is_too_long_is_cut_and_its_numbers_stay(journal: Journal) -> None:
    opening = make_opening("c1")
    journal.open(opening)
    entry = make_entry(opening, changes="ü" * 10_000, attempts=3)
    journal.settle(entry)
    (read,) = read_all(journal.directory).entries
    assert read.changes.endswith("ü…")
    assert msgspec.structs.replace(read, changes=entry.changes) == entry

    journal.open(make_opening("c2", model="m" * 100_000))
    lost = read_all(journal.directory).records[-1]
    assert isinstance(lost, Opening)
    assert lost.model == "m" * 63 + "…"
    with pytest.raises(JournalFullError, match="too many charges"):
        journal.open(make_opening("c3", holds=1000))
    assert journal.fault is None


def test_old_segments_go_when_they_are_shipped(journal: Journal) -> None:
    for number in range(2000):
        opening = make_opening(f"c{number}")
        journal.open(opening)
        journal.settle(make_entry(opening))
        journal.release(journal.position)
    assert journal.position >> 32 > 10
    # Two go on being written to; one more waits until the next is ordered.
    assert len(list_numbers(journal.directory)) <= 4


def test_nothing_goes_that_is_not_shipped(journal: Journal) -> None:
    ids = []
    for number in range(1000):
        opening = make_opening(f"c{number}")
        journal.open(opening)
        journal.settle(make_entry(opening))
        ids.append(opening.id)
    assert list_numbers(journal.directory)[0] == 1
    assert [entry.opening.id for entry in read_all(journal.directory).entries] == ids


def test_calls_that_are_open_for_long_keep_few_segments(journal: Journal) -> None:
    long = [make_opening(f"long{number}") for number in range(20)]
    for opening in long:
        journal.open(opening)
    journal.attempt("long3", 2, "echo/other")
    for number in range(5000):
        opening = make_opening(f"c{number}")
        journal.open(opening)
        journal.settle(make_entry(opening))
        journal.release(journal.position)
        if number == 2000:
            journal.settle(make_entry(long[7]))
    assert journal.position >> 32 > 20
    assert len(list_numbers(journal.directory)) <= 12
    journal.close()
    adopted = adopt(journal.directory)
    assert adopted is not None
    lost = {entry.opening.id: entry for entry in adopted.list_lost()}
    assert {*lost} == {opening.id for opening in long} - {"long7"}
    assert [attempt.target for attempt in lost["long3"].attempts] == [TARGET, "echo/other"]
    adopted.close()


def test_refused_calls_do_not_fill_the_disk_while_nothing_is_shipped(journal: Journal) -> None:
    entry = make_entry(make_opening("r"), status="refused", changes="x" * 1500)
    while journal.position >> 32 < 65:
        journal.note(entry)
    position, dropped = journal.position, journal.dropped
    journal.note(entry)
    assert (journal.position, journal.dropped) == (position, dropped + 1)

    def is_noted() -> bool:
        journal.note(entry)
        return journal.position > position

    journal.release(position)
    wait_until(is_noted)


def test_after_its_end_nothing_is_written_and_nothing_fails(journal: Journal) -> None:
    opening = make_opening("c1")
    journal.open(opening)
    journal.close()
    journal.close()
    journal.settle(make_entry(opening))
    journal.note(make_entry(opening))
    journal.attempt("c1", 2, TARGET)
    with pytest.raises(JournalFullError):
        journal.open(make_opening("c2"))
    assert journal.dropped == 3
    assert journal.fault
    assert read_all(journal.directory).records == [opening]


def test_what_cannot_be_encoded_does_not_fail_the_call(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    opening = make_opening("c1")
    journal.open(opening)
    journal.settle(make_entry(opening, changes="\ud800"))
    journal.note(make_entry(opening, changes="\ud800"))
    assert journal.dropped == 2
    assert "could not be settled" in caplog.text
    journal.settle(make_entry(opening))
    assert read_all(journal.directory).entries == [make_entry(opening)]


def test_the_files_are_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        journal = Journal.create(tmp_path / "data" / "ledger", "j1", segment_bytes=SMALL)
    finally:
        os.umask(before)
    journal.open(make_opening("c1"))
    folders = [tmp_path / "data" / "ledger", journal.directory]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    files = [*journal.directory.iterdir()]
    assert {path.name for path in files} == {"lock", "00000001.seg"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    journal.close()


@pytest.mark.parametrize("journal_id", ["", "../x", ".x", "a/b", "x" * 65])
def test_an_id_is_a_file_name(tmp_path: Path, journal_id: str) -> None:
    with pytest.raises(ValueError, match="cannot be a journal's id"):
        Journal.create(tmp_path, journal_id)


@pytest.mark.parametrize("size", [4096, SMALL + 1])
def test_a_segment_has_whole_pages_and_enough_of_them(tmp_path: Path, size: int) -> None:
    with pytest.raises(ValueError, match="cannot have"):
        Journal.create(tmp_path, "j1", segment_bytes=size)


def test_two_journals_cannot_be_one(tmp_path: Path, journal: Journal) -> None:
    with pytest.raises(OSError, match="j1"):
        Journal.create(tmp_path, "j1", segment_bytes=SMALL)


def test_nothing_written_can_hold_a_key_or_a_prompt() -> None:
    """Whoever adds a field here says that it can hold neither."""
    fields = {
        Opening: "id at_us account_id key_id model operation stream target holds",
        Entry: "opening status attempts charges code changes queue_us first_token_us total_us",
        Attempt: "target status usage_source tokens cost_micros code finish_reason "
        "first_token_us total_us",
        Tokens: "input output cached cache_write reasoning audio_input audio_output",
        Charge: "window amount",
        Window: "kind subject_id unit period starts_at_us",
        Tried: "call_id number target",
    }
    for struct, names in fields.items():
        assert " ".join(struct.__struct_fields__) == names
