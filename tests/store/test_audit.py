"""The audit: entries come back whole, newest first, and in pages."""

import msgspec
import pytest
from sqlalchemy import Connection

from trunkline.store.audit import Audit, AuditEntry, make_audit_id
from trunkline.store.page import CursorUnknownError
from trunkline.store.store import Store
from trunkline.store.transaction import Transaction
from trunkline.terms import Kind

HOSTILE = ["x'); DROP TABLE audit; --", 'x" OR "1"="1', "%", ":id", "?1", "{}"]


def enter(store: Store, at_us: int, kind: Kind = "key", subject_id: str = "key_1") -> AuditEntry:
    entry = AuditEntry(
        id=make_audit_id(),
        at_us=at_us,
        actor="cli:root",
        action=f"{kind}.change",
        kind=kind,
        subject_id=subject_id,
        before=None,
        after={"name": 'it\'s "it"; --', "terms": {"budgets": [2**52, None, True]}},
    )
    store.audit.create(entry)
    return entry


def test_entries_come_back_whole_and_newest_first(store: Store) -> None:
    entries = [enter(store, at_us) for at_us in (5, 9, 7)]
    assert store.audit.list() == [entries[1], entries[2], entries[0]]


def test_entries_are_found_by_kind_and_subject(store: Store) -> None:
    account = enter(store, 1, "account", "a")
    key = enter(store, 2, "key", "a")
    other = enter(store, 3, "key", "b")
    assert store.audit.list(kind="account") == [account]
    assert store.audit.list(kind="key") == [other, key]
    assert store.audit.list(subject_id="a") == [key, account]
    assert store.audit.list(kind="key", subject_id="a") == [key]


def test_pages_are_the_list_in_pieces(store: Store) -> None:
    for number in range(9):
        enter(store, number // 3, subject_id=f"key_{number % 2}")
    for subject_id in (None, "key_1"):
        whole = store.audit.list(subject_id=subject_id)
        for limit in (1, 2, 9, 10):
            seen: list[AuditEntry] = []
            while page := store.audit.list(
                seen[-1].id if seen else None, limit, subject_id=subject_id
            ):
                assert len(page) <= limit
                assert len(seen) < len(whole)
                seen += page
            assert seen == whole


def test_hostile_text_finds_nothing(store: Store) -> None:
    enter(store, 1)
    for text in ("", "\0", "\ud800", *HOSTILE):
        assert store.audit.list(subject_id=text) == []
        with pytest.raises(CursorUnknownError):
            store.audit.list(text)
    assert len(store.audit.list()) == 1


def test_an_entry_goes_with_the_write_that_it_is_part_of(store: Store) -> None:
    def fail(connection: Connection) -> None:
        part = Audit(Transaction(connection))
        part.create(kept)
        assert kept in part.list()
        raise RuntimeError

    kept = msgspec.structs.replace(enter(store, 1), id="another")
    with pytest.raises(RuntimeError):
        store.database.apply(fail)
    assert kept not in store.audit.list()
