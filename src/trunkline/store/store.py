"""The store: accounts and keys in one database, brought to the newest schema when opened."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from trunkline.store.account import Accounts
from trunkline.store.database import Database, StoreError, open_sqlite
from trunkline.store.key import Keys
from trunkline.store.revision import create_schema, find_revision, is_newest, migrate_schema
from trunkline.store.schema import REVISION

FILE_NAME: Final = "trunkline.db"
"""The database's name in the data folder."""


class Store:
    """What the gateway remembers; give it back with ``close``.

    Args:
        database: a database of the newest schema.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.accounts = Accounts(database)
        self.keys = Keys(database)

    def close(self) -> None:
        """Close every connection."""
        self.database.close()


def open_store(where: Path | str) -> Store:
    """Open the store in a SQLite file; create or migrate it first where that is needed.

    A new file gets mode 0600 and its new folder 0700. Several processes may open the same new
    file at once.

    Args:
        where: the file's path.

    Raises:
        StoreError: the file cannot be opened, or is not a Trunkline database of this version or
            an older one.
        ValueError: ``where`` is the URL of a database server.
    """
    if isinstance(where, str) and "://" in where:
        scheme = where.partition("://")[0]
        raise ValueError(f"a {scheme} store needs a later version of Trunkline; use sqlite")
    path = Path(where).expanduser().absolute()
    database = open_sqlite(path)
    try:
        # The usual case needs no lock: somebody opened this file before.
        if not (path.exists() and is_newest(database)):
            _prepare(path, database)
    except (OSError, SQLAlchemyError, StoreError) as error:
        database.close()
        raise StoreError(f"cannot open the database {path}: {_explain(error)}") from error
    return Store(database)


def _prepare(path: Path, database: Database) -> None:
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _hold_lock(path):
        if not path.exists():
            # Only ever opened here while new: closing any handle on a file drops all the locks
            # that SQLite holds on it in this process.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with database.read() as connection:
            revision = find_revision(connection)
        if revision is None:
            _use_write_ahead_log(database)
            create_schema(database)
        elif revision != REVISION:
            migrate_schema(database)


@contextmanager
def _hold_lock(path: Path) -> Iterator[None]:
    """One process, and one thread of it, at a time; the lock goes with its holder's death."""
    lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        flock(lock, LOCK_EX)
        yield
    finally:
        os.close(lock)


def _use_write_ahead_log(database: Database) -> None:
    # Kept in the file itself. Readers and one writer then never wait for each other.
    connection = database.engine.raw_connection()
    try:
        connection.cursor().execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


def _explain(error: Exception) -> str:
    """The cause in one line: the driver's own words, without statement and parameters."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(getattr(error, "orig", None) or error)
