"""The windows of budgets, and what clients are told."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.limits.budget import (
    Claim,
    Shortage,
    find_end,
    find_start,
    find_window,
    write_amount,
)
from trunkline.terms import Budget, Period, Window

MONTHLY = Budget("usd", "month", 5_000_000)
DAILY = Budget("tokens", "day", 1000)


def to_us(text: str) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("period", "now", "start", "end"),
    [
        ("day", "2026-11-22T23:59:59.999999", "2026-11-22", "2026-11-23"),
        ("day", "2026-11-23", "2026-11-23", "2026-11-24"),
        ("month", "2026-11-30T23:59:59.999999", "2026-11-01", "2026-12-01"),
        ("month", "2026-12-31", "2026-12-01", "2027-01-01"),
        ("month", "2028-02-29T12:00:00", "2028-02-01", "2028-03-01"),
    ],
)
def test_windows_begin_at_midnight(period: Period, now: str, start: str, end: str) -> None:
    assert find_start(period, to_us(now)) == to_us(start)
    assert find_end(period, to_us(start)) == to_us(end)


def test_all_time_is_one_window() -> None:
    assert (find_start("total", 10**15), find_end("total", 0)) == (0, None)
    window = find_window("account", "a", Budget("usd", "total", 1), 10**15)
    assert window == Window("account", "a", "usd", "total", 0)


@given(st.sampled_from(["day", "month"]), st.integers(0, 4 * 10**15))
def test_a_moment_is_in_its_window(period: Period, now_us: int) -> None:
    start_us = find_start(period, now_us)
    end_us = find_end(period, start_us)
    assert end_us is not None
    assert start_us <= now_us < end_us
    assert find_start(period, start_us) == find_start(period, end_us - 1) == start_us
    assert find_start(period, end_us) == end_us


def test_the_first_budget_that_is_short_is_named() -> None:
    claims = [Claim("key", "k", MONTHLY, 10), Claim("account", "a b", DAILY, 700)]
    short = Shortage(claims, (50, 600), 2000, 100, to_us("2026-11-23"))
    assert (short.claim, short.left) == (claims[1], 600)
    error = short.make_error()
    assert (error.code, error.status, error.retry_after_s) == ("insufficient_quota", 429, None)
    assert error.message == (
        "The account 'a b' may use 2000 tokens a day and has 600 tokens left, besides 100 tokens "
        "held for calls under way; this call may use up to 700 tokens. Ask for less output or a "
        "shorter prompt; the budget is renewed at 2026-11-23T00:00:00Z."
    )


@pytest.mark.parametrize(
    ("reserved", "advice"), [(0, "Ask the operator for more"), (9, "Try again when those have")]
)
def test_the_advice_fits_the_shortage(reserved: int, advice: str) -> None:
    claims = [Claim("key", "secret-id", Budget("usd", "total", 1), 70_000)]
    message = Shortage(claims, (0,), 5_000_000, reserved, None).make_error().message
    assert message.startswith("This API key may use $5.00 in all and has $0.00 left")
    assert f"up to $0.07. {advice}" in message
    assert message.endswith("this budget is not renewed.")
    assert "secret-id" not in message


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000001"),
        (50_000, "$0.05"),
        (1_234_560, "$1.23456"),
        (-5, "-$0.000005"),
    ],
)
def test_dollars_are_written_with_all_that_counts(amount: int, text: str) -> None:
    assert write_amount(amount, "usd") == text


def test_tokens_are_written_as_they_are() -> None:
    assert [write_amount(count, "tokens") for count in (1, 2000)] == ["1 token", "2000 tokens"]
