"""The shipped list: that it is genai-prices', and that it gives genai-prices' own results."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import Any

import msgspec
import pytest

from ledger.price_source import TOKENS, read_providers, write_book
from trunkline.ledger.entry import Tokens
from trunkline.ledger.price_book import BOOK, PriceBook

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
USAGES = [
    Tokens(1000, 500),
    Tokens(250_000, 3000, 100_000, 20_000),
    Tokens(1_500_000, 77_777, reasoning=7_777),
    Tokens(1003, 507, audio_input=301, audio_output=103),
]
USAGE_NAMES = {kind: name.removesuffix("_mtok") + "_tokens" for kind, name in TOKENS.items()} | {
    "cached": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
}
BOOKS = PriceBook()


def to_us(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000


@cache
def list_providers() -> list[Any]:
    return read_providers()


def list_names(clause: Any) -> Iterator[str]:
    """Names that a clause may be for."""
    for each in (*getattr(clause, "or_", ()), *getattr(clause, "and_", ())):
        yield from list_names(each)
    for field in ("equals", "starts_with", "contains", "ends_with"):
        if hasattr(clause, field):
            yield getattr(clause, field)


def list_times(model: Any) -> Iterator[datetime]:
    """Now, and just before and at every change of a model's prices."""
    yield NOW
    for one in model.prices if isinstance(model.prices, list) else ():
        if hasattr(one.constraint, "start_date"):
            start = datetime.combine(one.constraint.start_date, datetime.min.time(), UTC)
            yield from (start - timedelta(seconds=1), start)
        elif one.constraint is not None:
            for moment in (one.constraint.start_time, one.constraint.end_time):
                at = datetime.combine(NOW, moment)
                yield from (at - timedelta(seconds=1), at)


def find_theirs(provider: Any, model: str, tokens: Tokens, at: datetime) -> int | None:
    """Micro-dollars by genai-prices; None where it does not know the model."""
    genai: Any = import_module("genai_prices")
    counts = {name: getattr(tokens, kind) for kind, name in USAGE_NAMES.items()}
    usage = genai.Usage(**counts)
    try:
        found = genai.calc_price(usage, model, provider_id=provider.id, genai_request_timestamp=at)
    except LookupError:
        return None
    micros = (found.total_price * 1_000_000).quantize(Decimal(1), ROUND_HALF_UP)
    return int(micros)


def test_the_file_is_what_the_pinned_package_says() -> None:
    head = msgspec.json.decode(BOOK.read_bytes())
    assert head["source"] == f"genai-prices {version('genai-prices')}"
    # In parts: a difference in half a megabyte could not be read.
    written = write_book(datetime.fromisoformat(head["read_on"]).date()).split(b"\n")
    for line, expected in zip(BOOK.read_bytes().split(b"\n"), written, strict=True):
        assert line == expected, "run: python tests/ledger/price_source.py"


@pytest.mark.parametrize("name", BOOKS.list_names())
def test_costs_are_those_of_genai_prices(name: str) -> None:
    (provider,) = (each for each in list_providers() if each.id == name)
    compared = 0
    for model in provider.models:
        asked = next(list_names(model.match), model.id)
        for at in list_times(model):
            quote = BOOKS.find(name, asked, to_us(at))
            for tokens in USAGES:
                theirs = find_theirs(provider, asked, tokens, at)
                if quote is None or quote.tariff is None:
                    assert not theirs, (asked, at, tokens)
                    continue
                compared += 1
                assert quote.tariff.find_cost(tokens) == theirs, (asked, at, tokens)
    assert compared
