"""Which price counts: the operator's first, then the shipped list, each at its own time."""

import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from trunkline.errors import GatewayError
from trunkline.ledger.entry import Tokens
from trunkline.ledger.price_book import PriceBook
from trunkline.ledger.price_list import MEMORY_LIMIT, PriceList
from trunkline.ledger.price_rule import OperatorPrice, PriceSettings

BOOK = """{"source":"a page","read_on":"2026-11-22","lists":{
"vendor":{"fallback":["other"],"models":[
{"id":"m","match":{"one_of":[{"equals":"m"},{"all_of":[{"starts_with":"m-"},{"ends_with":"-x"}]}]},
 "offers":[{"prices":{"input":"1","output":"2"}}]},
{"id":"dated","match":{"equals":"dated"},"offers":[
 {"prices":{"input":"1","output":"2"}},
 {"prices":{"input":"3","output":"4"},"since":"2026-06-01"},
 {"prices":{"input":"5","output":"6"},"since":"2026-12-01"}]},
{"id":"hourly","match":{"equals":"hourly"},"offers":[
 {"prices":{"input":"1","output":"2"}},
 {"prices":{"input":"3","output":"4"},"hours":[81000,3600]}]},
{"id":"pages","match":{"contains":"pages"},"offers":[{}]},
{"id":"day","match":{"regex":"^day-\\\\d{4}-\\\\d{2}-\\\\d{2}$"},"offers":[{"prices":{"input":"9"}}]}
]},
"other":{"fallback":["vendor"],"models":[
{"id":"o","match":{"contains":"o"},"offers":[{"prices":{"input":"7","output":"8"},"request":"0.01"}]}
]}}}"""
NOON = (2026, 11, 22, 12)


def to_us(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.fixture
def book(tmp_path: Path) -> PriceBook:
    path = tmp_path / "prices.json"
    path.write_text(BOOK, "utf-8")
    return PriceBook(path)


def find_input(prices: PriceList, provider: str, model: str, *at: int) -> int | None:
    """What a million input tokens cost, in dollars; None without a price."""
    tariff = prices.find(provider, model, to_us(*(at or NOON)))
    return None if tariff is None else tariff.find_cost(Tokens(1_000_000)) // 1_000_000


def rule(provider: str, model: str, price: str, **days: date) -> OperatorPrice:
    return OperatorPrice(provider=provider, model=model, input=price, output="0", **days)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("m", 1),
        ("M", 1),
        ("m-any-x", 1),
        ("m-any-y", None),
        ("o", 7),  # on the list it falls back to
        ("pages-o", None),  # paid for, but not by the token: the next list is not asked
        ("day-20261122", 9),
        ("day-2026-11-22", 9),
        ("day-20261322", None),
        ("nothing", 7),
        ("", None),
        ("o" * 300, None),
    ],
)
def test_a_name_is_found_as_its_list_says(book: PriceBook, model: str, price: int | None) -> None:
    prices = PriceList(PriceSettings(), {"v": "vendor"}, book)
    assert find_input(prices, "v", model) == price


def test_a_provider_without_a_list_has_no_prices(book: PriceBook) -> None:
    prices = PriceList(PriceSettings(), {"v": "vendor"}, book)
    assert find_input(prices, "lab", "m") is None
    assert find_input(prices, "local", "m") == 0  # engines cost nothing


def test_the_source_is_said(book: PriceBook) -> None:
    mine = PriceSettings(list=(rule("v", "x", "1"), rule("v", "m*", "1")))
    prices = PriceList(mine, {"v": "vendor"}, book)
    found = [prices.find("v", model, to_us(*NOON)) for model in ("m", "o")]
    sources = [each and each.source for each in found]
    assert sources == ["prices.list[1]", "a page of 2026-11-22, vendor: o"]


def test_the_first_rule_that_fits_wins_over_every_list(book: PriceBook) -> None:
    rules = (
        rule("v", "m", "10"),
        rule("v", "m*", "20"),
        rule("*", "d*", "30"),
        rule("local", "e", "40"),
        rule("*", "*", "50"),
    )
    prices = PriceList(PriceSettings(list=rules), {"v": "vendor"}, book)
    asked = [("v", "m"), ("v", "mm"), ("lab", "dd"), ("local", "e"), ("local", "f"), ("lab", "m")]
    assert [find_input(prices, *each) for each in asked] == [10, 20, 30, 40, 0, 50]


