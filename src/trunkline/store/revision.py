"""Bringing a database to the newest schema revision: a new one at once, an old one by migration.

Alembic is loaded only when there is something to migrate, because that takes 0.1 s.
"""

from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert, inspect, select

from trunkline.store.database import Database, StoreError
from trunkline.store.schema import METADATA, REVISION, STAMP

if TYPE_CHECKING:
    from alembic.config import Config


def find_revision(connection: Connection) -> str | None:
    """The schema revision that the database is stamped with; None when it is empty.

    Raises:
        StoreError: there are tables, but no stamp: the database belongs to something else.
    """
    tables = inspect(connection).get_table_names()
    if STAMP.name in tables:
        return connection.execute(select(STAMP.c.version_num)).scalar()
    if tables:
        raise StoreError(
            f"it holds tables that Trunkline did not create ({', '.join(sorted(tables)[:3])}); "
            "name an empty place"
        )
    return None


def is_newest(database: Database) -> bool:
    """Whether the database already has the newest schema; one cheap read."""
    with database.read() as connection:
        return find_revision(connection) == REVISION


def create_schema(database: Database) -> None:
    """Create every table at once in an empty database and stamp it with the newest revision."""
    with database.write() as connection:
        METADATA.create_all(connection, checkfirst=False)
        STAMP.create(connection)
        connection.execute(insert(STAMP).values(version_num=REVISION))


def migrate_schema(database: Database, revision: str = REVISION) -> None:
    """Run the migrations that lead from the database's revision to the given one.

    All of them happen, or none does.

    Raises:
        StoreError: the database was stamped by a newer Trunkline, or a migration broke a
            reference between tables.
    """
    from alembic import command  # noqa: PLC0415 - see the module's docstring
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = _make_config()
    with database.read() as connection:
        found = find_revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise StoreError(
            f"it was written by a newer Trunkline (schema {found}, this one knows {REVISION}); "
            "install that version again"
        )
    with database.rebuild() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _make_config() -> "Config":
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "trunkline.store:migrations")
    config.set_main_option("path_separator", "os")
    return config
