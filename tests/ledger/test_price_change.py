"""Pricing the past anew."""

from decimal import Decimal

from trunkline.ledger.price import Tariff, build_tariff
from trunkline.ledger.price_change import Repricing, plan_costs
from trunkline.store.cost import CostRow, PricedAttempt

OLD = build_tariff({"input": Decimal(1), "output": Decimal(2), "cached": Decimal("0.5")})
NEW = build_tariff({"input": Decimal(3), "output": Decimal(4), "audio_input": Decimal(9)})
PICTURES = build_tariff({"input": Decimal(1)}, image=Decimal("0.01"))


def attempt(
    number: int = 1, target: str = "v/m", source: str = "provider", cost: int | None = 5
) -> PricedAttempt:
    tokens = {"input_tokens": 1000, "output_tokens": 100, "cached_tokens": 200}
    rest = {"cache_write_tokens": 0, "reasoning_tokens": 50, "audio_output_tokens": 0}
    return PricedAttempt(
        at_us=10,
        entry_id="call",
        number=number,
        model="public",
        target=target,
        usage_source=source,
        audio_input_tokens=10,
        cost_micros=cost,
        **tokens,
        **rest,
    )


def find_tariff(provider: str, model: str, at_us: int) -> Tariff | None:
    """As a price list does."""
    if (provider, model) == ("v", "a/b"):
        return PICTURES
    if (provider, model) == ("v", "m"):
        return NEW if at_us >= 10 else OLD
    return None


def test_an_attempt_costs_what_its_tokens_cost_at_its_time() -> None:
    plan = plan_costs([attempt()], find_tariff)
    cost = 990 * 3 + 10 * 9 + 100 * 4
    assert plan == Repricing((CostRow("call", 1, cost),), 1, 1, 0, 0, 5, cost)


def test_what_had_no_cost_gets_one() -> None:
    plan = plan_costs([attempt(cost=None)], find_tariff)
    assert plan.changes == (CostRow("call", 1, 3460),)
    assert (plan.before_micros, plan.after_micros) == (0, 3460)


def test_what_costs_the_same_is_no_change() -> None:
    plan = plan_costs([attempt(cost=3460)], find_tariff)
    assert plan == Repricing((), 1, 0, 0, 0, 3460, 3460)


def test_what_cannot_be_priced_keeps_its_cost() -> None:
    unknown = attempt(source="none", cost=None)
    unpriced = attempt(2, target="w/m", cost=7)
    pictures = attempt(3, target="v/a/b", cost=8)
    plan = plan_costs([unknown, unpriced, pictures], find_tariff)
    assert plan == Repricing((), 3, 0, 1, 1, 15, 15)


def test_plans_add_up_without_their_changes() -> None:
    one = plan_costs([attempt(), attempt(2, target="w/m")], find_tariff)
    both = one.add(one)
    assert both == Repricing((), 4, 2, 2, 0, 20, 2 * (3460 + 5))
