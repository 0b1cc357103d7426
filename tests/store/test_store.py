"""Opening, on every kind of database: new, existing, at the same time, and what is refused."""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trunkline.store.database import StoreError
from trunkline.store.revision import HISTORY
from trunkline.store.schema import REVISION
from trunkline.store.store import Migration, migrate_store, open_store

OPEN_AND_ADD = """
import sys
from trunkline.store.store import open_store
print("ready", flush=True)
sys.stdin.readline()
store = open_store(sys.argv[1])
store.accounts.create(sys.argv[2], "", 1)
store.close()
"""

RENEW = """
import sys
from trunkline.store.revision import History, renew_schema
from trunkline.store.store import open_store
store = open_store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(renew_schema(store.database, History("next", tuple(sys.argv[2:]))))
store.close()
"""

STEP = '''
"""Only one process can take this step."""

import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{newest}"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("notes", sa.Text))
    row = "('a', '', 'active', 1, '')"
    op.execute("INSERT INTO accounts (id, name, status, created_at_us, notes) VALUES " + row)
'''

OPEN_AND_SAY_WHAT_WAS_LOADED = """
import sys
from trunkline.store.store import open_store
open_store(sys.argv[1]).close()
print("alembic" in sys.modules)
"""


def race(program: str, *arguments: Sequence[str]) -> list[str]:
    """Start a process for each list of arguments, let all go at once, and return their words."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for words in arguments
    ]
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
    for child in children:  # all have loaded what they need; now they race
        assert child.stdin
        child.stdin.write("\n")
        child.stdin.flush()
    results = [(*child.communicate(), child.returncode) for child in children]
    assert [(err, code) for _, err, code in results] == [("", 0)] * len(children)
    return [out.strip() for out, _, _ in results]


def test_what_was_stored_is_there_after_opening_again(where: Path | str) -> None:
    store = open_store(where)
    account = store.accounts.create("a", "Team A", 7)
    store.close()
    again = open_store(str(where))
    assert again.accounts.list() == [account]
    again.close()


def test_neither_a_new_nor_a_known_store_loads_alembic(where: Path | str) -> None:
    program = [sys.executable, "-c", OPEN_AND_SAY_WHAT_WAS_LOADED, str(where)]
    for _ in range(2):
        answer = subprocess.run(program, capture_output=True, text=True, check=True)
        assert answer.stdout == "False\n"


def test_processes_may_open_a_new_store_at_the_same_time(where: Path | str) -> None:
    names = [f"account {number}" for number in range(4)]
    race(OPEN_AND_ADD, *((str(where), name) for name in names))
    store = open_store(where)
    assert sorted(account.id for account in store.accounts.list()) == names
    store.close()


def test_processes_may_migrate_an_old_store_at_the_same_time(
    where: Path | str, tmp_path: Path
) -> None:
    (tmp_path / "next.py").write_text(STEP.format(newest=REVISION))
    open_store(where).close()
    words = (str(where), *HISTORY.folders, str(tmp_path))
    assert sorted(race(RENEW, *[words] * 4)) == sorted([REVISION, "next", "next", "next"])


def test_threads_may_open_a_new_store_at_the_same_time(where: Path | str) -> None:
    def open_and_add(number: int) -> None:
        store = open_store(where)
        store.accounts.create(str(number), "", 1)
        store.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(open_and_add, range(16)))
    store = open_store(where)
    assert len(store.accounts.list()) == 16
    store.close()


def test_migrating_says_what_became_of_the_database(where: Path | str) -> None:
    first, second = migrate_store(where), migrate_store(where)
    assert (first.before, first.after) == (None, REVISION)
    assert second == Migration(first.name, REVISION, REVISION)


@pytest.mark.parametrize("url", ["mysql://me:canary@db/a", "postgresql://me:can@ary@db/a"])
def test_a_url_that_no_store_can_have_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        open_store(url)
    assert "ary" not in str(caught.value)


def test_a_store_of_a_newer_version_is_refused(where: Path | str) -> None:
    store = open_store(where)
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    store.close()
    with pytest.raises(StoreError, match="newer Trunkline") as caught:
        open_store(where)
    assert "canary" not in str(caught.value)


def test_the_database_of_another_program_is_refused(where: Path | str) -> None:
    store = open_store(where)
    with store.database.rebuild() as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version")
    store.close()
    with pytest.raises(StoreError, match="accounts, attempts, audit"):
        open_store(where)
