"""What journals say comes to the database exactly once, whatever happens on the way."""

import sys
from pathlib import Path

import msgspec
import pytest

from ledger.shipping import (
    MONTH,
    NOW_US,
    QUICK,
    TOTAL,
    Told,
    check_ledger,
    make_entry,
    make_ids,
    make_shipper,
    poll,
    write_calls,
)
from store.posted import find_granted, find_spent, grant, list_all
from trunkline.ledger.journal import Journal
from trunkline.ledger.recent import MOST
from trunkline.ledger.recovery import SHIPPED, adopt, list_journals, read_records
from trunkline.ledger.row import make_posting
from trunkline.ledger.segment import ENTRY, find_path
from trunkline.ledger.ship import Shipper
from trunkline.store.load import Load
from trunkline.store.posting import Posting
from trunkline.store.store import Store
from trunkline.terms import Charge


def test_calls_are_shipped_as_they_end(store: Store, folder: Path, journal: Journal) -> None:
    for window in (MONTH, TOTAL):
        grant(store, "own", window, 1_000_000)
    told = Told()
    shipper = make_shipper(store, folder, journal, told)
    ids = make_ids("call", 40)
    write_calls(journal, ids[:15], ["open"])
    assert shipper.flush(30)
    write_calls(journal, ids[15:])
    assert shipper.flush(30)
    check_ledger(store, ids)
    assert told.amounts == find_spent(store) == {MONTH: 40 * 450, TOTAL: 40 * 120}
    assert find_granted(store, "own") == {MONTH: 1_000_000 - 40 * 450, TOTAL: 1_000_000 - 40 * 120}
    assert (shipper.shipped, shipper.fault, shipper.waiting_bytes, shipper.waiting_s) == (
        (40, None, 0, 0.0)
    )
    assert store.ledger.find_position("own") == journal.position
    assert shipper.stop(30)


def test_segments_go_when_they_are_shipped(store: Store, folder: Path, journal: Journal) -> None:
    shipper = make_shipper(store, folder, journal)
    ids = make_ids("call", 900)
    for start in range(0, 900, 50):
        write_calls(journal, ids[start : start + 50])
        assert shipper.flush(30)
    assert journal.position >> 32 > 3
    assert not find_path(journal.directory, 1).exists()
    check_ledger(store, ids)
    assert shipper.stop(30)


def test_a_shipper_that_was_behind_reads_the_journal(
    store: Store, folder: Path, journal: Journal
) -> None:
    told = Told()
    shipper = Shipper(store.ledger, folder, journal, on_shipped=told.add)
    ids = make_ids("call", MOST + 100)
    write_calls(journal, ids[:10], ["open"])
    assert shipper.ship_own()
    write_calls(journal, ids[10:])
    while shipper.ship_own():
        pass
    assert store.ledger.find_position("own") == journal.position
    check_ledger(store, ids)
    assert told.amounts == find_spent(store)
    write_calls(journal, ["late"])
    assert shipper.ship_own()
    check_ledger(store, [*ids, "late"])
    assert shipper.waiting_s == shipper.damages == 0


def test_what_is_written_meanwhile_is_shipped_once(
    store: Store, folder: Path, journal: Journal
) -> None:
    shipper = make_shipper(store, folder, journal)
    ids = make_ids("call", 3000)
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        write_calls(journal, ids, ["open"])
        assert shipper.flush(30)
    finally:
        sys.setswitchinterval(interval_s)
    check_ledger(store, ids)
    assert (shipper.shipped, shipper.damages) == (3000, 0)
    assert shipper.stop(30)
    check_ledger(store, ids, ["open"])


def test_an_entry_that_was_cut_is_shipped_as_it_was_written(
    store: Store, folder: Path, journal: Journal
) -> None:
    shipper = Shipper(store.ledger, folder, journal)
    entry = msgspec.structs.replace(make_entry("long"), changes="c" * 100_000)
    journal.open(entry.opening)
    journal.settle(entry)
    [written] = read_records(journal.directory, 0, kinds=frozenset((ENTRY,))).entries
    assert len(written.changes) < len(entry.changes)
    assert shipper.ship_own()
    assert list_all(store) == [make_posting(written).entry]


def test_a_clean_stop_leaves_nothing(store: Store, folder: Path, journal: Journal) -> None:
    grant(store, "own", MONTH, 1_000_000)
    shipper = make_shipper(store, folder, journal)
    write_calls(journal, make_ids("call", 5), ["open"])
    assert shipper.stop(30)
    check_ledger(store, make_ids("call", 5), ["open"])
    assert list_journals(folder) == []
    assert store.ledger.list_journals() == []
    assert find_granted(store, "own") == {}


