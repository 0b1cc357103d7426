"""What a call costs: a tariff's exact arithmetic, in integer micro-dollars. Pure."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Literal, get_args

import msgspec

from trunkline.ledger.entry import Tokens

Kind = Literal[
    "input", "output", "cached", "cache_write", "audio_input", "reasoning", "audio_output"
]
"""What a price can be for: the two wholes, then the parts of the input and of the output."""
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
WHOLE: Final[dict[Kind, Kind]] = {
    "cached": "input",
    "cache_write": "input",
    "audio_input": "input",
    "reasoning": "output",
    "audio_output": "output",
}
"""What a part costs where it has no price of its own."""
Prices = Mapping[Kind, Decimal]
"""Dollars per million tokens, which is micro-dollars per token, by kind."""


class Rate(msgspec.Struct, frozen=True, gc=False):
    """The prices of a token of each kind, for calls whose input is larger than ``above`` tokens.

    Amounts are micro-dollars times the tariff's scale. ``worst_input`` and ``worst_output`` are
    the dearest that a token of that side can be.
    """

    above: int
    input: int
    output: int
    cached: int
    cache_write: int
    audio_input: int
    reasoning: int
    audio_output: int
    worst_input: int
    worst_output: int


class Tariff(msgspec.Struct, frozen=True, gc=False):
    """The prices of a model at one place and time; made by ``build_tariff``.

    Args:
        scale: a power of ten that makes every price a whole number.
        rate: for calls of any size, up to the first tier.
        tiers: rates of larger calls, the largest first. The tier that a call's input reaches
            counts for all its tokens, not only for those above the mark.
        request: what each call costs besides its tokens, times the scale.
        image: what each image of a request costs besides its tokens, times the scale.
        source: where the prices come from, for people.
    """

    scale: int
    rate: Rate
    tiers: tuple[Rate, ...] = ()
    request: int = 0
    image: int = 0
    source: str = ""

    def find_cost(self, tokens: Tokens, images: int = 0) -> int:
        """What a call that used this costs, in micro-dollars, rounded half up.

        A part is never more than what its whole has left: first cached tokens are taken, then
        written ones, then audio; of the output audio, then reasoning.
        """
        size = tokens.input
        rate = self.rate
        for tier in self.tiers:
            if size > tier.above:
                rate = tier
                break
        output = tokens.output
        total = size * rate.input + output * rate.output + self.request + images * self.image
        # Most calls have no parts, and these tests are most of what a cost costs.
        if tokens.cached or tokens.cache_write or tokens.audio_input:
            cached = min(tokens.cached, size)
            written = min(tokens.cache_write, size - cached)
            heard = min(tokens.audio_input, size - cached - written)
            total += cached * (rate.cached - rate.input)
            total += written * (rate.cache_write - rate.input)
            total += heard * (rate.audio_input - rate.input)
        if tokens.reasoning or tokens.audio_output:
            said = min(tokens.audio_output, output)
            thought = min(tokens.reasoning, output - said)
            total += said * (rate.audio_output - rate.output)
            total += thought * (rate.reasoning - rate.output)
        scale = self.scale
        return (total + scale // 2) // scale

    def find_worst(self, input_tokens: int, output_tokens: int, images: int = 0) -> int:
        """The most that a call within these bounds can cost, in micro-dollars.

        No usage of at most this many input and output tokens, whatever parts they have, costs
        more; and there is one that costs as much.
        """
        top = input_tokens
        dearest = 0
        for tier in self.tiers:
            if top > tier.above:
                cost = top * tier.worst_input + output_tokens * tier.worst_output
                dearest = max(dearest, cost)
                top = tier.above  # the largest call that a smaller tier is for
        rate = self.rate
        dearest = max(dearest, top * rate.worst_input + output_tokens * rate.worst_output)
        total = dearest + self.request + images * self.image
        return (total + self.scale // 2) // self.scale

    def list_prices(self) -> list[tuple[int, dict[Kind, Decimal]]]:
        """Every rate from the smallest calls up: above how many tokens, and dollars per million."""
        rates = (self.rate, *reversed(self.tiers))
        return [
            (rate.above, {kind: Decimal(getattr(rate, kind)) / self.scale for kind in KINDS})
            for rate in rates
        ]


def build_tariff(
    prices: Prices,
    tiers: Mapping[int, Prices] | None = None,
    *,
    request: Decimal = Decimal(0),
    image: Decimal = Decimal(0),
    source: str = "",
) -> Tariff:
    """A tariff from prices as vendors write them.

    Args:
        prices: dollars per million tokens. A part without a price of its own costs what its
            whole does, and a whole without one costs nothing.
        tiers: prices of calls whose input is larger than the key, in tokens.
        request: dollars for each call.
        image: dollars for each image of a request.
        source: where the prices come from, for people.

    Raises:
        ValueError: a price is negative or no number.
    """
    bands = {0: prices, **(tiers or {})}
    each_million = (Decimal(1_000_000) * request, Decimal(1_000_000) * image)
    written = [*each_million, *(price for band in bands.values() for price in band.values())]
    if not all(price.is_finite() and price >= 0 for price in written):
        raise ValueError("expected prices of 0 or more")
    places = max(1, *(-int(price.normalize().as_tuple().exponent) for price in written))
    scale = 10**places
    rates = [_build_rate(above, bands[above], scale) for above in sorted(bands, reverse=True)]
    return Tariff(
        scale,
        rates[-1],
        tuple(rates[:-1]),
        int(each_million[0] * scale),
        int(each_million[1] * scale),
        source,
    )


def _build_rate(above: int, prices: Prices, scale: int) -> Rate:
    # Wholes stand before parts in KINDS.
    scaled: dict[Kind, int] = {}
    for kind in KINDS:
        price = prices.get(kind)
        whole = WHOLE.get(kind)
        if price is not None:
            scaled[kind] = int(price * scale)
        else:
            scaled[kind] = scaled[whole] if whole else 0
    dearest = {
        side: max(scaled[kind] for kind in KINDS if side in (kind, WHOLE.get(kind)))
        for side in ("input", "output")
    }
    return Rate(above, **scaled, worst_input=dearest["input"], worst_output=dearest["output"])


FREE: Final = build_tariff({}, source='prices.unpriced = "free"')
"""What has no price and is free by the operator's word."""
OWN: Final = build_tariff({}, source="an engine of the gateway, which costs nothing")
"""What the gateway runs itself."""
