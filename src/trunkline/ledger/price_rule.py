"""Prices as operators write them: rules by provider and model, and what is done without one."""

from collections.abc import Collection
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Final, Literal

import msgspec

from trunkline.ledger.price import KINDS, Tariff, build_tariff
from trunkline.toml import FileFault

ENGINES: Final = "local"
"""The provider name of the models that the gateway runs itself."""
ANY: Final = "*"
Amount = str | int | float
"""Dollars: a text or a whole number. Floats are read only to be refused with a good word."""
Unpriced = Literal["flag", "refuse", "free"]
_OTHER: Final = ("request", "image")
_LARGEST: Final = Decimal(1_000_000_000)
_PLACES: Final = 12


class OperatorPrice(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False
):
    """What a model costs by the operator's word, in dollars per million tokens.

    ``provider`` is a configured provider, ``local`` for engines, or ``*`` for every provider;
    ``*`` in ``model`` stands for any characters. ``request`` is dollars a call, ``image`` dollars
    an image of a request. ``since`` and ``until`` are its first and last day, in UTC.
    """

    provider: str
    model: str
    input: Amount
    output: Amount
    cached: Amount | None = None
    cache_write: Amount | None = None
    reasoning: Amount | None = None
    audio_input: Amount | None = None
    audio_output: Amount | None = None
    image: Amount | None = None
    request: Amount | None = None
    since: date | None = None
    until: date | None = None

    def fits(self, provider: str, model: str) -> bool:
        """Whether it is for this model, on whatever day."""
        if self.provider != provider and (self.provider != ANY or provider == ENGINES):
            return False
        return _matches(self.model, model)

    def is_active(self, day: date) -> bool:
        """Whether it counts on this day."""
        return (self.since is None or self.since <= day) and (
            self.until is None or day <= self.until
        )

    def build(self, source: str) -> Tariff:
        """The same as a tariff; raises ``ValueError`` for an amount that ``find_faults`` names."""
        given = {
            kind: parse_amount(value)
            for kind in KINDS
            if (value := getattr(self, kind)) is not None
        }
        request, image = (parse_amount(getattr(self, name) or 0) for name in _OTHER)
        return build_tariff(given, request=request, image=image, source=source)


class PriceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The operator's own prices, and what is done with models that have none.

    ``unpriced``: the cost of a model without a price is unknown and flagged so, its calls are
    refused, or they cost nothing. Of ``list`` the first that fits counts.
    """

    unpriced: Unpriced = "flag"
    list: tuple[OperatorPrice, ...] = ()


def parse_amount(value: Amount) -> Decimal:
    """Dollars, exactly as written.

    Raises:
        ValueError: it is no amount from 0 to a thousand million with at most 12 decimal places.
    """
    if isinstance(value, float):
        # Not the type is wrong, but how the number was written.
        raise ValueError(  # noqa: TRY004
            f'write the amount as text, as in "{value}": then it is exact'
        )
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise ValueError('expected dollars as text, as in "0.15"') from None
    if not (amount.is_finite() and 0 <= amount <= _LARGEST):
        raise ValueError(f"expected dollars from 0 to {_LARGEST:,}")
    if -int(amount.normalize().as_tuple().exponent) > _PLACES:
        raise ValueError(f"expected at most {_PLACES} decimal places")
    return amount


def find_faults(prices: PriceSettings, providers: Collection[str]) -> list[FileFault]:
    """What is wrong with the operator's prices; ``providers`` are the configured ones."""
    known = [*providers, ENGINES, ANY]
    faults = []
    for position, rule in enumerate(prices.list):
        steps = ("prices", "list", position)
        if rule.provider not in known:
            words = ", ".join(known)
            faults.append(
                FileFault((*steps, "provider"), f"expected a configured provider ({words})")
            )
        if not rule.model:
            faults.append(FileFault((*steps, "model"), "expected a name, or a pattern with '*'"))
        for name in (*KINDS, *_OTHER):
            value = getattr(rule, name)
            try:
                parse_amount(0 if value is None else value)
            except ValueError as error:
                faults.append(FileFault((*steps, name), str(error)))
        if rule.since and rule.until and rule.until < rule.since:
            faults.append(FileFault((*steps, "until"), f"expected {rule.since} or later"))
    return faults


def _matches(pattern: str, text: str) -> bool:
    """Whether the text is what the pattern says, ``*`` standing for any characters."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    *middle, last = rest
    if not text.startswith(first):
        return False
    at = len(first)
    for part in middle:
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return text.endswith(last) and at <= len(text) - len(last)