def test_a_dead_workers_journal_is_finished(store: Store, folder: Path, journal: Journal) -> None:
    for name in ("dead1", "dead2", "alive"):
        grant(store, name, MONTH, 1_000_000)
        other = Journal.create(folder, name)
        write_calls(other, make_ids(name, 3), [f"{name}-open"])
        if name != "alive":
            other.close()
    told = Told()
    shipper = make_shipper(store, folder, journal, told)
    poll(lambda: len(list_journals(folder)) == 2, "dead journals stay")
    poll(lambda: store.ledger.list_journals() == [], "rows of dead journals stay")
    check_ledger(store, make_ids("dead1", 3) + make_ids("dead2", 3), ["dead1-open", "dead2-open"])
    assert find_granted(store, "dead1") == find_granted(store, "dead2") == {}
    assert find_granted(store, "alive") == {MONTH: 1_000_000}
    assert told.amounts == {MONTH: 0, TOTAL: 0}  # they were no charges of this worker
    assert shipper.stop(30)
    assert [path.name for path in list_journals(folder)] == ["alive"]
    other.close()


def test_many_lost_calls_are_shipped_in_parts(store: Store, folder: Path, journal: Journal) -> None:
    dead = Journal.create(folder, "dead")
    write_calls(dead, [], make_ids("dead", 1200))
    dead.close()
    shipper = make_shipper(store, folder, journal)
    poll(lambda: not (folder / "dead").exists(), "the dead journal stays")
    assert shipper.stop(30)
    check_ledger(store, [], make_ids("dead", 1200))


def test_what_was_shipped_before_a_death_counts_once(store: Store, folder: Path) -> None:
    dead = Journal.create(folder, "dead")
    write_calls(dead, make_ids("dead", 10), ["dead-open"])
    dead.close()
    taken = adopt(folder / "dead")
    assert taken is not None
    whole = taken.read_records(0)
    taken.close()
    postings: list[Posting] = [make_posting(entry) for entry in whole.entries]
    store.ledger.ship("dead", 0, Load(postings[:4]), NOW_US)  # its position was not yet stored
    shipper = make_shipper(store, folder, Journal.create(folder, "own"))
    poll(lambda: not (folder / "dead").exists(), "the dead journal stays")
    assert shipper.stop(30)
    assert shipper.shipped == 7
    check_ledger(store, make_ids("dead", 10), ["dead-open"])


def test_a_journal_that_is_shipped_is_only_removed(store: Store, folder: Path) -> None:
    dead = Journal.create(folder, "dead")
    write_calls(dead, make_ids("dead", 10), ["dead-open"])
    dead.close()
    grant(store, "dead", MONTH, 5)
    store.ledger.ship("dead", SHIPPED, Load([]), NOW_US)
    shipper = make_shipper(store, folder, Journal.create(folder, "own"))
    poll(lambda: not (folder / "dead").exists(), "the dead journal stays")
    assert shipper.stop(30)
    assert list_all(store) == []  # retention may have removed its entries by now
    assert find_granted(store, "dead") == {}
    assert store.ledger.list_journals() == []


def test_what_nobody_wants_to_hear_is_shipped_all_the_same(
    store: Store, folder: Path, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_charges: list[Charge]) -> None:
        raise RuntimeError("a bug")

    shipper = Shipper(store.ledger, folder, journal, pace=QUICK, on_shipped=fail)
    shipper.start()
    write_calls(journal, ["one"])
    assert shipper.flush(30)
    assert shipper.stop(30)
    check_ledger(store, ["one"])
    assert "a bug" in caplog.text


def test_a_damaged_journal_gives_what_can_be_read(
    store: Store, folder: Path, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    dead = Journal.create(folder, "dead")
    write_calls(dead, [*make_ids("dead", 5), "broken"])
    end = dead.position & 0xFFFFFFFF
    dead.close()
    path = find_path(folder / "dead", 1)
    data = bytearray(path.read_bytes())
    data[end - 12] ^= 0xFF
    path.write_bytes(data)
    shipper = make_shipper(store, folder, journal)
    poll(lambda: not (folder / "dead").exists(), "the dead journal stays")
    assert shipper.stop(30)
    check_ledger(store, make_ids("dead", 5), ["broken"])
    assert shipper.damages == 1
    assert "dead is damaged" in caplog.text


def test_a_shipper_that_never_started_leaves_the_journal(
    store: Store, folder: Path, journal: Journal
) -> None:
    shipper = Shipper(store.ledger, folder, journal)
    write_calls(journal, ["one"])
    assert shipper.waiting_bytes > 0
    assert shipper.stop(1) is False
    assert [path.name for path in list_journals(folder)] == ["own"]
