"""Keys in the store: hashes and what each key may do; the key's own text is never here."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from trunkline.store.account import AccountUnknownError
from trunkline.store.database import Database
from trunkline.store.schema import ACCOUNTS, KEY_ACCOUNTS, KEYS

Role = Literal["admin", "member"]

_SHOWN: Final = [column for column in KEYS.c if column.name != "hash"]


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one key: everything but its text and its hash.

    ``accounts`` are further accounts that it may act for, beside its own; ``models`` are the
    patterns of the models that it may use, None for all.
    """

    id: str
    account_id: str
    name: str
    role: Role
    prefix: str
    models: tuple[str, ...] | None
    expires_at_us: int | None
    revoked_at_us: int | None
    created_at_us: int
    last_used_at_us: int | None
    accounts: tuple[str, ...] = ()


class KeyMatch(msgspec.Struct, frozen=True, kw_only=True):
    """A key found by its hash, and how its accounts stand at this moment."""

    hash: bytes
    key: Key
    active: bool
    active_accounts: frozenset[str]


class KeyExistsError(ValueError):
    """There already is a key with this hash."""


class Keys:
    """The keys of one database.

    Args:
        database: where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, key: Key, digest: bytes) -> None:
        """Add a key under its hash (32 bytes).

        Raises:
            AccountUnknownError: an account of the key does not exist.
            KeyExistsError: the hash is taken.
        """
        row = msgspec.structs.asdict(key)
        further = [text for text in row.pop("accounts") if text != key.account_id]

        def add(connection: Connection) -> None:
            _require_accounts(connection, (key.account_id, *further))
            try:
                connection.execute(insert(KEYS).values(**row, hash=digest))
            except IntegrityError as error:
                raise KeyExistsError("this key exists already") from error
            if further:
                rows = [{"key_id": key.id, "account_id": text} for text in dict.fromkeys(further)]
                connection.execute(insert(KEY_ACCOUNTS), rows)

        self._database.apply(add)

    def find(self, key_id: str) -> Key | None:
        """The key with this id, or None."""
        found = self._select(KEYS.c.id == key_id)
        return found[0] if found else None

    def find_by_hash(self, digests: Sequence[bytes]) -> list[KeyMatch]:
        """The keys that have these hashes, and how their accounts stand; at most 500 hashes."""
        asked = KEYS.c.hash.in_(digests)
        query = (
            select(KEYS, (ACCOUNTS.c.status == "active").label("active"))
            .join(ACCOUNTS, ACCOUNTS.c.id == KEYS.c.account_id)
            .where(asked)
        )
        with self._database.read() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
            further = _find_further(connection, asked) if rows else {}
        matches = []
        for row in rows:
            digest, active = row.pop("hash"), row.pop("active")
            standing = further.get(row["id"], {})
            matches.append(
                KeyMatch(
                    hash=digest,
                    key=_read_key(row, standing),
                    active=active,
                    active_accounts=frozenset(text for text in standing if standing[text]),
                )
            )
        return matches

    def find_by_text(self, text: str) -> Sequence[Key]:
        """The keys whose id or shown prefix starts with the text; letter case counts."""
        starts = [
            func.substr(column, 1, len(text)) == text for column in (KEYS.c.id, KEYS.c.prefix)
        ]
        return self._select(or_(*starts)) if text else []

    def list(self, account_id: str | None = None) -> Sequence[Key]:
        """Every key, or those of one account, oldest first."""
        return self._select(*([KEYS.c.account_id == account_id] if account_id else []))

    def change_revoked(self, key_id: str, revoked_at_us: int | None) -> bool:
        """Revoke a key, or with None bring it back; False when it does not exist."""
        change = update(KEYS).where(KEYS.c.id == key_id).values(revoked_at_us=revoked_at_us)
        return self._database.apply(lambda connection: connection.execute(change).rowcount) > 0

    def change_last_used(self, key_ids: Iterable[str], now_us: int) -> None:
        """Note that these keys were in use at this time."""
        change = update(KEYS).where(KEYS.c.id.in_(list(key_ids))).values(last_used_at_us=now_us)
        self._database.apply(lambda connection: connection.execute(change))

    def _select(self, *conditions: ColumnElement[bool]) -> Sequence[Key]:
        query = select(*_SHOWN).where(*conditions).order_by(KEYS.c.created_at_us, KEYS.c.id)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
            further = _find_further(connection, *conditions)
        return [_read_key(dict(row), further.get(row["id"], {})) for row in rows]


def _require_accounts(connection: Connection, account_ids: Sequence[str]) -> None:
    known = set(connection.scalars(select(ACCOUNTS.c.id).where(ACCOUNTS.c.id.in_(account_ids))))
    for account_id in account_ids:
        if account_id not in known:
            raise AccountUnknownError(account_id)


def _find_further(
    connection: Connection, *conditions: ColumnElement[bool]
) -> dict[str, dict[str, bool]]:
    """By id of each key that the conditions choose: its further accounts, and which are active."""
    query = (
        select(KEY_ACCOUNTS, (ACCOUNTS.c.status == "active").label("active"))
        .join(KEYS, KEYS.c.id == KEY_ACCOUNTS.c.key_id)
        .join(ACCOUNTS, ACCOUNTS.c.id == KEY_ACCOUNTS.c.account_id)
        .where(*conditions)
        .order_by(KEY_ACCOUNTS.c.account_id)
    )
    found: dict[str, dict[str, bool]] = {}
    for key_id, account_id, active in connection.execute(query):
        found.setdefault(key_id, {})[account_id] = active
    return found


def _read_key(row: dict[str, Any], further: Iterable[str]) -> Key:
    models = row.pop("models")
    return Key(
        **row,
        models=None if models is None else tuple(models),
        accounts=tuple(further),
    )
