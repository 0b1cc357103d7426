"""Makes the shipped price list from the data of genai-prices; run it to write the file again.

genai-prices is MIT-licensed; its notice stands beside the list. It is a tool of developers here:
importing it brings pydantic and an HTTP client along, which a gateway does without.
"""

import sys
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib import import_module
from importlib.metadata import version
from typing import Any

import msgspec

from trunkline.ledger.price_book import BOOK

TOKENS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "audio_input": "input_audio_mtok",
    "reasoning": "output_reasoning_mtok",
    "audio_output": "output_audio_mtok",
}
"""Our kinds of tokens and genai-prices' names of their prices."""


def read_providers() -> list[Any]:
    # By name, so that mypy does not read a file of 1.6 MB.
    providers: list[Any] = import_module("genai_prices.data").providers
    return providers


def write_book(read_on: date) -> bytes:
    """The whole file, one model a line, so that changes can be read."""
    lists = []
    for provider in sorted(read_providers(), key=lambda each: each.id):
        models = ",\n".join(write(take_model(model)) for model in provider.models)
        fallback = write(provider.fallback_model_providers or [])
        lists.append(f'{write(provider.id)}:{{"fallback":{fallback},"models":[\n{models}\n]}}')
    source = write(f"genai-prices {version('genai-prices')}")
    body = ",\n".join(lists)
    return f'{{"source":{source},"read_on":"{read_on}","lists":{{\n{body}\n}}}}\n'.encode()


def take_model(model: Any) -> dict[str, Any]:
    given = model.prices if isinstance(model.prices, list) else [None]
    offers = []
    for one in given:
        prices = model.prices if one is None else one.prices
        offer = take_prices(prices.__dict__, gone=bool(model.deprecated))
        offers.append(offer | take_condition(one and one.constraint))
    return {"id": model.id, "match": take_match(model.match), "offers": offers}


def take_prices(prices: dict[str, Any], *, gone: bool) -> dict[str, Any]:
    given = {kind: prices[name] for kind, name in TOKENS.items() if prices.get(name) is not None}
    if not given and (prices or gone):
        return {}  # it is paid for by the hour, the page or the letter, or nobody knows
    offer: dict[str, Any] = {"prices": {kind: show(at(price, 0)) for kind, price in given.items()}}
    marks = {tier.start for price in given.values() for tier in getattr(price, "tiers", ())}
    if marks:
        offer["tiers"] = {
            mark: {kind: show(at(price, mark + 1)) for kind, price in given.items()}
            for mark in sorted(marks)
        }
    if prices.get("requests_kcount"):
        offer["request"] = show(prices["requests_kcount"] / 1000)
    return offer


def at(price: Any, size: int) -> Decimal:
    """A price for calls of this many input tokens."""
    found: Decimal = getattr(price, "base", price)
    for tier in getattr(price, "tiers", ()):
        if size > tier.start:
            found = tier.price
    return found


def show(price: Decimal) -> str:
    return f"{price.normalize():f}"


def take_condition(constraint: Any) -> dict[str, Any]:
    if constraint is None:
        return {}
    if hasattr(constraint, "start_date"):
        return {"since": constraint.start_date}
    return {"hours": [seconds(constraint.start_time), seconds(constraint.end_time)]}


def seconds(moment: time) -> int:
    assert moment.tzinfo is UTC
    assert not moment.microsecond
    return moment.hour * 3600 + moment.minute * 60 + moment.second


def take_match(clause: Any) -> dict[str, Any]:
    for ours, theirs in (("one_of", "or_"), ("all_of", "and_")):
        if hasattr(clause, theirs):
            return {ours: [take_match(each) for each in getattr(clause, theirs)]}
    for name in ("equals", "starts_with", "ends_with", "contains"):
        if hasattr(clause, name):
            return {name: getattr(clause, name).lower()}
    return {"regex": clause.regex}


def write(value: Any) -> str:
    return msgspec.json.encode(value).decode()


if __name__ == "__main__":
    today = datetime.now(UTC).date()
    sys.stdout.write(f"{BOOK.write_bytes(write_book(today))} bytes\n")
