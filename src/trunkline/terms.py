"""Terms: what an account or a key may use, as the operator has set it."""

from typing import Final, Literal

import msgspec

Kind = Literal["key", "account"]
"""Whose terms they are."""
BudgetUnit = Literal["usd", "tokens"]
Period = Literal["day", "month", "total"]
Leaving = Literal["cancel", "drain"]
OverBudget = Literal["refuse", "clamp"]
Priority = Literal["high", "normal", "low"]
SHARE_MOST: Final = 1000


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much may be asked for: requests and tokens a minute, calls at once; None for no limit.

    Raises:
        ValueError: a limit is less than 1.
    """

    rpm: int | None = None
    tpm: int | None = None
    concurrent: int | None = None

    def __post_init__(self) -> None:
        for limit in (self.rpm, self.tpm, self.concurrent):
            if limit is not None and limit < 1:
                raise ValueError("a limit is 1 or more")


class Budget(msgspec.Struct, frozen=True, order=True):
    """How much may be used in a period, which begins at midnight UTC; ``total`` never ends.

    ``amount`` is in micro-dollars or in tokens (input and output together); 0 allows nothing.

    Raises:
        ValueError: the amount is negative.
    """

    unit: BudgetUnit
    period: Period
    amount: int

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise ValueError("a budget is 0 or more")


NO_LIMITS: Final = Limits()


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a key may use: its limits, and its budgets, of which none repeats unit and period.

    Raises:
        ValueError: two budgets have the same unit and period.
    """

    limits: Limits = NO_LIMITS
    budgets: tuple[Budget, ...] = ()

    @property
    def is_free(self) -> bool:
        """Whether there is neither a limit nor a budget."""
        return self.limits == NO_LIMITS and not self.budgets

    def __post_init__(self) -> None:
        kinds = {(budget.unit, budget.period) for budget in self.budgets}
        if len(kinds) < len(self.budgets):
            raise ValueError("only one budget can have the same unit and period")


class AccountTerms(Terms, frozen=True, kw_only=True, omit_defaults=True):
    """What an account may use, and what happens to its calls at the edges.

    ``leaving``: when a client leaves, the upstream call is cancelled and what came is counted, or
    it is drained within a bound, to learn the provider's own count. ``over_budget``: a call whose
    worst case does not fit into what is left of a budget is refused, or its output is clamped.
    ``share`` and ``priority`` count where calls have to wait for an upstream: those of a higher
    class go first, and within a class each account is served in proportion to its share.

    Raises:
        ValueError: as ``Terms``, or the share is not from 1 to 1000.
    """

    leaving: Leaving = "cancel"
    over_budget: OverBudget = "refuse"
    share: int = 1
    priority: Priority = "normal"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.share <= SHARE_MOST:
            raise ValueError(f"a share is from 1 to {SHARE_MOST}")


NO_TERMS: Final = Terms()
NO_ACCOUNT_TERMS: Final = AccountTerms()


class Window(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One period of one budget: whose it is, what it counts, and when it began."""

    kind: Kind
    subject_id: str
    unit: BudgetUnit
    period: Period
    starts_at_us: int


class Charge(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a call used of a window: micro-dollars or tokens."""

    window: Window
    amount: int
