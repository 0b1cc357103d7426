"""Wishes: what an operator may want of an account or a key, checked before it is stored. Pure."""

from collections.abc import Collection
from typing import Final

from trunkline.terms import Terms

BOOTSTRAP_NAME: Final = "bootstrap"
"""The name that only the key of TRUNKLINE_BOOTSTRAP_KEY has."""

LIMIT_MOST: Final = 10**12
BUDGET_MOST: Final = 10**15
"""A billion dollars in micro-dollars; what is summed up to it fits every database's integers."""
LATEST_US: Final = 253_402_300_799_999_999
"""The last moment of the year 9999, after which no date can be written."""
LENGTH_MOST: Final = 200
COUNT_MOST: Final = 1000


def check_key_name(name: str) -> None:
    """Pass when a key that an operator makes may have this name.

    Raises:
        ValueError: it is reserved, too long, or cannot be printed.
    """
    if name == BOOTSTRAP_NAME:
        raise ValueError(f"the name {BOOTSTRAP_NAME!r} is kept for TRUNKLINE_BOOTSTRAP_KEY")
    if name and not name.isprintable():
        raise ValueError("a key's name must be printable")
    if len(name) > LENGTH_MOST:
        raise ValueError(f"a key's name has at most {LENGTH_MOST} characters")


def check_models(models: Collection[str] | None) -> None:
    """Pass when these can be the patterns of a key's models; None is all of them.

    Raises:
        ValueError: a pattern is empty, too long, or cannot be printed, or there are too many.
    """
    if models is None:
        return
    if not all(text.isprintable() and 0 < len(text) <= LENGTH_MOST for text in models):
        raise ValueError(
            "a model pattern is a text such as gpt-4o or local/*, "
            f"of at most {LENGTH_MOST} characters"
        )
    _check_count(models, "model patterns")


def check_accounts(accounts: Collection[str]) -> None:
    """Pass when a key may have that many further accounts.

    Raises:
        ValueError: they are too many.
    """
    _check_count(accounts, "further accounts")


def check_expiry(expires_at_us: int | None, now_us: int) -> None:
    """Pass when a key may get this expiry, in microseconds since 1970; None is never.

    Raises:
        ValueError: it is not in the future, or so far away that no date is.
    """
    if expires_at_us is None:
        return
    if expires_at_us <= now_us:
        raise ValueError("the key would expire in the past; to stop a key at once, revoke it")
    if expires_at_us > LATEST_US:
        raise ValueError("the key would expire after the year 9999; leave the expiry out")


def check_terms(terms: Terms) -> None:
    """Pass when the limits and budgets are amounts that can be counted exactly everywhere.

    Raises:
        ValueError: one is too large.
    """
    limits = terms.limits
    for limit in (limits.rpm, limits.tpm, limits.concurrent):
        if limit is not None and limit > LIMIT_MOST:
            raise ValueError(f"a limit is at most {LIMIT_MOST:,}; leave it out for no limit")
    for budget in terms.budgets:
        if budget.amount > BUDGET_MOST:
            most = f"{BUDGET_MOST // 10**6:,} dollars or {BUDGET_MOST:,} tokens"
            raise ValueError(f"a budget is at most {most}; leave it out for none")


def _check_count(texts: Collection[str], what: str) -> None:
    if len(texts) > COUNT_MOST:
        raise ValueError(f"a key has at most {COUNT_MOST} {what}")
