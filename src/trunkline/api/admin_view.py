"""What the admin API answers: accounts, keys and changes as people and programs read them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Protocol, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from trunkline.routing.circuit import State as CircuitState
from trunkline.routing.standing import Standing
from trunkline.store.account import Account, Status
from trunkline.store.audit import AuditEntry
from trunkline.store.key import Key, Role
from trunkline.terms import Budget, Kind, Leaving, OverBudget, Period, Priority

State = Literal["active", "expired", "revoked"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROS: Final = 1_000_000
_LAST_US: Final = 253_402_300_799_999_999
"""The end of the year 9999: what is later is shown as this."""


class _Row(Protocol):
    @property
    def id(self) -> str: ...


RowT = TypeVar("RowT", bound=_Row)
ViewT = TypeVar("ViewT")


class LimitsView(msgspec.Struct, frozen=True):
    """How much may be asked for; null for no limit."""

    rpm: int | None
    tpm: int | None
    concurrent: int | None


class BudgetView(msgspec.Struct, frozen=True):
    """How much may be used in a period: ``usd`` or ``tokens``, one of them."""

    period: Period
    usd: str | UnsetType = UNSET
    tokens: int | UnsetType = UNSET


class AccountView(msgspec.Struct, frozen=True):
    """An account."""

    id: str
    name: str
    status: Status
    limits: LimitsView
    budgets: tuple[BudgetView, ...]
    leaving: Leaving
    over_budget: OverBudget
    share: int
    priority: Priority
    created_at: str


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key, without its text."""

    id: str
    prefix: str
    account_id: str
    accounts: tuple[str, ...]
    name: str
    role: Role
    models: tuple[str, ...] | None
    state: State
    limits: LimitsView
    budgets: tuple[BudgetView, ...]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


class CreatedKey(KeyView, frozen=True, kw_only=True):
    """A key that was just made; ``key`` is its text, which nothing can show again."""

    key: str


class AuditView(msgspec.Struct, frozen=True):
    """A change of an account or a key."""

    id: str
    at: str
    actor: str
    action: str
    kind: Kind
    subject_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AccountPage(msgspec.Struct, frozen=True):
    """Accounts, the oldest first."""

    data: list[AccountView]
    has_more: bool
    next: str | None


class KeyPage(msgspec.Struct, frozen=True):
    """Keys, the oldest first."""

    data: list[KeyView]
    has_more: bool
    next: str | None


class AuditPage(msgspec.Struct, frozen=True):
    """Changes, the newest first."""

    data: list[AuditView]
    has_more: bool
    next: str | None


class TargetView(msgspec.Struct, frozen=True):
    """How a target stands."""

    target: str
    circuit: CircuitState
    wait_s: float
    opened: int
    latency_ms: float | None
    aside_s: float
    outstanding: int
    attempts: dict[str, int]


class TargetPage(msgspec.Struct, frozen=True):
    """Targets, those of the configuration first."""

    data: list[TargetView]


def show_target(standing: Standing, now_s: float) -> TargetView:
    """A target's standing as it is answered; ``now_s`` is of the standings' clock."""
    circuit, latency_s = standing.circuit, standing.latency.value_s
    return TargetView(
        standing.label,
        circuit.find_state(now_s),
        round(circuit.find_wait_s(now_s), 3),
        circuit.opened,
        round(latency_s * 1000, 3) if latency_s else None,
        round(max(standing.aside_until_s - now_s, 0.0), 3),
        standing.outstanding,
        {code or "complete": count for code, count in sorted(standing.outcomes.items())},
    )


def show_account(account: Account) -> AccountView:
    """An account as it is answered."""
    terms = account.terms
    return AccountView(
        account.id,
        account.name,
        account.status,
        LimitsView(**msgspec.structs.asdict(terms.limits)),
        _show_budgets(terms.budgets),
        terms.leaving,
        terms.over_budget,
        terms.share,
        terms.priority,
        write_moment(account.created_at_us),
    )


def show_key(key: Key, now_us: int) -> KeyView:
    """A key as it is answered at this time (microseconds since 1970, UTC)."""
    return KeyView(
        id=key.id,
        prefix=key.prefix,
        account_id=key.account_id,
        accounts=key.accounts,
        name=key.name,
        role=key.role,
        models=key.models,
        state=_name_state(key, now_us),
        limits=LimitsView(**msgspec.structs.asdict(key.terms.limits)),
        budgets=_show_budgets(key.terms.budgets),
        created_at=write_moment(key.created_at_us),
        expires_at=_write_optional(key.expires_at_us),
        revoked_at=_write_optional(key.revoked_at_us),
        last_used_at=_write_optional(key.last_used_at_us),
    )


def show_created(text: str, key: Key, now_us: int) -> CreatedKey:
    """A new key as it is answered, this once with its text."""
    return CreatedKey(key=text, **msgspec.structs.asdict(show_key(key, now_us)))


def show_audit(entry: AuditEntry) -> AuditView:
    """A change as it is answered."""
    return AuditView(
        entry.id,
        write_moment(entry.at_us),
        entry.actor,
        entry.action,
        entry.kind,
        entry.subject_id,
        entry.before,
        entry.after,
    )


def cut_page(
    rows: Sequence[RowT], limit: int, show: Callable[[RowT], ViewT]
) -> tuple[list[ViewT], bool, str | None]:
    """The fields of a page: its rows, whether more follow, and after which id they begin.

    Args:
        rows: of the store, one more than the page takes if there are so many.
        limit: how many the page takes.
        show: makes a row of the page.
    """
    shown, has_more = rows[:limit], len(rows) > limit
    return [show(row) for row in shown], has_more, shown[-1].id if has_more else None


def write_moment(time_us: int) -> str:
    """Microseconds since 1970 as RFC 3339 in UTC; a fraction of a second only if there is one."""
    moment = _EPOCH + timedelta(microseconds=min(time_us, _LAST_US))
    return moment.isoformat().replace("+00:00", "Z")


def write_usd(amount_micros: int) -> str:
    """Micro-dollars as a decimal number of dollars, exact, with two digits or more behind it."""
    whole, part = divmod(amount_micros, _MICROS)
    return f"{whole}.{f'{part:06}'.rstrip('0').ljust(2, '0')}"


def _write_optional(time_us: int | None) -> str | None:
    return None if time_us is None else write_moment(time_us)


def _show_budgets(budgets: Sequence[Budget]) -> tuple[BudgetView, ...]:
    return tuple(
        BudgetView(budget.period, usd=write_usd(budget.amount))
        if budget.unit == "usd"
        else BudgetView(budget.period, tokens=budget.amount)
        for budget in budgets
    )


def _name_state(key: Key, now_us: int) -> State:
    if key.revoked_at_us is not None:
        return "revoked"
    if key.expires_at_us is not None and key.expires_at_us <= now_us:
        return "expired"
    return "active"
