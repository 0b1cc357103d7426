"""Accounts in the store: who is billed and limited, under ids that the operator chose."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from trunkline.store.database import Database
from trunkline.store.page import Page
from trunkline.store.schema import ACCOUNTS
from trunkline.store.transaction import Transaction
from trunkline.terms import NO_ACCOUNT_TERMS, AccountTerms

Status = Literal["active", "suspended"]

ID_LENGTH: Final = 200
NAME_LENGTH: Final = 200


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One account; its id is any printable text, spaces inside included."""

    id: str
    name: str
    status: Status
    created_at_us: int
    terms: AccountTerms = NO_ACCOUNT_TERMS


class AccountExistsError(ValueError):
    """There already is an account with this id."""


class AccountUnknownError(LookupError):
    """There is no account with this id.

    Args:
        account_id: the id that leads nowhere.
    """

    def __init__(self, account_id: str) -> None:
        super().__init__(f"there is no account {account_id!r}")
        self.account_id = account_id


def is_account_id(text: str) -> bool:
    """Whether the text can be an account's id: something that survives a header unchanged.

    1 to 200 printable characters, no blank at either end. What this refuses is never sent to a
    database, where a stray half of a surrogate pair would fail the whole query.
    """
    return 0 < len(text) <= ID_LENGTH and text.isprintable() and text == text.strip()


class Accounts:
    """The accounts of one database.

    Args:
        database: where they are kept; a transaction, to be part of a larger write.
    """

    def __init__(self, database: Database | Transaction) -> None:
        self._database = database

    def create(
        self, account_id: str, name: str, now_us: int, terms: AccountTerms = NO_ACCOUNT_TERMS
    ) -> Account:
        """Add an active account and return it.

        Raises:
            AccountExistsError: the id is taken.
            ValueError: the id or the name cannot be one.
        """
        if not is_account_id(account_id):
            raise ValueError(
                f"an account's id is 1 to {ID_LENGTH} printable characters "
                "without blanks at the ends"
            )
        _check_name(name)
        account = Account(
            id=account_id, name=name, status="active", created_at_us=now_us, terms=terms
        )
        row = {**msgspec.structs.asdict(account), "terms": _write_terms(terms)}

        def add(connection: Connection) -> None:
            # Asked first, so that of two writes at once one is tried again, rather than failed.
            taken = select(ACCOUNTS.c.id).where(ACCOUNTS.c.id == account_id)
            if connection.scalar(taken) is not None:
                raise AccountExistsError(f"account {account_id!r} exists already")
            try:
                connection.execute(insert(ACCOUNTS).values(row))
            except IntegrityError as error:
                raise AccountExistsError(f"account {account_id!r} exists already") from error

        self._database.apply(add)
        return account

    def find(self, account_id: str) -> Account | None:
        """The account with this id, or None."""
        return self.find_many((account_id,)).get(account_id)

    def find_many(self, account_ids: Iterable[str]) -> dict[str, Account]:
        """Those of the accounts that exist, by id."""
        wanted = [text for text in account_ids if is_account_id(text)]
        query = select(ACCOUNTS).where(ACCOUNTS.c.id.in_(wanted))
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return {row["id"]: read_account(row) for row in rows}

    def list(self, after: str | None = None, limit: int | None = None) -> list[Account]:
        """The accounts, oldest first.

        Args:
            after: the id of the last account of the page before; None for the first page.
            limit: how many at most; None for all.

        Raises:
            CursorUnknownError: there is no account with the id ``after``.
            ValueError: the limit is less than 1.
        """
        page = Page(after, limit)
        with self._database.read() as connection:
            query = page.cut(connection, select(ACCOUNTS), ACCOUNTS, "created_at_us", newest=False)
            return [read_account(row) for row in connection.execute(query).mappings()]

    def change(
        self,
        account_id: str,
        *,
        name: str | None = None,
        status: Status | None = None,
        terms: AccountTerms | None = None,
    ) -> Account:
        """Change what is given, leave the rest, and return the account as it is now.

        Raises:
            AccountUnknownError: there is no such account.
            ValueError: the name cannot be one.
        """
        values: dict[str, Any] = {}
        if name is not None:
            _check_name(name)
            values["name"] = name
        if status is not None:
            values["status"] = status
        if terms is not None:
            values["terms"] = _write_terms(terms)
        if not is_account_id(account_id):
            raise AccountUnknownError(account_id)

        def change_row(connection: Connection) -> Account:
            own = ACCOUNTS.c.id == account_id
            if values:
                connection.execute(update(ACCOUNTS).where(own).values(values))
            row = connection.execute(select(ACCOUNTS).where(own)).mappings().one_or_none()
            if row is None:
                raise AccountUnknownError(account_id)
            return read_account(row)

        return self._database.apply(change_row)


def read_terms(row: Any) -> AccountTerms:
    """An account's terms from their column, in which null stands for none."""
    return NO_ACCOUNT_TERMS if row is None else msgspec.convert(row, AccountTerms)


def read_account(row: Mapping[Any, Any]) -> Account:
    """The account of a row of its table."""
    return Account(**{**row, "terms": read_terms(row["terms"])})


def _write_terms(terms: AccountTerms) -> Any:
    return None if terms == NO_ACCOUNT_TERMS else msgspec.to_builtins(terms)


def _check_name(name: str) -> None:
    if name and not name.isprintable():
        raise ValueError("an account's name must be printable")
    if len(name) > NAME_LENGTH:
        raise ValueError(f"an account's name has at most {NAME_LENGTH} characters")
