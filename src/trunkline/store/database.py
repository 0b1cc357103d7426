"""A database: one engine, read and write transactions on it, and SQLite's settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event

BUSY_TIMEOUT_S: Final = 5.0
"""How long a transaction waits for another process's write before it gives up."""

_WRITES: Final = "trunkline_writes"


class StoreError(Exception):
    """The database cannot be opened or used; the message says why and what to do."""


class Database:
    """Transactions on one engine: reads see one moment, writes are all or nothing.

    Args:
        engine: an engine made by this module; closed together with the database.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writer = engine.execution_options(**{_WRITES: True})

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for queries that all see the same moment."""
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection whose changes are committed at the end, or not at all on an exception."""
        with self._writer.begin() as connection:
            yield connection

    @contextmanager
    def rebuild(self) -> Iterator[Connection]:
        """A write during which references may dangle; they are checked before the commit.

        SQLite changes most of a table by copying it and dropping the old one, and a drop counts
        as deleting its rows: with references enforced, rows of other tables would go with them.

        Raises:
            StoreError: a reference leads nowhere at the end; nothing was changed.
        """
        with self._writer.connect() as connection:
            driver: SqliteConnection = connection.connection.driver_connection  # type: ignore[assignment]
            driver.execute("PRAGMA foreign_keys = OFF")
            try:
                with connection.begin():
                    yield connection
                    faults = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
                    if faults:
                        raise StoreError(f"{len(faults)} rows would refer to rows that are gone")
            finally:
                driver.execute("PRAGMA foreign_keys = ON")

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def open_sqlite(path: Path) -> Database:
    """A database on a SQLite file; nothing is read or created before its first use."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": BUSY_TIMEOUT_S},
        hide_parameters=True,  # an error's text may be logged
    )
    event.listen(engine, "connect", _set_up_connection)
    event.listen(engine, "begin", _begin_transaction)
    return Database(engine)


def _set_up_connection(connection: SqliteConnection, _record: Any) -> None:
    # The driver would begin transactions by itself, but only before some statements and never
    # before DDL; with this it leaves them to us.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_transaction(connection: Connection) -> None:
    # A write takes its lock at the start, where SQLite waits for it; a transaction that reads
    # first and then writes would fail at once when another process wrote in between.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
