"""Budgets as ``trunkline usage --budgets`` shows them: what they allow, and what is left of them.

What workers have reserved for calls under way counts as gone until it is spent or given back.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trunkline.cli.table import format_time
from trunkline.ledger.sheet import align_cells, count_places, format_usd, write_cells
from trunkline.limits.budget import find_end, find_window
from trunkline.store.account import AccountUnknownError
from trunkline.terms import Budget, BudgetUnit, Kind, Period, Window

if TYPE_CHECKING:
    from trunkline.cli.call import Form
    from trunkline.store.store import Store

_BATCH: Final = 100
_AMOUNTS: Final = ("amount", "spent", "reserved", "left")


class BudgetState(msgspec.Struct, frozen=True):
    """How a budget stands in its window of now; amounts in micro-dollars or tokens, as its unit.

    ``id`` is the account's or, of the keys of a chain of rotations, that of the first one, while
    ``name`` is that of the newest. Times are ISO 8601, UTC.
    """

    kind: Kind
    id: str
    name: str
    account: str
    unit: BudgetUnit
    period: Period
    amount: int
    spent: int
    reserved: int
    left: int
    started_at: str | None
    renews_at: str | None


class _Owner(msgspec.Struct, frozen=True):
    kind: Kind
    id: str
    name: str
    account_id: str
    budgets: tuple[Budget, ...]


def list_budgets(
    store: "Store", account_id: str | None, key_id: str | None, now_us: int
) -> list[BudgetState]:
    """How the budgets of accounts, and of keys that are not revoked, stand.

    Args:
        store: asked for them.
        account_id: only this account's and its keys'; None for all.
        key_id: only this key's; None for all.
        now_us: microseconds since 1970.

    Raises:
        AccountUnknownError: there is no such account.
        ValueError: there is no such key.
    """
    if account_id is not None and store.accounts.find(account_id) is None:
        raise AccountUnknownError(account_id)
    wanted = None if key_id is None else store.keys.find(key_id)
    if key_id is not None and wanted is None:
        raise ValueError("--key: There is no key with this id")
    owners = [
        owner
        for owner in (*_list_accounts(store), *_list_chains(store))
        if account_id in (None, owner.account_id)
        and (wanted is None or (owner.kind, owner.id) == ("key", wanted.subject_id))
    ]
    asked = [
        (owner, budget, find_window(owner.kind, owner.id, budget, now_us))
        for owner in owners
        for budget in owner.budgets
    ]
    states = []
    for start in range(0, len(asked), _BATCH):
        batch = asked[start : start + _BATCH]
        found = store.leases.find_standings([window for _, _, window in batch])
        for (owner, budget, window), standing in zip(batch, found, strict=True):
            states.append(_describe(owner, budget, window, (standing.spent, standing.leased)))
    return states


def write_budgets(states: Sequence[BudgetState], form: "Form") -> str:
    """Budgets in the order that they are given in, for people or for programs."""
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(states)).decode() + "\n"
    if form == "csv":
        names = BudgetState.__struct_fields__
        return write_cells(names, map(msgspec.structs.astuple, states))
    if not states:
        return "No budgets.\n"
    dollars = [state for state in states if state.unit == "usd"]
    places = count_places(getattr(state, name) for state in dollars for name in _AMOUNTS)

    def show(state: BudgetState, name: str) -> str:
        amount: int = getattr(state, name)
        return format_usd(amount, places) if state.unit == "usd" else f"{amount:,}"

    texts = ("kind", "id", "name", "account", "unit", "period", "renews_at")
    rows: list[list[str]] = []
    for state in states:
        shown: list[Any] = [getattr(state, name) or "-" for name in texts]
        rows.append([*shown, *(show(state, name) for name in _AMOUNTS)])
    head = [name.replace("_", " ").upper() for name in (*texts, *_AMOUNTS)]
    return "\n".join(align_cells(head, rows, len(texts))) + "\n"


def _list_accounts(store: "Store") -> Iterator[_Owner]:
    for account in store.accounts.list():
        yield _Owner("account", account.id, account.name, account.id, account.terms.budgets)


def _list_chains(store: "Store") -> Iterator[_Owner]:
    """The keys that came from one another count as one, with the newest one's budgets."""
    newest = {key.subject_id: key for key in store.keys.list()}  # the oldest are listed first
    for subject_id, key in newest.items():
        if key.revoked_at_us is None:
            yield _Owner("key", subject_id, key.name, key.account_id, key.terms.budgets)


def _describe(owner: _Owner, budget: Budget, window: Window, gone: tuple[int, int]) -> BudgetState:
    spent, reserved = gone
    ends_at_us = find_end(window.period, window.starts_at_us)
    is_total = window.period == "total"
    return BudgetState(
        kind=owner.kind,
        id=owner.id,
        name=owner.name,
        account=owner.account_id,
        unit=budget.unit,
        period=budget.period,
        amount=budget.amount,
        spent=spent,
        reserved=reserved,
        # An operator may have lowered it below what was spent.
        left=max(0, budget.amount - spent - reserved),
        started_at=None if is_total else format_time(window.starts_at_us),
        renews_at=format_time(ends_at_us),
    )
