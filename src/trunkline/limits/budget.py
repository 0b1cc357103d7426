"""Budgets: which window of one a call falls into, what a worker has of it, how clients are told.

Windows begin at midnight UTC; that of a ``total`` budget begins with time itself and never ends.
Amounts are micro-dollars or tokens, as the budget's unit says. Pure: time is passed in.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from trunkline.errors import GatewayError
from trunkline.terms import Budget, BudgetUnit, Kind, Period, Window

DAY_US: Final = 86_400_000_000

_SECOND_US: Final = 1_000_000
_PERIODS: Final[dict[Period, str]] = {"day": "a day", "month": "a month", "total": "in all"}


class Claim(msgspec.Struct, frozen=True, gc=False):
    """What a call may use of one budget at most: whose it is, the budget, and the amount."""

    kind: Kind
    subject_id: str
    budget: Budget
    amount: int


def find_start(period: Period, now_us: int) -> int:
    """When the window of this moment began; microseconds since 1970, UTC."""
    if period == "total":
        return 0
    if period == "day":
        return now_us - now_us % DAY_US
    month = datetime.fromtimestamp(now_us // _SECOND_US, UTC)
    return int(datetime(month.year, month.month, 1, tzinfo=UTC).timestamp()) * _SECOND_US


def find_end(period: Period, starts_at_us: int) -> int | None:
    """When a window ends and the next one begins; None for never."""
    if period == "total":
        return None
    if period == "day":
        return starts_at_us + DAY_US
    # A month has at most 31 days, so this lies in the next one, and after its beginning.
    return find_start("month", starts_at_us + 31 * DAY_US)


def find_window(kind: Kind, subject_id: str, budget: Budget, now_us: int) -> Window:
    """The window of a budget into which a call of this moment falls."""
    starts_at_us = find_start(budget.period, now_us)
    return Window(kind, subject_id, budget.unit, budget.period, starts_at_us)


class Shortage(msgspec.Struct, frozen=True):
    """Why a call may not be made: the first of its budgets that has too little left.

    ``lefts`` says for each of the claims what could be had now, in their order: a call that needs
    no more of any of them has a chance. Nothing is taken for it yet. ``amount`` is the short
    budget's as it stands, ``reserved`` what calls under way may still use of it, and
    ``ends_at_us`` when it is renewed: microseconds since 1970, UTC, None for never.
    """

    claims: Sequence[Claim]
    lefts: tuple[int, ...]
    amount: int
    reserved: int
    ends_at_us: int | None

    @property
    def claim(self) -> Claim:
        """The first claim that is too much."""
        return self.claims[self._find_index()]

    @property
    def left(self) -> int:
        """What could be had of that claim's budget now."""
        return self.lefts[self._find_index()]

    def make_error(self) -> GatewayError:
        """The shortage as the client is told it: which budget, whose, and when it is renewed."""
        claim, left, unit = self.claim, self.left, self.claim.budget.unit
        whose = "This API key" if claim.kind == "key" else f"The account {claim.subject_id!r}"
        period = _PERIODS[claim.budget.period]
        amount = write_amount(self.amount, unit)
        held = f", besides {write_amount(self.reserved, unit)} held for calls under way"
        text = f"{whose} may use {amount} {period} and has {write_amount(left, unit)} left"
        text += held if self.reserved else ""
        text += f"; this call may use up to {write_amount(claim.amount, unit)}. "
        if left:
            text += "Ask for less output or a shorter prompt"
        elif self.reserved:
            text += "Try again when those have ended"
        else:
            text += "Ask the operator for more"
        if self.ends_at_us is None:
            text += "; this budget is not renewed."
        else:
            moment = datetime.fromtimestamp(self.ends_at_us // _SECOND_US, UTC)
            text += f"; the budget is renewed at {moment:%Y-%m-%dT%H:%M:%SZ}."
        return GatewayError("insufficient_quota", text)

    def _find_index(self) -> int:
        pairs = enumerate(zip(self.claims, self.lefts, strict=True))
        return next((index for index, (claim, left) in pairs if claim.amount > left), 0)


def write_amount(amount: int, unit: BudgetUnit) -> str:
    """An amount for people: ``$0.05``, ``$1.234567``, ``12 tokens``."""
    if unit == "tokens":
        return "1 token" if amount == 1 else f"{amount} tokens"
    sign = "-" if amount < 0 else ""
    dollars, micros = divmod(abs(amount), 1_000_000)
    cents = f"{micros:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}${dollars}.{cents}"
