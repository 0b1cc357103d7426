"""The prices of a gateway: the operator's rules first, then the shipped lists."""

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Final

from trunkline.errors import GatewayError
from trunkline.ledger.price import FREE, OWN, Tariff
from trunkline.ledger.price_book import PriceBook, Quote, bound_time, read_time
from trunkline.ledger.price_rule import ENGINES, OperatorPrice, PriceSettings

MEMORY_LIMIT: Final = 4096
"""Prices that are remembered: clients choose names, so what they can fill has an end."""


class PriceList:
    """Finds the price of a model at a target; what was found is remembered while it counts.

    Args:
        settings: the operator's rules, and what is done without a price.
        lists: the name of each provider's shipped list, by the provider's own name; providers
            that are not here have none.
        book: the shipped lists.
    """

    def __init__(
        self, settings: PriceSettings, lists: Mapping[str, str], book: PriceBook | None = None
    ) -> None:
        self.is_strict = settings.unpriced == "refuse"
        """Whether models without a price are refused."""
        self._rules = settings.list
        self._unpriced = settings.unpriced
        self._lists = lists
        self._book = book or PriceBook()
        self._known: dict[tuple[str, str], tuple[int, int, Tariff | None]] = {}

    def find(self, provider: str, model: str, at_us: int) -> Tariff | None:
        """What a call costs that starts at this time; None where the model has no price.

        Args:
            provider: the target's provider, ``local`` for engines.
            model: the name that is sent to it.
            at_us: microseconds since 1970.
        """
        known = self._known.get((provider, model))
        if known is not None and known[0] <= at_us < known[1]:
            return known[2]
        quote = self._quote(provider, model, at_us)
        if len(self._known) >= MEMORY_LIMIT:
            self._known.clear()
        self._known[provider, model] = (quote.since_us, quote.until_us, quote.tariff)
        return quote.tariff

    def require(self, provider: str, model: str, at_us: int) -> Tariff | None:
        """The same, for a call that is about to be sent.

        Raises:
            GatewayError: ``permission_denied`` where models without a price are refused.
        """
        tariff = self.find(provider, model, at_us)
        if tariff is None and self.is_strict:
            raise GatewayError(
                "permission_denied",
                "This model has no price at its target, and this gateway refuses such models; "
                "choose another model, or ask the gateway's operator to give it a price.",
                param="model",
            )
        return tariff

    def load(self) -> None:
        """Read the shipped lists of all providers now, so that no call has to wait for it.

        Raises:
            KeyError: a provider names a list that does not exist.
        """
        for name in dict.fromkeys(self._lists.values()):
            self._book.load(name)

    def _quote(self, provider: str, model: str, at_us: int) -> Quote:
        fitting = [
            (position, rule)
            for position, rule in enumerate(self._rules)
            if rule.fits(provider, model)
        ]
        day = read_time(at_us).date()
        since, until = bound_time(at_us, _list_changes([rule for _, rule in fitting]))
        for position, rule in fitting:
            if rule.is_active(day):
                return Quote(rule.build(f"prices.list[{position}]"), since, until)
        listed = None
        if provider in self._lists:
            listed = self._book.find(self._lists[provider], model, at_us)
        if listed is not None:
            since, until = max(since, listed.since_us), min(until, listed.until_us)
        tariff = listed.tariff if listed else None
        if tariff is None and provider == ENGINES:
            tariff = OWN
        elif tariff is None and self._unpriced == "free":
            tariff = FREE
        return Quote(tariff, since, until)


def _list_changes(rules: list[OperatorPrice]) -> list[datetime]:
    """When rules begin and end to count."""
    first = [rule.since for rule in rules if rule.since]
    last = [rule.until + timedelta(days=1) for rule in rules if rule.until]
    return [datetime.combine(day, time(), UTC) for day in (*first, *last)]
