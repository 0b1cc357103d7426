"""The arithmetic of a tariff: exact, rounded once, and never above its own worst case."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.ledger.entry import NO_TOKENS, Tokens
from trunkline.ledger.price import FREE, KINDS, Kind, Prices, Tariff, build_tariff

SONNET: dict[Kind, Decimal] = {
    "input": Decimal(3),
    "output": Decimal(15),
    "cached": Decimal("0.3"),
    "cache_write": Decimal("3.75"),
}
SONNET_LONG: dict[Kind, Decimal] = {
    "input": Decimal(6),
    "output": Decimal("22.5"),
    "cached": Decimal("0.6"),
    "cache_write": Decimal("7.5"),
}

prices = st.decimals(0, 1000, places=9, allow_nan=False)
bands = st.dictionaries(st.sampled_from(KINDS), prices)
sizes = st.integers(0, 3_000_000)


@st.composite
def tariffs(draw: st.DrawFn) -> Tariff:
    return build_tariff(
        draw(bands),
        draw(st.dictionaries(st.integers(1, 1_000_000), bands, max_size=3)),
        request=draw(st.decimals(0, 1, places=7)),
        image=draw(st.decimals(0, 1, places=7)),
    )


@st.composite
def usages(draw: st.DrawFn) -> Tokens:
    # Parts that are larger than their whole too: a vendor's count is only a vendor's count.
    return Tokens(*(draw(sizes) for _ in Tokens.__struct_fields__))


def test_a_call_costs_its_tokens_times_their_prices() -> None:
    tariff = build_tariff({"input": Decimal("0.15"), "output": Decimal("0.6")})
    assert tariff.find_cost(Tokens(1000, 500)) == 150 + 300
    assert tariff.find_cost(NO_TOKENS) == 0


@pytest.mark.parametrize(
    ("tokens", "micros"),
    [
        (Tokens(1000, 100), 3000 + 1500),
        (Tokens(1000, 100, cached=400), 1800 + 120 + 1500),
        (Tokens(1000, 100, cached=400, cache_write=100), 1500 + 120 + 375 + 1500),
        (Tokens(1000, 100, reasoning=60), 3000 + 1500),  # no price of its own
        (Tokens(1000, 100, audio_input=60, audio_output=10), 3000 + 1500),
    ],
)
def test_a_part_has_its_own_price_or_that_of_its_whole(tokens: Tokens, micros: int) -> None:
    assert build_tariff(SONNET).find_cost(tokens) == micros


def test_reasoning_and_audio_can_be_dearer() -> None:
    tariff = build_tariff(
        {
            "input": Decimal(1),
            "output": Decimal(2),
            "audio_input": Decimal(40),
            "audio_output": Decimal(80),
            "reasoning": Decimal(3),
        }
    )
    tokens = Tokens(100, 100, reasoning=10, audio_input=20, audio_output=30)
    assert tariff.find_cost(tokens) == 80 * 1 + 20 * 40 + 60 * 2 + 30 * 80 + 10 * 3


def test_parts_that_do_not_fit_into_their_whole_are_cut() -> None:
    tariff = build_tariff(SONNET)
    assert tariff.find_cost(Tokens(100, 0, cached=1000)) == 30
    assert tariff.find_cost(Tokens(100, 0, cached=60, cache_write=60)) == 18 + 150
    assert tariff.find_cost(Tokens(0, 100, reasoning=1000)) == 1500


@pytest.mark.parametrize(("size", "micros"), [(200_000, 600_000), (200_001, 1_200_006)])
def test_a_tier_counts_for_the_whole_call(size: int, micros: int) -> None:
    tariff = build_tariff(SONNET, {200_000: SONNET_LONG})
    assert tariff.find_cost(Tokens(size)) == micros


def test_cached_tokens_count_towards_the_tier() -> None:
    tariff = build_tariff(SONNET, {200_000: SONNET_LONG})
    tokens = Tokens(300_000, 1000, cached=250_000)
    assert tariff.find_cost(tokens) == 300_000 + 150_000 + 22_500


def test_requests_and_images_cost_extra() -> None:
    tariff = build_tariff({}, request=Decimal("0.005"), image=Decimal("0.0000015"))
    assert tariff.find_cost(NO_TOKENS) == 5000
    assert tariff.find_cost(NO_TOKENS, images=3) == 5005  # 4.5, half up
    assert tariff.find_worst(0, 0, images=3) == 5005


@pytest.mark.parametrize(
    ("tokens", "micros"), [(1, 0), (4, 0), (5, 1), (14, 1), (15, 2), (25, 3), (10**12, 10**11)]
)
def test_halves_are_rounded_up(tokens: int, micros: int) -> None:
    assert build_tariff({"input": Decimal("0.1")}).find_cost(Tokens(tokens)) == micros


def test_it_is_rounded_once_not_a_kind_at_a_time() -> None:
    tariff = build_tariff({"input": Decimal("0.4"), "output": Decimal("0.4")})
    assert tariff.find_cost(Tokens(1, 1)) == 1


def test_what_is_free_costs_nothing() -> None:
    assert FREE.find_cost(Tokens(10**9, 10**9, 10**6, 10**6)) == 0
    assert FREE.find_worst(10**9, 10**9) == 0


@pytest.mark.parametrize("price", ["-1", "NaN", "Infinity"])
def test_a_price_is_a_number_of_zero_or_more(price: str) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        build_tariff({"input": Decimal(price)})


def test_prices_can_be_read_back() -> None:
    tariff = build_tariff(SONNET, {200_000: SONNET_LONG}, source="the page")
    (above, low), (long_above, high) = tariff.list_prices()
    assert (above, long_above) == (0, 200_000)
    assert {kind: low[kind] for kind in SONNET} == SONNET
    assert {kind: high[kind] for kind in SONNET} == SONNET_LONG
    assert low["reasoning"] == SONNET["output"]
    assert tariff.source == "the page"


def find_exactly(given: Prices, tokens: Tokens) -> Fraction:
    """The plain rule in fractions, for usages whose parts fit."""
    rest_in = tokens.input - tokens.cached - tokens.cache_write - tokens.audio_input
    rest_out = tokens.output - tokens.reasoning - tokens.audio_output
    side_in, side_out = given.get("input", Decimal(0)), given.get("output", Decimal(0))
    total = rest_in * Fraction(side_in) + rest_out * Fraction(side_out)
    for kind in KINDS[2:]:
        whole = side_out if kind in ("reasoning", "audio_output") else side_in
        total += getattr(tokens, kind) * Fraction(given.get(kind, whole))
    return total


@given(given=bands, parts=st.lists(sizes, min_size=7, max_size=7))
def test_the_cost_is_exact_to_half_a_micro_dollar(given: Prices, parts: list[int]) -> None:
    text_in, text_out, cached, written, thought, heard, said = parts
    tokens = Tokens(text_in + cached + written + heard, text_out + thought + said, *parts[2:])
    exact = find_exactly(given, tokens)
    cost = build_tariff(given).find_cost(tokens)
    assert -Fraction(1, 2) < cost - exact <= Fraction(1, 2)


@given(tariff=tariffs(), tokens=usages(), more_in=sizes, more_out=sizes, images=st.integers(0, 9))
def test_no_usage_within_the_bounds_costs_more_than_the_worst(
    tariff: Tariff, tokens: Tokens, more_in: int, more_out: int, images: int
) -> None:
    cost = tariff.find_cost(tokens, images)
    worst = tariff.find_worst(tokens.input + more_in, tokens.output + more_out, images)
    assert 0 <= cost <= worst


@given(tariff=tariffs(), input_tokens=sizes, output_tokens=sizes)
def test_some_usage_within_the_bounds_costs_as_much_as_the_worst(
    tariff: Tariff, input_tokens: int, output_tokens: int
) -> None:
    marks = [tier.above for tier in tariff.tiers if tier.above < input_tokens]
    found = [
        tariff.find_cost(Tokens(size, output_tokens, cached, written, thought, heard, said))
        for size in (input_tokens, *marks)
        for cached, written, heard in ((0, 0, 0), (size, 0, 0), (0, size, 0), (0, 0, size))
        for thought, said in ((0, 0), (output_tokens, 0), (0, output_tokens))
    ]
    assert tariff.find_worst(input_tokens, output_tokens) == max(found)
