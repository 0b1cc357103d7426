"""What operators may write as a price, and what they are told when it is none."""

from datetime import date
from decimal import Decimal

import pytest

from trunkline.ledger.entry import Tokens
from trunkline.ledger.price_rule import (
    OperatorPrice,
    PriceSettings,
    find_faults,
    parse_amount,
)


def rule(provider: str = "lab", model: str = "m", **more: str | float | date) -> OperatorPrice:
    return OperatorPrice(provider=provider, model=model, input="1", output="2", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pattern", "model", "fits"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o", "GPT-4o", False),
        ("*", "anything", True),
        ("*", "", True),
        ("gpt-*", "gpt-4o", True),
        ("gpt-*", "a-gpt-4o", False),
        ("*-mini", "gpt-4o-mini", True),
        ("*-mini", "gpt-4o-mini-2", False),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c", False),
        ("ab*ba", "aba", False),
        ("a*b*b", "ab", False),
        ("m[1].x", "m[1].x", True),
        ("m?", "m1", False),
        ("m?", "m?", True),
    ],
)
def test_a_star_stands_for_any_characters(pattern: str, model: str, *, fits: bool) -> None:
    assert rule(model=pattern).fits("lab", model) is fits


@pytest.mark.parametrize(
    ("provider", "asked", "fits"),
    [
        ("lab", "lab", True),
        ("lab", "labs", False),
        ("*", "lab", True),
        ("*", "local", False),  # engines are priced by their own name only
        ("local", "local", True),
        ("local", "lab", False),
    ],
)
def test_a_rule_is_for_one_provider_or_for_all(provider: str, asked: str, *, fits: bool) -> None:
    assert rule(provider).fits(asked, "m") is fits


def test_a_rule_counts_from_its_first_to_its_last_day() -> None:
    year = rule(since=date(2026, 1, 1), until=date(2026, 12, 31))
    days = [date(2025, 12, 31), date(2026, 1, 1), date(2026, 12, 31), date(2027, 1, 1)]
    assert [year.is_active(day) for day in days] == [False, True, True, False]
    assert rule().is_active(date(1970, 1, 1))


def test_every_amount_reaches_the_tariff() -> None:
    tariff = OperatorPrice(
        provider="lab",
        model="m",
        input="1",
        output=2,
        cached="0.5",
        cache_write="1.25",
        reasoning="3",
        audio_input="40",
        audio_output="80",
        image="0.002",
        request="0.01",
    ).build("here")
    ((_, prices),) = tariff.list_prices()
    assert prices == {
        "input": 1,
        "output": 2,
        "cached": Decimal("0.5"),
        "cache_write": Decimal("1.25"),
        "reasoning": 3,
        "audio_input": 40,
        "audio_output": 80,
    }
    assert tariff.find_cost(Tokens(1000, 100), images=2) == 1000 + 200 + 10_000 + 4000
    assert tariff.source == "here"


@pytest.mark.parametrize(
    ("text", "amount"), [("0.15", "0.15"), ("3", "3"), (3, "3"), (0, "0"), ("1e-3", "0.001")]
)
def test_an_amount_is_read_exactly(text: str | int, amount: str) -> None:
    assert parse_amount(text) == Decimal(amount)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.15, 'write the amount as text, as in "0.15": then it is exact'),
        ("", 'expected dollars as text, as in "0.15"'),
        ("$1", 'expected dollars as text, as in "0.15"'),
        ("-1", "expected dollars from 0 to 1,000,000,000"),
        (-1, "expected dollars from 0 to 1,000,000,000"),
        ("nan", "expected dollars from 0 to 1,000,000,000"),
        ("1e99999", "expected dollars from 0 to 1,000,000,000"),
        ("0.0000000000001", "expected at most 12 decimal places"),
        ("1e-999999", "expected at most 12 decimal places"),
    ],
)
def test_what_is_no_amount_is_refused(value: str | float, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_amount(value)
    assert str(caught.value) == message


def test_rules_without_a_fault_have_none() -> None:
    rules = (rule(), rule("*", "*"), rule("local", "m", since=date(2026, 1, 1)))
    assert find_faults(PriceSettings(list=rules), ["lab"]) == []


def test_every_fault_is_found_where_it_is() -> None:
    rules = (
        rule(),
        rule("lap", "", image=0.5, since=date(2026, 2, 1), until=date(2026, 1, 31)),
    )
    faults = find_faults(PriceSettings(list=rules), ["lab"])
    assert [(fault.steps, fault.message) for fault in faults] == [
        (("prices", "list", 1, "provider"), "expected a configured provider (lab, local, *)"),
        (("prices", "list", 1, "model"), "expected a name, or a pattern with '*'"),
        (
            ("prices", "list", 1, "image"),
            'write the amount as text, as in "0.5": then it is exact',
        ),
        (("prices", "list", 1, "until"), "expected 2026-02-01 or later"),
    ]
