"""Bringing a database to the newest schema revision: a new one at once, an old one by migration.

Alembic is loaded only when there is something to migrate, because that takes 0.1 s.
"""

from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import Connection, insert, inspect, select

from trunkline.store.database import Database, StoreError
from trunkline.store.schema import ACCOUNTS, KEYS, METADATA, REVISION, STAMP

if TYPE_CHECKING:
    from alembic.config import Config


class History(msgspec.Struct, frozen=True):
    """The steps that lead to a schema: the last one, and the folders that hold them."""

    newest: str = REVISION
    folders: tuple[str, ...] = ("trunkline.store:migrations/versions",)


HISTORY: Final = History()


def find_revision(connection: Connection) -> str | None:
    """The schema revision that the database is stamped with; None when it is empty.

    Raises:
        StoreError: there are tables, but no stamp, or that of another program: the database
            belongs to something else.
    """
    tables = set(inspect(connection).get_table_names())
    if {STAMP.name, ACCOUNTS.name, KEYS.name} <= tables:
        revision: str = connection.execute(select(STAMP.c.version_num)).scalar_one()
        return revision
    if tables:
        raise StoreError(
            f"it holds tables that Trunkline did not create ({', '.join(sorted(tables)[:3])}); "
            "name an empty place"
        )
    return None


def is_newest(database: Database, history: History = HISTORY) -> bool:
    """Whether the database already has the newest schema; one cheap read."""
    with database.read() as connection:
        return find_revision(connection) == history.newest


def renew_schema(database: Database, history: History = HISTORY) -> str | None:
    """Bring the database to the newest schema; returns the revision before, None for a new one.

    Any number of processes may do this at once: one does it, the others find it done.

    Raises:
        StoreError: the database is not ours or was stamped by a newer Trunkline, or a migration
            broke a reference between tables; nothing was changed.
    """
    with database.rebuild() as connection:
        found = find_revision(connection)
        if found is None:
            create_schema(connection)
        if (found or REVISION) != history.newest:
            migrate_schema(connection, history)
    return found


def create_schema(connection: Connection) -> None:
    """Create every table at once in an empty database and stamp it with the newest revision."""
    METADATA.create_all(connection, checkfirst=False)
    STAMP.create(connection)
    connection.execute(insert(STAMP).values(version_num=REVISION))


def migrate_schema(connection: Connection, history: History = HISTORY) -> None:
    """Run the migrations that lead from the database's revision to the newest.

    Args:
        connection: of a rebuild, so that all of them happen, or none does.
        history: the steps.

    Raises:
        StoreError: the database was stamped by a newer Trunkline.
    """
    from alembic import command  # noqa: PLC0415 - see the module's docstring
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = _make_config(history)
    found = find_revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise StoreError(
            f"it was written by a newer Trunkline (schema {found}, this one knows "
            f"{history.newest}); install that version again"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, history.newest)


def _make_config(history: History) -> "Config":
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "trunkline.store:migrations")
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(history.folders))
    return config
