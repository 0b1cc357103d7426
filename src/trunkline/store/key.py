"""Keys in the store: hashes and what each key may do; the key's own text is never here."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from trunkline.store.account import AccountUnknownError, is_account_id, read_terms
from trunkline.store.database import Database
from trunkline.store.page import EVERYTHING, Page
from trunkline.store.schema import ACCOUNTS, KEY_ACCOUNTS, KEYS
from trunkline.store.transaction import Transaction
from trunkline.terms import NO_TERMS, AccountTerms, Terms

Role = Literal["admin", "member"]

_SHOWN: Final = [column for column in KEYS.c if column.name != "hash"]


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one key: everything but its text and its hash.

    ``accounts`` are further accounts that it may act for, beside its own; ``models`` are the
    patterns of the models that it may use, None for all. ``subject_id`` is what its limits and
    budgets are counted under: its own id, or that of the first key of the chain of rotations
    that it came from.
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
    subject_id: str
    accounts: tuple[str, ...] = ()
    terms: Terms = NO_TERMS


class KeyMatch(msgspec.Struct, frozen=True, kw_only=True):
    """A key found by its hash, and the terms of those of its accounts that are active now."""

    hash: bytes
    key: Key
    account_terms: Mapping[str, AccountTerms]


class KeyExistsError(ValueError):
    """There already is a key with this hash."""


class Keys:
    """The keys of one database.

    Args:
        database: where they are kept; a transaction, to be part of a larger write.
    """

    def __init__(self, database: Database | Transaction) -> None:
        self._database = database

    def create(self, key: Key, digest: bytes) -> None:
        """Add a key under its hash (32 bytes).

        Raises:
            AccountUnknownError: an account of the key does not exist.
            KeyExistsError: the hash is taken.
        """
        row = msgspec.structs.asdict(key)
        row["terms"] = _write_terms(key.terms)
        row["subject_id"] = None if key.subject_id == key.id else key.subject_id
        del row["accounts"]

        def add(connection: Connection) -> None:
            _require_accounts(connection, (key.account_id, *key.accounts))
            try:
                connection.execute(insert(KEYS).values(**row, hash=digest))
            except IntegrityError as error:
                raise KeyExistsError("this key exists already") from error
            _add_further(connection, key)

        self._database.apply(add)

    def find(self, key_id: str) -> Key | None:
        """The key with this id, or None."""
        # What cannot be printed is no id, and would fail the query.
        found = self._select(KEYS.c.id == key_id) if key_id.isprintable() else ()
        return found[0] if found else None

    def find_by_hash(self, digests: Sequence[bytes]) -> list[KeyMatch]:
        """The keys that have these hashes, and how their accounts stand; at most 500 hashes."""
        asked = KEYS.c.hash.in_(digests)
        query = (
            select(KEYS, ACCOUNTS.c.status, ACCOUNTS.c.terms.label("own_terms"))
            .join(ACCOUNTS, ACCOUNTS.c.id == KEYS.c.account_id)
            .where(asked)
        )
        with self._database.read() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
            further = _find_further(connection, asked) if rows else {}
        matches = []
        for row in rows:
            digest, status, own_terms = (row.pop(name) for name in ("hash", "status", "own_terms"))
            accounts = further.get(row["id"], {})
            standing = {**accounts, row["account_id"]: _find_standing(status, own_terms)}
            matches.append(
                KeyMatch(
                    hash=digest,
                    key=_read_key(row, accounts),
                    account_terms={
                        name: terms for name, terms in standing.items() if terms is not None
                    },
                )
            )
        return matches

    def find_by_text(self, text: str) -> Sequence[Key]:
        """The keys whose id or shown prefix starts with the text; letter case counts."""
        starts = [
            func.substr(column, 1, len(text)) == text for column in (KEYS.c.id, KEYS.c.prefix)
        ]
        return self._select(or_(*starts)) if text and text.isprintable() else []

    def list(
        self, account_id: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Sequence[Key]:
        """The keys, oldest first.

        Args:
            account_id: only those of this account.
            after: the id of the last key of the page before; None for the first page.
            limit: how many at most; None for all.

        Raises:
            CursorUnknownError: there is no key with the id ``after``.
            ValueError: the limit is less than 1.
        """
        page = Page(after, limit)
        if account_id is None:
            return self._select(page=page)
        if not account_id.isprintable():
            return []
        return self._select(KEYS.c.account_id == account_id, page=page)

    def list_chain(self, subject_id: str) -> Sequence[Key]:
        """The keys that came from one another by rotation, the first one first."""
        return self._select(or_(KEYS.c.id == subject_id, KEYS.c.subject_id == subject_id))

    def change(self, key: Key) -> None:
        """Bring a stored key to what this one says.

        Name, models, accounts, expiry and terms, that is: role, account and subject of a key never
        change, and revocation and last use have functions of their own.

        Raises:
            AccountUnknownError: one of the accounts does not exist.
        """
        own = KEYS.c.id == key.id
        values = {
            "name": key.name,
            "models": key.models,
            "expires_at_us": key.expires_at_us,
            "terms": _write_terms(key.terms),
        }

        def change_rows(connection: Connection) -> None:
            _require_accounts(connection, key.accounts)
            if connection.execute(update(KEYS).where(own).values(values)).rowcount:
                gone = delete(KEY_ACCOUNTS).where(KEY_ACCOUNTS.c.key_id == key.id)
                connection.execute(gone)
                _add_further(connection, key)

        self._database.apply(change_rows)

    def change_revoked(self, key_id: str, revoked_at_us: int | None) -> bool:
        """Revoke a key, or with None bring it back; False when it does not exist."""
        change = update(KEYS).where(KEYS.c.id == key_id).values(revoked_at_us=revoked_at_us)
        return self._database.apply(lambda connection: connection.execute(change).rowcount) > 0

    def change_last_used(self, key_ids: Iterable[str], now_us: int) -> None:
        """Note that these keys were in use at this time."""
        change = update(KEYS).where(KEYS.c.id.in_(list(key_ids))).values(last_used_at_us=now_us)
        self._database.apply(lambda connection: connection.execute(change))

    def _select(self, *conditions: ColumnElement[bool], page: Page = EVERYTHING) -> Sequence[Key]:
        query = select(*_SHOWN).where(*conditions)
        with self._database.read() as connection:
            query = page.cut(connection, query, KEYS, "created_at_us", newest=False)
            rows = connection.execute(query).mappings().all()
            if page.limit is not None:
                conditions = (KEYS.c.id.in_([row["id"] for row in rows]),)
            further = _find_further(connection, *conditions) if rows else {}
        return [_read_key(dict(row), further.get(row["id"], {})) for row in rows]


def _require_accounts(connection: Connection, account_ids: Sequence[str]) -> None:
    wanted = [text for text in account_ids if is_account_id(text)]
    known = set(connection.scalars(select(ACCOUNTS.c.id).where(ACCOUNTS.c.id.in_(wanted))))
    for account_id in account_ids:
        if account_id not in known:
            raise AccountUnknownError(account_id)


def _add_further(connection: Connection, key: Key) -> None:
    rows = [
        {"key_id": key.id, "account_id": text}
        for text in dict.fromkeys(key.accounts)
        if text != key.account_id
    ]
    if rows:
        connection.execute(insert(KEY_ACCOUNTS), rows)


def _find_further(
    connection: Connection, *conditions: ColumnElement[bool]
) -> dict[str, dict[str, AccountTerms | None]]:
    """By id of each key that the conditions choose: its further accounts, as ``_find_standing``."""
    query = (
        select(KEY_ACCOUNTS, ACCOUNTS.c.status, ACCOUNTS.c.terms)
        .join(KEYS, KEYS.c.id == KEY_ACCOUNTS.c.key_id)
        .join(ACCOUNTS, ACCOUNTS.c.id == KEY_ACCOUNTS.c.account_id)
        .where(*conditions)
    )
    found: dict[str, dict[str, AccountTerms | None]] = {}
    for key_id, account_id, status, terms in connection.execute(query):
        found.setdefault(key_id, {})[account_id] = _find_standing(status, terms)
    return found


def _find_standing(status: str, terms: Any) -> AccountTerms | None:
    """The terms of an account, None while it is suspended."""
    return read_terms(terms) if status == "active" else None


def _write_terms(terms: Terms) -> Any:
    return None if terms == NO_TERMS else msgspec.to_builtins(terms)


def _read_key(row: dict[str, Any], further: Iterable[str]) -> Key:
    models, terms, subject_id = row.pop("models"), row.pop("terms"), row.pop("subject_id")
    return Key(
        **row,
        subject_id=subject_id or row["id"],
        terms=NO_TERMS if terms is None else msgspec.convert(terms, Terms),
        models=None if models is None else tuple(models),
        accounts=tuple(sorted(further)),
    )
