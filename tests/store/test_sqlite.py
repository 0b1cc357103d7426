"""SQLite alone: the file, its mode, its log, and tables that are copied to be changed."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from trunkline.store.database import StoreError
from trunkline.store.key import Key
from trunkline.store.schema import KEY_ACCOUNTS
from trunkline.store.store import Store, open_store

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
    subject_id="key_1",
    accounts=("b",),
)


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "trunkline.db")
    yield opened
    opened.close()


def read_mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_store_is_private(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        store = open_store(tmp_path / "data" / "trunkline.db")
    finally:
        os.umask(before)
    store.accounts.create("a", "", 1)
    assert read_mode(tmp_path / "data") == 0o700
    files = {path.name: read_mode(path) for path in (tmp_path / "data").iterdir()}
    assert files == dict.fromkeys(files, 0o600)
    assert {"trunkline.db", "trunkline.db-wal"} <= files.keys()
    store.close()


def test_the_mode_of_an_existing_folder_is_the_operators(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    open_store(folder / "trunkline.db").close()
    assert read_mode(folder) == 0o755
    assert read_mode(folder / "trunkline.db") == 0o600


def test_the_file_is_written_ahead(tmp_path: Path) -> None:
    open_store(tmp_path / "trunkline.db").close()
    connection = sqlite3.connect(tmp_path / "trunkline.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.parametrize("name", ["a b.db", "100%.db", "what?.db", "#1.db", "file:x.db", "ü.db"])
def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    open_store(str(tmp_path / name)).close()
    assert (tmp_path / name).stat().st_size > 0


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trunkline.db"
    path.write_text("A text that is long enough not to be taken for an empty file. " * 10)
    with pytest.raises(StoreError, match=r"trunkline\.db: file is not a database"):
        open_store(path)


def test_a_place_that_cannot_exist_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot open the database .*: Not a directory"):
        open_store(tmp_path / "file" / "trunkline.db")


def test_a_rebuild_may_drop_a_table_without_losing_what_refers_to_it(file_store: Store) -> None:
    file_store.accounts.create("a", "", 1)
    file_store.accounts.create("b", "", 1)
    file_store.keys.create(KEY, b"1" * 32)
    with file_store.database.rebuild() as connection:
        sql = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'keys'")
        connection.exec_driver_sql(sql.scalar_one().replace("TABLE keys", "TABLE new"))
        connection.exec_driver_sql("INSERT INTO new SELECT * FROM keys")
        connection.exec_driver_sql("DROP TABLE keys")  # its references cascade on deletion
        connection.exec_driver_sql("ALTER TABLE new RENAME TO keys")
    assert list(file_store.keys.list()) == [KEY]


def test_a_rebuild_that_breaks_a_reference_is_undone(file_store: Store) -> None:
    def break_reference() -> None:
        with file_store.database.rebuild() as connection:
            connection.execute(insert(KEY_ACCOUNTS).values(key_id="none", account_id="none"))

    with pytest.raises(StoreError, match="refer"):
        break_reference()
    with file_store.database.write() as connection:
        assert connection.execute(select(KEY_ACCOUNTS)).all() == []
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
