"""The two ways to the newest schema lead to the same tables."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from trunkline.store.database import Database, StoreError, open_sqlite
from trunkline.store.revision import create_schema, find_revision, is_newest, migrate_schema
from trunkline.store.schema import METADATA, REVISION


@pytest.fixture
def created(tmp_path: Path) -> Iterator[Database]:
    database = open_sqlite(tmp_path / "created.db")
    create_schema(database)
    yield database
    database.close()


@pytest.fixture
def migrated(tmp_path: Path) -> Iterator[Database]:
    database = open_sqlite(tmp_path / "migrated.db")
    migrate_schema(database)
    yield database
    database.close()


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
        assert set(tables) == {"accounts", "alembic_version", "key_accounts", "keys"}
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


def test_a_database_at_the_start_of_history_is_migrated(migrated: Database) -> None:
    migrate_schema(migrated)  # nothing to do
    with migrated.write() as connection:
        for table in ("key_accounts", "keys", "accounts", "alembic_version"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
    assert not is_newest(migrated)
    migrate_schema(migrated)
    assert is_newest(migrated)


def test_an_empty_database_has_no_revision(tmp_path: Path) -> None:
    database = open_sqlite(tmp_path / "empty.db")
    with database.read() as connection:
        assert find_revision(connection) is None
    database.close()


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE recipes (id INTEGER)")
    other.close()
    database = open_sqlite(path)
    with database.read() as connection, pytest.raises(StoreError, match="recipes"):
        find_revision(connection)
    database.close()


def test_a_newer_database_is_refused(created: Database) -> None:
    with created.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match=r"newer Trunkline \(schema 9999"):
        migrate_schema(created)
