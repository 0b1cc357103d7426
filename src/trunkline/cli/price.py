"""The price of a target as the command line shows it, and what to do where there is none."""

from decimal import Decimal
from typing import Any, Final

import msgspec

from trunkline.ledger.entry import Tokens
from trunkline.ledger.price import WHOLE, Tariff
from trunkline.ledger.price_rule import Unpriced
from trunkline.ledger.sheet import show_text, write_usd
from trunkline.routing.table import Target

SAMPLE: Final = Tokens(1000, 500)
_FATE: Final[dict[Unpriced, str]] = {
    "flag": "its calls are served, and their cost is unknown",
    "refuse": "its calls are refused",
    "free": "its calls cost nothing",
}


def write_target(target: Target, tariff: Tariff) -> str:
    """A target's prices for people: parts of the input and the output only where they differ."""
    lines = [show_text(target.label), f"  from    {show_text(tariff.source)}"]
    for above, prices in tariff.list_prices():
        shown = {
            kind: price
            for kind, price in prices.items()
            if kind not in WHOLE or price != prices[WHOLE[kind]]
        }
        words = ", ".join(
            f"{kind.replace('_', ' ')} ${_show(each)}" for kind, each in shown.items()
        )
        mark = f"above {above:,} input tokens: " if above else ""
        lines.append(f"  tokens  {mark}{words} a million")
    for what, amount in (("request", tariff.request), ("image", tariff.image)):
        if amount:
            lines.append(f"  {what:<7} ${_show(_unscale(amount, tariff))} each")
    lines.append(
        f"  sample  ${write_usd(tariff.find_cost(SAMPLE))} "
        f"for {SAMPLE.input:,} input and {SAMPLE.output:,} output tokens"
    )
    return "\n".join(lines)


def describe_target(target: Target, tariff: Tariff | None) -> dict[str, Any]:
    """The same for programs: amounts are texts, dollars, exact; None where there is no price."""
    row: dict[str, Any] = {"target": target.label, "source": None, "rates": None}
    if tariff is None:
        return row | {"request": None, "image": None, "sample_micros": None}
    return {
        "target": target.label,
        "source": tariff.source,
        "rates": [
            {"above_tokens": above, **{kind: _show(each) for kind, each in prices.items()}}
            for above, prices in tariff.list_prices()
        ],
        "request": _show(_unscale(tariff.request, tariff)),
        "image": _show(_unscale(tariff.image, tariff)),
        "sample_micros": tariff.find_cost(SAMPLE),
    }


def explain_lack(target: Target, shipped: str | None, unpriced: Unpriced) -> str:
    """That a target has no price, what becomes of its calls, and the lines that would give one."""
    where = f"the shipped list '{shipped}' does not have it" if shipped else "it is on no list"
    return (
        f"{show_text(target.label)} has no price: {where}, and no [[prices.list]] fits; "
        f"{_FATE[unpriced]}. To price it, add to the configuration, in dollars per million "
        "tokens:\n\n"
        "[[prices.list]]\n"
        f"provider = {_quote(target.provider)}\n"
        f"model = {_quote(target.model)}\n"
        'input = "…"\n'
        'output = "…"\n'
    )


def _unscale(amount: int, tariff: Tariff) -> Decimal:
    """Dollars for one, from scaled micro-dollars."""
    return Decimal(amount) / tariff.scale / 1_000_000


def _show(price: Decimal) -> str:
    return f"{price.normalize():f}"


def _quote(text: str) -> str:
    # JSON's texts are TOML's.
    return msgspec.json.encode(text).decode()
