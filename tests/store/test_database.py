"""Transactions: all or nothing, one moment, references kept."""

import sqlite3
import threading

import pytest
from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from trunkline.store.database import StoreError
from trunkline.store.key import Key
from trunkline.store.schema import ACCOUNTS, KEY_ACCOUNTS
from trunkline.store.store import Store

KEY = Key(
    id="key_1",
    account_id="a",
    name="",
    role="member",
    prefix="",
    models=None,
    expires_at_us=None,
    revoked_at_us=None,
    created_at_us=1,
    last_used_at_us=None,
    accounts=("b",),
)
ROW = {"name": "", "status": "active", "created_at_us": 1}


def list_ids(connection: Connection) -> list[str]:
    return list(connection.scalars(select(ACCOUNTS.c.id).order_by(ACCOUNTS.c.id)))


def test_a_failed_write_changes_nothing(store: Store) -> None:
    def fail_midway() -> None:
        with store.database.write() as connection:
            connection.execute(insert(ACCOUNTS).values(id="a", **ROW))
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail_midway()
    with store.database.read() as connection:
        assert list_ids(connection) == []


def test_a_read_sees_one_moment(store: Store) -> None:
    store.accounts.create("a", "", 1)
    with store.database.read() as connection:
        before = list_ids(connection)
        store.accounts.create("b", "", 2)
        assert list_ids(connection) == before == ["a"]
    with store.database.read() as connection:
        assert list_ids(connection) == ["a", "b"]


def test_writes_wait_for_each_other(store: Store) -> None:
    def add_twenty(mark: str) -> None:
        for number in range(20):
            with store.database.write() as connection:
                list_ids(connection)  # reads first: the lock must be held already
                connection.execute(insert(ACCOUNTS).values(id=f"{mark}{number}", **ROW))

    threads = [threading.Thread(target=add_twenty, args=(mark,)) for mark in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.accounts.list()) == 80


def test_references_are_enforced(store: Store) -> None:
    with store.database.write() as connection, pytest.raises(IntegrityError):
        connection.execute(insert(KEY_ACCOUNTS).values(key_id="none", account_id="none"))


def test_a_rebuild_may_drop_a_table_without_losing_what_refers_to_it(store: Store) -> None:
    store.accounts.create("a", "", 1)
    store.accounts.create("b", "", 1)
    store.keys.create(KEY, b"1" * 32)
    with store.database.rebuild() as connection:
        sql = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'keys'")
        connection.exec_driver_sql(sql.scalar_one().replace("TABLE keys", "TABLE new"))
        connection.exec_driver_sql("INSERT INTO new SELECT * FROM keys")
        connection.exec_driver_sql("DROP TABLE keys")  # its references cascade on deletion
        connection.exec_driver_sql("ALTER TABLE new RENAME TO keys")
    assert list(store.keys.list()) == [KEY]


def test_a_rebuild_that_breaks_a_reference_is_undone(store: Store) -> None:
    def break_reference() -> None:
        with store.database.rebuild() as connection:
            connection.execute(insert(KEY_ACCOUNTS).values(key_id="none", account_id="none"))

    with pytest.raises(StoreError, match="refer"):
        break_reference()
    with store.database.write() as connection:
        assert connection.execute(select(KEY_ACCOUNTS)).all() == []
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_errors_do_not_show_parameters(store: Store) -> None:
    with store.database.write() as connection, pytest.raises(IntegrityError) as caught:
        connection.execute(insert(KEY_ACCOUNTS).values(key_id="canary", account_id="none"))
    assert "canary" not in str(caught.value)
    assert isinstance(caught.value.orig, sqlite3.IntegrityError)
