"""Prices a past time anew: which attempts cost something else by today's price list. Pure."""

from collections.abc import Callable, Iterable

import msgspec

from trunkline.ledger.entry import Tokens
from trunkline.ledger.price import Tariff
from trunkline.store.cost import CostRow, PricedAttempt

FindTariff = Callable[[str, str, int], Tariff | None]
"""The price of a provider's model at a time; None where it has none."""


class Repricing(msgspec.Struct, frozen=True):
    """What pricing some attempts anew comes to.

    ``unpriced`` attempts have no price now, and those ``by_image`` have one that counts images,
    which the ledger does not keep: both keep the cost that they have. ``before_micros`` and
    ``after_micros`` are the costs of all attempts together, as far as they have any.
    """

    changes: tuple[CostRow, ...] = ()
    attempts: int = 0
    changed: int = 0
    unpriced: int = 0
    by_image: int = 0
    before_micros: int = 0
    after_micros: int = 0

    def add(self, other: "Repricing") -> "Repricing":
        """Both together, without the single changes, which may be many."""
        sums = {
            name: getattr(self, name) + getattr(other, name)
            for name in self.__struct_fields__
            if name != "changes"
        }
        return Repricing(**sums)


def plan_costs(attempts: Iterable[PricedAttempt], find_tariff: FindTariff) -> Repricing:
    """What attempts cost by the prices of their own time, as they are known now.

    Attempts of which nobody knows what they used keep their cost.
    """
    changes: list[CostRow] = []
    seen = unpriced = by_image = before = after = 0
    for attempt in attempts:
        seen += 1
        cost = attempt.cost_micros
        before += cost or 0
        provider, _, model = attempt.target.partition("/")
        tariff = find_tariff(provider, model, attempt.at_us)
        if attempt.usage_source == "none":
            pass
        elif tariff is None:
            unpriced += 1
        elif tariff.image:
            by_image += 1
        else:
            cost = tariff.find_cost(_read_tokens(attempt))
        after += cost or 0
        if cost != attempt.cost_micros:
            changes.append(CostRow(attempt.entry_id, attempt.number, cost))
    return Repricing(tuple(changes), seen, len(changes), unpriced, by_image, before, after)


def _read_tokens(attempt: PricedAttempt) -> Tokens:
    return Tokens(*(getattr(attempt, f"{kind}_tokens") for kind in Tokens.__struct_fields__))
