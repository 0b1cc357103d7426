"""The two ways to the newest schema lead to the same tables, on every kind of database."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from store.conftest import KINDS
from store.postgres import make_schema, make_url
from trunkline.store.database import Database, StoreError
from trunkline.store.postgres import open_postgres
from trunkline.store.revision import (
    HISTORY,
    History,
    create_schema,
    find_revision,
    is_newest,
    migrate_schema,
    renew_schema,
)
from trunkline.store.schema import METADATA, REVISION
from trunkline.store.sqlite import open_sqlite

Open = Callable[[], Database]

NEXT_STEP = '''
"""Notes beside accounts."""

import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{newest}"


def upgrade() -> None:
    op.create_table("notes", sa.Column("id", sa.Text, primary_key=True))
    op.execute("INSERT INTO notes VALUES ('{newest}')")
    {more}
'''


@pytest.fixture(params=KINDS)
def open_empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens empty databases, all of one kind, another one each time."""
    opened: list[Database] = []
    schemas = []

    def open_one() -> Database:
        if request.param == "sqlite":
            opened.append(open_sqlite(tmp_path / f"{len(opened)}.db"))
        else:
            schemas.append(make_schema())
            opened.append(open_postgres(make_url(options=schemas[-1].__enter__())))
        return opened[-1]

    yield open_one
    for database in opened:
        database.close()
    for schema in schemas:
        schema.__exit__(None, None, None)


@pytest.fixture
def created(open_empty: Open) -> Database:
    database = open_empty()
    assert renew_schema(database) is None
    return database


@pytest.fixture
def migrated(open_empty: Open) -> Database:
    database = open_empty()
    with database.rebuild() as connection:
        migrate_schema(connection)
    return database


def write_step(folder: Path, more: str = "") -> History:
    (folder / "steps").mkdir()
    (folder / "steps" / "next.py").write_text(NEXT_STEP.format(newest=REVISION, more=more))
    return History("next", (*HISTORY.folders, str(folder / "steps")))


def describe_schema(connection: Connection) -> dict[str, Any]:
    """Every table with its columns, keys, references, indexes and checks, in a fixed order."""
    look = inspect(connection)
    return {
        table: {
            "columns": [{**column, "type": repr(column["type"])} for column in columns],
            "key": look.get_pk_constraint(table),
            "references": sorted(look.get_foreign_keys(table), key=repr),
            "indexes": sorted(look.get_indexes(table), key=repr),
            "unique": sorted(look.get_unique_constraints(table), key=repr),
            "checks": sorted(look.get_check_constraints(table), key=repr),
        }
        for table in sorted(look.get_table_names())
        if (columns := sorted(look.get_columns(table), key=lambda column: column["name"]))
    }


def test_migrations_lead_to_the_same_schema_as_the_metadata(
    created: Database, migrated: Database
) -> None:
    with created.read() as one, migrated.read() as other:
        tables = describe_schema(one)
        assert set(tables) == {*METADATA.tables, "alembic_version"}
        assert describe_schema(other) == tables


def test_alembic_finds_nothing_left_to_do(migrated: Database) -> None:
    with migrated.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_the_constant_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "trunkline.store:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_a_migrated_database_is_the_newest(migrated: Database) -> None:
    assert is_newest(migrated)
    assert renew_schema(migrated) == REVISION


def test_an_empty_database_has_no_revision(open_empty: Open) -> None:
    with open_empty().read() as connection:
        assert find_revision(connection) is None


def test_an_old_database_takes_the_steps_that_it_lacks(created: Database, tmp_path: Path) -> None:
    history = write_step(tmp_path)
    assert not is_newest(created, history)
    assert renew_schema(created, history) == REVISION
    assert is_newest(created, history)
    assert renew_schema(created, history) == "next"
    with created.read() as connection:
        assert connection.exec_driver_sql("SELECT id FROM notes").scalars().all() == [REVISION]


def test_a_new_database_takes_steps_beside_the_packages_own(
    open_empty: Open, tmp_path: Path
) -> None:
    database = open_empty()
    history = write_step(tmp_path)
    assert renew_schema(database, history) is None
    assert is_newest(database, history)


def test_a_step_that_fails_is_undone_whole(created: Database, tmp_path: Path) -> None:
    history = write_step(tmp_path, "raise RuntimeError('halfway')")
    with pytest.raises(RuntimeError, match="halfway"):
        renew_schema(created, history)
    assert is_newest(created)
    with created.read() as connection:
        assert "notes" not in inspect(connection).get_table_names()


def test_a_failed_creation_leaves_the_database_empty(open_empty: Open) -> None:
    database = open_empty()

    def fail() -> None:
        with database.rebuild() as connection:
            create_schema(connection)
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fail()
    with database.read() as connection:
        assert find_revision(connection) is None


@pytest.mark.parametrize("table", ["recipes", "alembic_version"])
def test_a_database_of_something_else_is_left_alone(open_empty: Open, table: str) -> None:
    database = open_empty()
    with database.rebuild() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {table} (version_num TEXT)")
        connection.exec_driver_sql(f"INSERT INTO {table} VALUES ('d41d8cd98f00')")
    with pytest.raises(StoreError, match=f"did not create \\({table}\\)"):
        renew_schema(database)
    with database.read() as connection:
        assert inspect(connection).get_table_names() == [table]


def test_a_newer_database_is_refused(created: Database) -> None:
    with created.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match=r"newer Trunkline \(schema 9999"):
        renew_schema(created)
