"""The store: accounts and keys in one database, brought to the newest schema when opened."""

from pathlib import Path

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from trunkline.store.account import Accounts
from trunkline.store.address import FILE_NAME, check_url, mask_url
from trunkline.store.audit import Audit
from trunkline.store.database import Database, StoreError, explain_error
from trunkline.store.key import Keys
from trunkline.store.lease import Leases
from trunkline.store.ledger import Ledger
from trunkline.store.revision import is_newest, renew_schema
from trunkline.store.schema import REVISION
from trunkline.store.sqlite import open_sqlite
from trunkline.store.usage import Usage

__all__ = ["FILE_NAME", "Migration", "Store", "migrate_store", "open_store"]


class Store:
    """What the gateway remembers; give it back with ``close``.

    Args:
        database: a database of the newest schema.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.accounts = Accounts(database)
        self.keys = Keys(database)
        self.leases = Leases(database)
        self.ledger = Ledger(database)
        self.audit = Audit(database)
        self.usage = Usage(database)

    def close(self) -> None:
        """Close every connection."""
        self.database.close()


class Migration(msgspec.Struct, frozen=True):
    """What became of a database: its name for people, and its schema before and after.

    ``before`` is None for a database that was empty.
    """

    name: str
    before: str | None
    after: str


def open_store(where: Path | str) -> Store:
    """Open the store in a SQLite file or on a server; create or migrate it first where needed.

    A new file gets mode 0600 and its new folder 0700. Several processes may open the same new
    database at once.

    Args:
        where: the file's path, or the URL of a PostgreSQL database, as ``locate_store`` returns
            them.

    Raises:
        StoreError: the database cannot be reached or opened, or is not a Trunkline database of
            this version or an older one; the message never shows a password.
        ValueError: ``where`` is a URL that no store can have.
    """
    database, _ = _open_newest(where)
    return Store(database)


def migrate_store(where: Path | str) -> Migration:
    """Bring a database to the newest schema and close it again; see ``open_store``."""
    database, before = _open_newest(where)
    database.close()
    return Migration(database.name, before, REVISION)


def _open_newest(where: Path | str) -> tuple[Database, str | None]:
    """The database at the newest schema, and the revision that it had before."""
    database = _open_database(where)
    try:
        # The usual case needs no lock: somebody opened this database before.
        if database.exists() and is_newest(database):
            return database, REVISION
        return database, renew_schema(database)
    except (OSError, SQLAlchemyError, StoreError) as error:
        database.close()
        reason = explain_error(error)
        raise StoreError(f"cannot open the database {database.name}: {reason}") from error


def _open_database(where: Path | str) -> Database:
    if isinstance(where, Path) or "://" not in where:
        return open_sqlite(Path(where).expanduser().absolute())
    check_url(where)
    try:
        from trunkline.store.postgres import open_postgres  # noqa: PLC0415 - psycopg is an extra
    except ImportError as error:
        raise StoreError(
            f"cannot open the database {mask_url(where)}: psycopg is missing ({error}); "
            "install it with: pip install 'trunkline[postgres]'"
        ) from error
    return open_postgres(where)
