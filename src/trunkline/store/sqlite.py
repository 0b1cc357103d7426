"""The store in a SQLite file: its settings, its lock between processes, and its file mode."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event

from trunkline.store.database import Database, StoreError

BUSY_TIMEOUT_S: Final = 5.0
"""How long a transaction waits for another process's write before it gives up."""

_WRITES: Final = "trunkline_writes"


class SqliteDatabase(Database):
    """A SQLite file that several processes and threads may use at once.

    A write has its lock from the start: it waits for others, and never loses against one.

    Args:
        path: the file's.
        engine: an engine on it.
    """

    def __init__(self, path: Path, engine: Engine) -> None:
        super().__init__(str(path), engine, {}, {_WRITES: True})
        self._path = path

    @contextmanager
    def rebuild(self) -> Iterator[Connection]:
        """A write during which references may dangle; they are checked before the commit.

        SQLite changes most of a table by copying it and dropping the old one, and a drop counts
        as deleting its rows: with references enforced, rows of other tables would go with them.
        A file that is missing is created with mode 0600, its folder with 0700.

        Raises:
            StoreError: a reference leads nowhere at the end; nothing was changed.
            OSError: the file or its folder cannot be created.
        """
        with self._hold_place(), self._writer.connect() as connection:
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

    def exists(self) -> bool:
        """Whether the file is there: SQLite would create it, for everybody to read."""
        return self._path.exists()

    @contextmanager
    def _hold_place(self) -> Iterator[None]:
        """The file, there and locked: one process, and one thread of it, at a time."""
        folder = self._path.parent
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The lock goes with its holder's death.
        lock = os.open(f"{self._path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            flock(lock, LOCK_EX)
            if not self._path.exists():
                # Only ever opened here while new: closing any handle on a file drops all the
                # locks that SQLite holds on it in this process.
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            if self._path.stat().st_size == 0:
                self._use_write_ahead_log()
            yield
        finally:
            os.close(lock)

    def _use_write_ahead_log(self) -> None:
        # Kept in the file itself. Readers and one writer then never wait for each other.
        connection = self.engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()


def open_sqlite(path: Path) -> SqliteDatabase:
    """A database on a SQLite file; nothing is read or created before its first use."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": BUSY_TIMEOUT_S},
        hide_parameters=True,  # an error's text may be logged
    )
    event.listen(engine, "connect", _set_up_connection)
    event.listen(engine, "begin", _begin_transaction)
    return SqliteDatabase(path, engine)


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
