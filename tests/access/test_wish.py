"""What an operator may want, at its edges."""

from collections.abc import Callable

import pytest

from trunkline.access.wish import (
    BUDGET_MOST,
    LATEST_US,
    LIMIT_MOST,
    check_accounts,
    check_expiry,
    check_key_name,
    check_models,
    check_terms,
)
from trunkline.terms import Budget, Limits, Terms


@pytest.mark.parametrize(
    "check",
    [
        lambda: check_key_name(""),
        lambda: check_key_name("x" * 200),
        lambda: check_models(None),
        lambda: check_models(()),
        lambda: check_models(("x" * 200, "*")),
        lambda: check_accounts(["a"] * 1000),
        lambda: check_expiry(None, 5),
        lambda: check_expiry(6, 5),
        lambda: check_expiry(LATEST_US, 5),
        lambda: check_terms(Terms(limits=Limits(rpm=LIMIT_MOST, tpm=1, concurrent=LIMIT_MOST))),
        lambda: check_terms(Terms(budgets=(Budget("usd", "day", BUDGET_MOST),))),
    ],
)
def test_what_may_be(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize(
    ("check", "word"),
    [
        (lambda: check_key_name("bootstrap"), "kept for"),
        (lambda: check_key_name("a\nb"), "printable"),
        (lambda: check_key_name("x" * 201), "200"),
        (lambda: check_models(("",)), "pattern"),
        (lambda: check_models(("x" * 201,)), "pattern"),
        (lambda: check_models(("\ud800",)), "pattern"),
        (lambda: check_models(("a",) * 1001), "1000"),
        (lambda: check_accounts(["a"] * 1001), "1000"),
        (lambda: check_expiry(5, 5), "past"),
        (lambda: check_expiry(-1, 5), "past"),
        (lambda: check_expiry(LATEST_US + 1, 5), "9999"),
        (lambda: check_terms(Terms(limits=Limits(rpm=LIMIT_MOST + 1))), "limit"),
        (lambda: check_terms(Terms(limits=Limits(tpm=LIMIT_MOST + 1))), "limit"),
        (lambda: check_terms(Terms(limits=Limits(concurrent=LIMIT_MOST + 1))), "limit"),
        (lambda: check_terms(Terms(budgets=(Budget("tokens", "day", 10**15 + 1),))), "budget"),
    ],
)
def test_what_may_not_be(check: Callable[[], None], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        check()
