"""The windows of budgets in the store: what was spent of each, and how much it may be."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, func, or_, select, text, tuple_

from trunkline.store.posting import DAY_US
from trunkline.store.schema import ACCOUNTS, BUDGET_WINDOWS, KEYS, LEASES, USAGE_DAYS
from trunkline.terms import Terms, Window

WINDOW_FIELDS: Final = Window.__struct_fields__
"""The columns that name a window, in every table that has windows."""

BudgetName = tuple[str, str, str, str]
"""What budgets are told apart by: kind, subject, unit, period."""

_CREATE: Final = text(
    "INSERT INTO budget_windows (kind, subject_id, unit, period, starts_at_us, spent) "
    "VALUES (:kind, :subject_id, :unit, :period, :starts_at_us, :spent) ON CONFLICT DO NOTHING"
)


def create_windows(connection: Connection, windows: Sequence[Window]) -> None:
    """Add those windows that are missing, each with what its subject has used in it already."""
    missing = set(windows).difference(find_spent(connection, windows))
    # Always in the same order, so that no two writes wait for each other.
    for window in sorted(missing, key=msgspec.structs.astuple):
        values = {**msgspec.structs.asdict(window), "spent": sum_usage(connection, window)}
        connection.execute(_CREATE, values)


def find_spent(
    connection: Connection, windows: Sequence[Window], *, lock: bool = False
) -> dict[Window, int]:
    """What shipped entries have spent of those windows that exist.

    Args:
        connection: of a read or a write.
        windows: which.
        lock: nobody else may change them until the write ends.
    """
    table = BUDGET_WINDOWS.c
    query = select(BUDGET_WINDOWS).where(is_of(table, windows))
    if lock:
        query = query.order_by(*(table[name] for name in WINDOW_FIELDS)).with_for_update()
    return {Window(*row[:-1]): row[-1] for row in connection.execute(query)}


def sum_leases(connection: Connection, windows: Sequence[Window]) -> dict[Window, int]:
    """What all workers have taken of windows, where there is any."""
    key = [LEASES.c[name] for name in WINDOW_FIELDS]
    query = select(*key, func.sum(LEASES.c.granted)).where(is_of(LEASES.c, windows)).group_by(*key)
    return {Window(*row[:-1]): int(row[-1]) for row in connection.execute(query)}


def find_amounts(connection: Connection, windows: Iterable[Window]) -> dict[BudgetName, int]:
    """The amounts of all budgets of these windows' subjects, as operators have set them by now.

    Of the keys of a chain of rotations the newest decides.
    """
    accounts = [window.subject_id for window in windows if window.kind == "account"]
    keys = [window.subject_id for window in windows if window.kind == "key"]
    rows: list[tuple[str, str, Any]] = []
    if accounts:
        query = select(ACCOUNTS.c.id, ACCOUNTS.c.terms).where(ACCOUNTS.c.id.in_(accounts))
        rows += [("account", *row) for row in connection.execute(query)]
    if keys:
        query = (
            select(func.coalesce(KEYS.c.subject_id, KEYS.c.id), KEYS.c.terms)
            .where(or_(KEYS.c.id.in_(keys), KEYS.c.subject_id.in_(keys)))
            .order_by(KEYS.c.created_at_us, KEYS.c.id)
        )
        newest = dict(map(tuple, connection.execute(query)))
        rows += [("key", *row) for row in newest.items()]
    return {
        (kind, subject_id, budget.unit, budget.period): budget.amount
        for kind, subject_id, terms in rows
        for budget in msgspec.convert(terms or {}, Terms).budgets
    }


def name_budget(window: Window) -> BudgetName:
    """The budget that a window is of."""
    return window.kind, window.subject_id, window.unit, window.period


def sum_usage(connection: Connection, window: Window) -> int:
    """What was used in a window by the sums of its days, which begin where windows begin."""
    days = USAGE_DAYS.c
    counted = days.cost_micros if window.unit == "usd" else days.input_tokens + days.output_tokens
    first = window.starts_at_us // DAY_US
    if window.kind == "account":
        whose: ColumnElement[bool] = days.account_id == window.subject_id
    else:
        chain = select(KEYS.c.id).where(KEYS.c.subject_id == window.subject_id)
        whose = or_(days.key_id == window.subject_id, days.key_id.in_(chain))
    when = days.day == first if window.period == "day" else days.day >= first
    query = select(func.coalesce(func.sum(counted), 0)).where(whose, when)
    return int(connection.scalar(query) or 0)


def is_of(columns: Any, windows: Sequence[Window]) -> ColumnElement[bool]:
    """The condition that a row, of a table with these columns, is of one of the windows."""
    keys = [msgspec.structs.astuple(window) for window in windows]
    return tuple_(*(columns[name] for name in WINDOW_FIELDS)).in_(keys)
