"""Transactions on every kind of database: all or nothing, one moment, references kept."""

import threading

import pytest
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from trunkline.store.schema import ACCOUNTS, KEY_ACCOUNTS
from trunkline.store.store import Store

ROW = {"name": "", "status": "active", "created_at_us": 1}


def list_ids(connection: Connection) -> list[str]:
    return list(connection.scalars(select(ACCOUNTS.c.id).order_by(ACCOUNTS.c.id)))


def run_threads(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


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


def test_what_is_applied_is_returned_and_kept(store: Store) -> None:
    def add(connection: Connection) -> list[str]:
        connection.execute(insert(ACCOUNTS).values(id="a", **ROW))
        return list_ids(connection)

    assert store.database.apply(add) == ["a"]
    assert [account.id for account in store.accounts.list()] == ["a"]


def test_an_action_that_fails_by_itself_is_done_once(store: Store) -> None:
    seen: list[Connection] = []

    def fail(connection: Connection) -> None:
        seen.append(connection)
        connection.execute(insert(ACCOUNTS).values(id="a", **ROW))
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        store.database.apply(fail)
    assert len(seen) == 1
    assert store.accounts.list() == []


def test_writes_wait_for_each_other(store: Store) -> None:
    def add_twenty(mark: str) -> None:
        for number in range(20):

            def add(connection: Connection, name: str = f"{mark}{number}") -> None:
                list_ids(connection)  # reads first: on SQLite the lock must be held already
                connection.execute(insert(ACCOUNTS).values(id=name, **ROW))

            store.database.apply(add)

    run_threads(*(threading.Thread(target=add_twenty, args=(mark,)) for mark in "abc"))
    assert len(store.accounts.list()) == 60


def test_no_change_is_lost_between_reading_and_writing(store: Store) -> None:
    store.accounts.create("a", "", 0)

    def count_up(connection: Connection) -> None:
        number = connection.scalar(select(ACCOUNTS.c.created_at_us)) or 0
        connection.execute(update(ACCOUNTS).values(created_at_us=number + 1))

    def count_to_twenty() -> None:
        for _ in range(20):
            store.database.apply(count_up)

    run_threads(*(threading.Thread(target=count_to_twenty) for _ in range(3)))
    assert [account.created_at_us for account in store.accounts.list()] == [60]


def test_references_are_enforced(store: Store) -> None:
    with store.database.write() as connection, pytest.raises(IntegrityError):
        connection.execute(insert(KEY_ACCOUNTS).values(key_id="none", account_id="none"))
        connection.commit()


def test_errors_do_not_show_parameters(store: Store) -> None:
    with store.database.write() as connection, pytest.raises(IntegrityError) as caught:
        connection.execute(insert(KEY_ACCOUNTS).values(key_id="canary", account_id="none"))
    assert "canary" not in str(caught.value) + str(caught.value.orig)


def test_an_error_leaves_nothing_behind(store: Store) -> None:
    store.accounts.create("a", "", 1)
    for _ in range(2):
        with store.database.write() as connection, pytest.raises(IntegrityError):
            connection.execute(insert(ACCOUNTS).values(id="a", **ROW))
    store.accounts.create("b", "", 2)
    assert [account.id for account in store.accounts.list()] == ["a", "b"]
