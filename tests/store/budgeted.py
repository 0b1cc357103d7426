"""Accounts and keys that have budgets, and what windows and leases say about them."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import func, insert, select, update

from store.posted import make_posting
from trunkline.store.load import Load
from trunkline.store.schema import ACCOUNTS, BUDGET_WINDOWS, KEYS, LEASES
from trunkline.store.store import Store
from trunkline.terms import Budget, Charge, Terms, Window

NOW_US = 1_800_000_000_000_000
"""2027-01-15, 08:00 UTC."""

_ROW = {"name": "", "role": "member", "prefix": "", "account_id": "a"}


def set_budgets(store: Store, account_id: str, *budgets: Budget) -> None:
    """Let an account have these budgets, and create it if need be."""
    terms = msgspec.to_builtins(Terms(budgets=budgets))
    change = update(ACCOUNTS).where(ACCOUNTS.c.id == account_id).values(terms=terms)
    if not store.database.apply(lambda connection: connection.execute(change).rowcount):
        store.accounts.create(account_id, "", 1)
        store.database.apply(lambda connection: connection.execute(change))


def add_key(store: Store, key_id: str, *budgets: Budget, subject_id: str | None = None) -> None:
    """A key of the account ``a``, made later than all keys before it."""
    terms = msgspec.to_builtins(Terms(budgets=budgets))
    with store.database.write() as connection:
        count = connection.scalar(select(func.count()).select_from(KEYS)) or 0
        row = {"id": key_id, "hash": key_id.encode(), "created_at_us": count, "terms": terms}
        connection.execute(insert(KEYS).values(**_ROW, **row, subject_id=subject_id))


def ship(store: Store, journal_id: str, entry_id: str, charges: Sequence[Charge]) -> None:
    """Ship an entry with these charges, whose attempt says nothing of what it used."""
    nothing = {"input_tokens": 0, "output_tokens": 0, "cost_micros": 0}
    store.ledger.ship(
        journal_id, 1, Load([make_posting(entry_id, tuple(charges), **nothing)]), NOW_US
    )


def find_sums(store: Store, window: Window) -> tuple[int, int]:
    """What is spent of a window, and what is leased, seen at one moment."""
    key = msgspec.structs.asdict(window)
    spent, leased = (
        select(func.coalesce(func.sum(column), 0))
        .where(*(table.c[name] == value for name, value in key.items()))
        .scalar_subquery()
        for table, column in (
            (BUDGET_WINDOWS, BUDGET_WINDOWS.c.spent),
            (LEASES, LEASES.c.granted),
        )
    )
    with store.database.read() as connection:
        row = connection.execute(select(spent, leased)).one()
    return int(row[0]), int(row[1])
