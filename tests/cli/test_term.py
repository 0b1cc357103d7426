"""Amounts and durations as they are typed: exact, or refused with what was expected."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.cli.term import read_duration_s, read_micros, show_budgets, show_dollars, show_limits
from trunkline.terms import NO_LIMITS, Budget, Limits


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0", 0),
        ("12.50", 12_500_000),
        ("12.5", 12_500_000),
        ("0.000001", 1),
        ("007", 7_000_000),
        ("0.1", 100_000),
        ("1.005", 1_005_000),
        ("999999999999.999999", 999_999_999_999_999_999),
    ],
)
def test_dollars_become_micro_dollars_exactly(text: str, micros: int) -> None:
    assert read_micros("--x", text) == micros


@given(st.decimals(min_value=0, max_value=10**11, places=6))
def test_every_amount_is_exact(amount: Decimal) -> None:
    assert read_micros("--x", f"{amount:f}") == int(amount.scaleb(6))


@given(st.integers(0, 10**17))
def test_what_is_shown_can_be_typed(micros: int) -> None:
    assert read_micros("--x", show_dollars(micros)) == micros


@pytest.mark.parametrize(
    "text",
    ["", "-1", "+1", "1,5", "1.", ".5", "1e3", "$5", " 5", "5 ", "5\n", "nan", "inf", "0x5", "1_0",
     "٣", "1" * 13, "1" * 5000, "none"],
)  # fmt: skip
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--x .* such as 12\.50"):
        read_micros("--x", text)


@pytest.mark.parametrize("text", ["0.0000001", "1.0000000"])
def test_more_decimals_than_are_counted_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="more than 6 decimals"):
        read_micros("--x", text)


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [("0", 0), ("0s", 0), ("90s", 90), ("30m", 1800), ("24h", 86_400), ("7d", 604_800)],
)
def test_a_duration_has_a_unit(text: str, duration_s: int) -> None:
    assert read_duration_s("--x", text) == duration_s


@pytest.mark.parametrize(
    "text", ["", "5", "-5m", "5 m", "5M", "1.5h", "h", "5m\n", "٣m", "1" * 5000 + "d"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--x .* such as 30m"):
        read_duration_s("--x", text)


def test_terms_are_shown_shortly() -> None:
    assert show_limits(NO_LIMITS) == show_budgets(()) == ""
    assert show_limits(Limits(rpm=1, tpm=2, concurrent=3)) == "1 rpm, 2 tpm, 3 at once"
    budgets = (Budget("usd", "total", 1_234_560), Budget("tokens", "day", 0))
    assert show_budgets(budgets) == "$1.23456 in total, 0 tokens a day"
