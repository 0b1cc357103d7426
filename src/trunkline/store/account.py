"""Accounts in the store: who is billed and limited, under ids that the operator chose."""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from trunkline.store.database import Database
from trunkline.store.schema import ACCOUNTS

Status = Literal["active", "suspended"]

ID_LENGTH: Final = 200


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One account; its id is any printable text, spaces inside included."""

    id: str
    name: str
    status: Status
    created_at_us: int


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
        database: where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, account_id: str, name: str, now_us: int) -> Account:
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
        if name and not name.isprintable():
            raise ValueError("an account's name must be printable")
        account = Account(id=account_id, name=name, status="active", created_at_us=now_us)
        addition = insert(ACCOUNTS).values(msgspec.structs.asdict(account))
        try:
            self._database.apply(lambda connection: connection.execute(addition))
        except IntegrityError as error:
            raise AccountExistsError(f"account {account_id!r} exists already") from error
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
        return {row["id"]: Account(**row) for row in rows}

    def list(self) -> list[Account]:
        """Every account, oldest first."""
        query = select(ACCOUNTS).order_by(ACCOUNTS.c.created_at_us, ACCOUNTS.c.id)
        with self._database.read() as connection:
            return [Account(**row) for row in connection.execute(query).mappings()]

    def change_status(self, account_id: str, status: Status) -> None:
        """Suspend an account or make it active again.

        Raises:
            AccountUnknownError: there is no such account.
        """
        change = update(ACCOUNTS).where(ACCOUNTS.c.id == account_id).values(status=status)
        if self._database.apply(lambda connection: connection.execute(change).rowcount) == 0:
            raise AccountUnknownError(account_id)
