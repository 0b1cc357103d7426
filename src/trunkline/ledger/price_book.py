"""The price list that the package ships: prices by provider and model, with their conditions.

It is made from the data of genai-prices by ``tests/ledger/price_source.py``; docs/prices.md says
what is taken over and what is not. Nothing of it is read before the first price is asked for.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from trunkline.ledger.price import Kind, Prices, Tariff, build_tariff

BOOK: Final = Path(__file__).parent / "prices.json"
DAY_US: Final = 86_400_000_000
NAME_LIMIT: Final = 256
"""Longer model names are on no list."""
_COMPACT_DAY: Final = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


class Match(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Which names a price is for: exactly one of these, all texts in lower case."""

    equals: str = ""
    starts_with: str = ""
    ends_with: str = ""
    contains: str = ""
    regex: str = ""
    one_of: tuple["Match", ...] = ()
    all_of: tuple["Match", ...] = ()

    def fits(self, name: str) -> bool:
        """Whether it is for this name, given in lower case."""
        if self.equals:
            return name == self.equals
        if self.one_of:
            return any(each.fits(name) for each in self.one_of)
        if self.starts_with:
            return name.startswith(self.starts_with)
        if self.contains:
            return self.contains in name
        if self.ends_with:
            return name.endswith(self.ends_with)
        if self.regex:
            return re.search(self.regex, name) is not None
        return bool(self.all_of) and all(each.fits(name) for each in self.all_of)


class Offer(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Prices of a model under one condition: from a day on, within hours of the day, or always.

    ``hours`` are seconds of the day, from and until, in UTC; an until that is less than the from
    is on the next day. ``prices`` are dollars per million tokens, None where tokens are not what
    is paid for, and ``request`` dollars a call.
    """

    prices: dict[Kind, Decimal] | None = None
    tiers: dict[int, dict[Kind, Decimal]] = {}
    request: Decimal = Decimal(0)
    since: date | None = None
    hours: tuple[int, int] | None = None

    def is_active(self, at: datetime) -> bool:
        """Whether it counts at this time, given in UTC."""
        if self.since is not None:
            return at.date() >= self.since
        if self.hours is None:
            return True
        start, end = self.hours
        second = at.hour * 3600 + at.minute * 60 + at.second
        if end < start:
            return second >= start or second < end
        return start <= second < end

    def list_changes(self, day: date) -> list[datetime]:
        """When the condition may change around a day."""
        if self.since is not None:
            return [_start(self.since)]
        if self.hours is None:
            return []
        return [
            _start(day + timedelta(days=days)) + timedelta(seconds=second)
            for days in (-1, 0, 1)
            for second in self.hours
        ]


class Model(msgspec.Struct, frozen=True, gc=False):
    """A model of a list: its name there, the names it is asked for by, and its offers."""

    id: str
    match: Match
    offers: tuple[Offer, ...]

    def find_offer(self, at: datetime) -> Offer:
        """What counts at this time: the last that does, else the first."""
        active = (offer for offer in reversed(self.offers) if offer.is_active(at))
        return next(active, self.offers[0])


class Sheet(msgspec.Struct, frozen=True, gc=False):
    """One provider's list, and the lists where to look for what it does not have."""

    models: tuple[Model, ...]
    fallback: tuple[str, ...] = ()


class _Book(msgspec.Struct, frozen=True):
    """The file: its source, the day on which that was read, and the lists, not yet decoded."""

    source: str
    read_on: date
    lists: Mapping[str, msgspec.Raw]


class Quote(msgspec.Struct, frozen=True):
    """The price of a model, None if it has none, and from when until when that stays so.

    Both are microseconds since 1970, the second is the first that is out.
    """

    tariff: Tariff | None
    since_us: int
    until_us: int


class PriceBook:
    """The lists of a file, each decoded when it is first asked for."""

    def __init__(self, path: Path = BOOK) -> None:
        self._path = path
        self._sheets: dict[str, Sheet] = {}
        self._source = ""

    def list_names(self) -> list[str]:
        """The names of all lists, sorted."""
        return sorted(self._read().lists)

    def find(self, name: str, model: str, at_us: int) -> Quote | None:
        """The price of a model on the list of that name; None where it is not on it.

        Raises:
            KeyError: there is no such list.
        """
        if len(model) > NAME_LIMIT:
            return None
        found = self._match(name, model.lower())
        if found is None:
            return None
        at = read_time(at_us)
        offer = found.find_offer(at)
        changes = [each for one in found.offers for each in one.list_changes(at.date())]
        tariff = None
        if offer.prices is not None:
            prices: Prices = offer.prices
            source = f"{self._source}, {name}: {found.id}"
            tariff = build_tariff(prices, offer.tiers, request=offer.request, source=source)
        return Quote(tariff, *bound_time(at_us, changes))

    def _match(self, name: str, model: str) -> Model | None:
        """The first that fits, on this list and then on those it falls back to.

        The same search as genai-prices' own: names with a day as ``-20251231`` are tried a second
        time as ``-2025-12-31``.
        """
        for text in dict.fromkeys((model, _COMPACT_DAY.sub(r"-\1-\2-\3", model))):
            for models in self.load(name):
                for each in models:
                    if each.match.fits(text):
                        return each
        return None

    def load(self, name: str) -> list[tuple[Model, ...]]:
        """The models of a list, and those of the lists that it falls back to.

        Raises:
            KeyError: there is no such list.
        """
        sheet = self._open(name)
        return [sheet.models, *(self._open(each).models for each in sheet.fallback)]

    def _open(self, name: str) -> Sheet:
        sheet = self._sheets.get(name)
        if sheet is None:
            book = self._read()
            self._source = f"{book.source} of {book.read_on}"
            sheet = msgspec.json.decode(book.lists[name], type=Sheet)
            self._sheets[name] = sheet
        return sheet

    def _read(self) -> _Book:
        return msgspec.json.decode(self._path.read_bytes(), type=_Book)


def read_time(at_us: int) -> datetime:
    """Microseconds since 1970 as a time in UTC, to the second."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC)


def bound_time(at_us: int, changes: list[datetime]) -> tuple[int, int]:
    """The last change up to a time and the first after it, in microseconds since 1970."""
    times = [int(change.timestamp()) * 1_000_000 for change in changes]
    since = max((each for each in times if each <= at_us), default=0)
    until = min((each for each in times if each > at_us), default=1 << 62)
    return since, until


def _start(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