def test_rules_count_on_their_days_only(book: PriceBook) -> None:
    rules = (
        rule("v", "m", "10", until=date(2026, 3, 31)),
        rule("v", "m", "20", since=date(2026, 6, 1), until=date(2026, 6, 30)),
    )
    prices = PriceList(PriceSettings(list=rules), {"v": "vendor"}, book)
    days = [(3, 31, 10), (4, 1, 1), (5, 31, 1), (6, 1, 20), (6, 30, 20), (7, 1, 1), (1, 1, 10)]
    for month, day, price in [*days, *reversed(days)]:
        # Just after midnight and just before the next one, in both directions of time.
        assert find_input(prices, "v", "m", 2026, month, day) == price
        assert find_input(prices, "v", "m", 2026, month, day, 23, 59) == price


def test_lists_count_on_their_days(book: PriceBook) -> None:
    prices = PriceList(PriceSettings(), {"v": "vendor"}, book)
    for _ in range(2):
        assert find_input(prices, "v", "dated", 2026, 5, 31, 23, 59) == 1
        assert find_input(prices, "v", "dated", 2026, 6, 1) == 3
        assert find_input(prices, "v", "dated", 2026, 11, 30, 23, 59) == 3
        assert find_input(prices, "v", "dated", 2026, 12, 1) == 5


def test_lists_count_in_their_hours_across_midnight(book: PriceBook) -> None:
    prices = PriceList(PriceSettings(), {"v": "vendor"}, book)
    hours = [(0, 0, 3), (0, 59, 3), (1, 0, 1), (12, 0, 1), (22, 29, 1), (22, 30, 3), (23, 59, 3)]
    for day in (21, 22, 21):
        for hour, minute, price in hours:
            assert find_input(prices, "v", "hourly", 2026, 11, day, hour, minute) == price


def test_what_was_found_is_not_looked_for_again(book: PriceBook, tmp_path: Path) -> None:
    prices = PriceList(PriceSettings(), {"v": "vendor"}, book)
    first = prices.find("v", "m", to_us(*NOON))
    assert prices.find("v", "m", to_us(*NOON) + 1) is first
    (tmp_path / "prices.json").unlink()
    assert find_input(prices, "v", "o") == 7  # the lists are read once
    with pytest.raises(FileNotFoundError):
        PriceList(PriceSettings(), {"v": "vendor"}, PriceBook(tmp_path / "prices.json")).load()


def test_all_lists_can_be_read_ahead(book: PriceBook, tmp_path: Path) -> None:
    prices = PriceList(PriceSettings(), {"v": "vendor", "w": "other"}, book)
    prices.load()
    (tmp_path / "prices.json").unlink()
    assert [find_input(prices, "v", "m"), find_input(prices, "w", "o")] == [1, 7]


def test_clients_cannot_fill_the_memory(book: PriceBook) -> None:
    prices = PriceList(PriceSettings(), {"v": "vendor"}, book)
    for number in range(MEMORY_LIMIT + 10):
        prices.find("lab", f"m{number}", to_us(*NOON))
    assert len(prices._known) <= MEMORY_LIMIT


def test_a_list_that_does_not_exist_is_an_error(book: PriceBook) -> None:
    with pytest.raises(KeyError):
        PriceList(PriceSettings(), {"v": "vendors"}, book).load()


def test_without_a_price_it_is_flagged_refused_or_free(book: PriceBook) -> None:
    flag, refuse, free = (
        PriceList(PriceSettings(unpriced=word), {"v": "vendor"}, book)
        for word in ("flag", "refuse", "free")
    )
    now_us = to_us(*NOON)
    assert flag.require("lab", "m", now_us) is None
    tariff = free.require("lab", "m", now_us)
    assert tariff is not None
    assert tariff.find_cost(Tokens(10**9, 10**9)) == 0
    with pytest.raises(GatewayError) as caught:
        refuse.require("lab", "m", now_us)
    assert (caught.value.code, caught.value.status) == ("permission_denied", 403)
    assert refuse.find("lab", "m", now_us) is None
    for prices in (flag, refuse, free):
        assert find_input(prices, "v", "m") == 1
        assert prices.require("v", "m", now_us) is not None
        assert prices.require("local", "m", now_us) is not None


def test_prices_are_found_without_heavy_packages() -> None:
    script = (
        "import sys\n"
        "from trunkline.ledger.price_list import PriceList\n"
        "from trunkline.ledger.price_rule import PriceSettings\n"
        "prices = PriceList(PriceSettings(), {'openai': 'openai'})\n"
        "assert prices.find('openai', 'gpt-4o', 1795348800000000) is not None\n"
        "print(*{'pydantic', 'httpx', 'httpx2', 'genai_prices', 'sqlalchemy'} & {*sys.modules})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"
