"""Opening: new, existing, at the same time, and what cannot be opened."""

import os
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trunkline.store.database import StoreError
from trunkline.store.store import open_store

OPEN_AND_ADD = """
import sys
from trunkline.store.store import open_store
print("ready", flush=True)
sys.stdin.readline()
store = open_store(sys.argv[1])
store.accounts.create(sys.argv[2], "", 1)
store.close()
"""

OPEN_AND_SAY_WHAT_WAS_LOADED = """
import sys
from trunkline.store.store import open_store
open_store(sys.argv[1]).close()
print("alembic" in sys.modules)
"""


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


def test_what_was_stored_is_there_after_opening_again(tmp_path: Path) -> None:
    store = open_store(tmp_path / "trunkline.db")
    account = store.accounts.create("a", "Team A", 7)
    store.close()
    again = open_store(str(tmp_path / "trunkline.db"))
    assert again.accounts.list() == [account]
    again.close()


def test_the_file_is_written_ahead(tmp_path: Path) -> None:
    open_store(tmp_path / "trunkline.db").close()
    connection = sqlite3.connect(tmp_path / "trunkline.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_neither_a_new_nor_a_known_store_loads_alembic(tmp_path: Path) -> None:
    program = [sys.executable, "-c", OPEN_AND_SAY_WHAT_WAS_LOADED, str(tmp_path / "a.db")]
    for _ in range(2):
        answer = subprocess.run(program, capture_output=True, text=True, check=True)
        assert answer.stdout == "False\n"


def test_processes_may_open_a_new_store_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "data" / "trunkline.db"
    names = [f"account {number}" for number in range(6)]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_ADD, str(path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
    for child in children:  # all have loaded what they need; now they race
        assert child.stdin
        child.stdin.write("\n")
        child.stdin.flush()
    results = [(child.communicate()[1], child.returncode) for child in children]
    assert results == [("", 0)] * len(children)
    store = open_store(path)
    assert sorted(account.id for account in store.accounts.list()) == names
    store.close()


def test_threads_may_open_a_new_store_at_the_same_time(tmp_path: Path) -> None:
    def open_and_add(number: int) -> None:
        store = open_store(tmp_path / "trunkline.db")
        store.accounts.create(str(number), "", 1)
        store.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(open_and_add, range(16)))
    store = open_store(tmp_path / "trunkline.db")
    assert len(store.accounts.list()) == 16
    store.close()


@pytest.mark.parametrize("name", ["a b.db", "100%.db", "what?.db", "#1.db", "file:x.db", "ü.db"])
def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    open_store(tmp_path / name).close()
    assert (tmp_path / name).stat().st_size > 0


def test_a_database_server_is_refused_clearly() -> None:
    with pytest.raises(ValueError, match="postgresql store needs a later version") as caught:
        open_store("postgresql://me:canary@db/trunkline")
    assert "canary" not in str(caught.value)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trunkline.db"
    path.write_text("A text that is long enough not to be taken for an empty file. " * 10)
    with pytest.raises(StoreError, match=r"trunkline\.db: file is not a database"):
        open_store(path)


def test_a_place_that_cannot_exist_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot open the database .*: Not a directory"):
        open_store(tmp_path / "file" / "trunkline.db")


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path / "trunkline.db")
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    store.close()
    with pytest.raises(StoreError, match="newer Trunkline"):
        open_store(tmp_path / "trunkline.db")


def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trunkline.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE recipes (id INTEGER)")
    other.close()
    with pytest.raises(StoreError, match="recipes"):
        open_store(path)
