"""Limits and budgets on the command line: their options, and how lists show them."""

import argparse
import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from trunkline.terms import Budget, BudgetUnit, Limits, Terms

AnyTerms = TypeVar("AnyTerms", bound=Terms)

NONE: Final = "none"
"""What an option takes to remove what it sets."""

_LIMITS: Final = {
    "rpm": "requests a minute",
    "tpm": "tokens a minute, input and output together",
    "concurrent": "calls at once",
}
_UNITS: Final[Mapping[str, BudgetUnit]] = {"budget_usd": "usd", "budget_tokens": "tokens"}
_MICROS: Final = 1_000_000
_DURATION_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def add_terms(parser: argparse.ArgumentParser) -> None:
    """Declare the options of limits and budgets."""
    group = parser.add_argument_group(
        "limits and budgets", "A number sets one, 'none' removes it, and what is not named stays."
    )
    for name, what in _LIMITS.items():
        group.add_argument(f"--{name}", metavar="N", help=f"at most so many {what}")
    group.add_argument(
        "--budget-usd", metavar="X", help="at most so many dollars in a period, e.g. 12.50"
    )
    group.add_argument(
        "--budget-tokens", metavar="N", help="at most so many tokens in a period, of either kind"
    )
    group.add_argument(
        "--budget-period",
        choices=("day", "month", "total"),
        help="the period of the budgets named here, UTC; total never ends (default: month)",
    )


def names_terms(args: argparse.Namespace) -> bool:
    """Whether any limit, budget or period was named."""
    names = (*_LIMITS, *_UNITS, "budget_period")
    return any(getattr(args, name) is not None for name in names)


def change_terms(args: argparse.Namespace, terms: AnyTerms) -> AnyTerms:
    """The terms with the limits and budgets that were named.

    A budget replaces the one of the same unit and period. ``none`` removes the unit's budget of
    the period that was named, or all of the unit where none was.

    Raises:
        ValueError: a text is no amount, or a period was named without a budget.
    """
    named = {name: text for name in _LIMITS if (text := getattr(args, name)) is not None}
    limits = {name: _read_limit(f"--{name}", text) for name, text in named.items()}
    return msgspec.structs.replace(
        terms,
        limits=msgspec.structs.replace(terms.limits, **limits),
        budgets=_change_budgets(args, terms.budgets),
    )


def _change_budgets(args: argparse.Namespace, budgets: tuple[Budget, ...]) -> tuple[Budget, ...]:
    named = {name: text for name in _UNITS if (text := getattr(args, name)) is not None}
    period = args.budget_period
    if period and not named:
        raise ValueError("--budget-period says of what: give --budget-usd or --budget-tokens too")
    changed = {(budget.unit, budget.period): budget for budget in budgets}
    for name, text in named.items():
        unit, option = _UNITS[name], f"--{name.replace('_', '-')}"
        if text == NONE:
            gone = [kind for kind in changed if kind[0] == unit and period in (None, kind[1])]
            for kind in gone:
                del changed[kind]
        else:
            amount = read_micros(option, text) if unit == "usd" else _read_count(option, text)
            changed[unit, period or "month"] = Budget(unit, period or "month", amount)
    return tuple(changed.values())


def read_micros(option: str, text: str) -> int:
    """Dollars as decimal text in micro-dollars, exactly.

    Raises:
        ValueError: the text is no amount of dollars, or has more than 6 decimals.
    """
    found = re.fullmatch(r"([0-9]{1,12})(?:\.([0-9]+))?", text)
    if not found:
        raise ValueError(f"{option} {text!r} is not an amount of dollars such as 12.50")
    whole, decimals = found[1], found[2] or ""
    if len(decimals) > 6:
        raise ValueError(f"{option} {text!r} has more than 6 decimals, which no account is kept in")
    return int(whole) * _MICROS + int(decimals.ljust(6, "0"))


def read_duration_s(option: str, text: str) -> int:
    """A duration such as 90s, 30m, 24h or 7d in seconds; a bare 0 is none.

    Raises:
        ValueError: the text is no duration.
    """
    if text == "0":
        return 0
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if not found:
        raise ValueError(f"{option} {text!r} is not a duration such as 30m, 24h or 7d, or 0")
    return int(found[1]) * _DURATION_S[found[2]]


def show_limits(limits: Limits) -> str:
    """Limits in a cell of a table, empty for none."""
    units = {"rpm": "rpm", "tpm": "tpm", "concurrent": "at once"}
    return ", ".join(
        f"{limit} {unit}" for name, unit in units.items() if (limit := getattr(limits, name))
    )


def show_budgets(budgets: tuple[Budget, ...]) -> str:
    """Budgets in a cell of a table, empty for none."""
    return ", ".join(_show_budget(budget) for budget in budgets)


def show_dollars(micros: int) -> str:
    """Micro-dollars as a number of dollars: exact, with two decimals or as many as it takes."""
    whole, rest = divmod(micros, _MICROS)
    return f"{whole}.{f'{rest:06}'.rstrip('0').ljust(2, '0')}"


def describe_terms(terms: Terms) -> dict[str, Any]:
    """Terms in full as plain JSON, in the shape of the admin API.

    Every limit, null for none; a budget has its period, and ``usd`` as decimal text or ``tokens``.
    """
    limits = {name: getattr(terms.limits, name) for name in _LIMITS}
    budgets = [
        {"period": budget.period, "usd": show_dollars(budget.amount)}
        if budget.unit == "usd"
        else {"period": budget.period, "tokens": budget.amount}
        for budget in terms.budgets
    ]
    rest = {
        name: getattr(terms, name)
        for name in terms.__struct_fields__
        if name not in ("limits", "budgets")
    }
    return {"limits": limits, "budgets": budgets, **rest}


def _show_budget(budget: Budget) -> str:
    if budget.unit == "usd":
        amount = f"${show_dollars(budget.amount)}"
    else:
        amount = f"{budget.amount} tokens"
    return f"{amount} in total" if budget.period == "total" else f"{amount} a {budget.period}"


def _read_limit(option: str, text: str) -> int | None:
    return None if text == NONE else _read_count(option, text)


def _read_count(option: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValueError(f"{option} {text!r} is not a whole number; 'none' removes it")
    return int(text)
