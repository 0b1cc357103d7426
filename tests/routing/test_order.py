"""The order in which targets are tried: by preference, by weight, by speed, by conversation."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.routing.order import Place, order_places
from trunkline.routing.rule import Policy

POLICIES: list[Policy] = ["ordered", "weighted", "latency"]
PLACES = st.lists(
    st.builds(
        Place,
        st.text(max_size=5),
        st.integers(1, 100),
        st.floats(0, 100),
        is_aside=st.booleans(),
    ),
    max_size=6,
)


@given(st.sampled_from(POLICIES), PLACES, st.randoms(), st.none() | st.binary(min_size=1))
def test_everyone_is_in_it_once_and_who_is_aside_comes_last(
    policy: Policy, places: list[Place], chance: random.Random, prefix: bytes | None
) -> None:
    order = order_places(policy, places, chance.random, prefix)
    assert sorted(order) == list(range(len(places)))
    sides = [places[at].is_aside for at in order]
    assert sides == sorted(sides)
    if policy == "ordered":
        assert [at for at in order if not places[at].is_aside] == sorted(
            at for at in order if not places[at].is_aside
        )


def test_weights_are_shares_of_the_calls() -> None:
    places = [Place("a", 6), Place("b", 3), Place("c", 1)]
    draw = random.Random(1).random
    firsts = Counter(order_places("weighted", places, draw)[0] for _ in range(20_000))
    assert [firsts[at] / 20_000 for at in range(3)] == pytest.approx([0.6, 0.3, 0.1], abs=0.01)


def test_the_faster_of_two_is_taken() -> None:
    draw = random.Random(1).random
    two = [Place("a", cost_s=0.4), Place("b", cost_s=0.1)]
    assert all(order_places("latency", two, draw) == [1, 0] for _ in range(100))
    many = [Place(str(at), cost_s=at + 1) for at in range(5)]
    firsts = Counter(order_places("latency", many, draw)[0] for _ in range(10_000))
    # Of five, the fastest is among two drawn in 4 of 10 cases, the slowest never wins.
    assert [firsts[at] / 10_000 for at in range(5)] == pytest.approx(
        [0.4, 0.3, 0.2, 0.1, 0], abs=0.02
    )


def test_equals_share_the_calls() -> None:
    draw = random.Random(1).random
    places = [Place("a"), Place("b")]
    firsts = Counter(order_places("latency", places, draw)[0] for _ in range(10_000))
    assert firsts[0] / 10_000 == pytest.approx(0.5, abs=0.02)


def spread(places: list[Place], policy: Policy = "latency") -> list[str]:
    draw = random.Random(1).random
    return [
        places[order_places(policy, places, draw, b"conversation %d" % number)[0]].label
        for number in range(3000)
    ]


@pytest.mark.parametrize("policy", ["weighted", "latency"])
def test_a_conversation_stays_and_only_those_of_a_lost_target_move(policy: Policy) -> None:
    places = [Place("a", 2), Place("b", cost_s=9), Place("c")]
    before = spread(places, policy)
    assert before == spread(places[::-1], policy), "the order in the file plays no part"
    shares = Counter(before)
    assert [shares[each] / 3000 for each in "abc"] == pytest.approx([0.5, 0.25, 0.25], abs=0.03)
    lost = [Place("a", 2, is_aside=True), *places[1:]]
    after = spread(lost, policy)
    assert "a" not in after
    assert all(new == old for old, new in zip(before, after, strict=True) if old != "a")


def test_an_operators_order_is_kept_for_every_conversation() -> None:
    assert set(spread([Place("a"), Place("b", 9)], "ordered")) == {"a"}
