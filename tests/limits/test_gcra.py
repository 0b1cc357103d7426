"""The arithmetic, beside a bucket of tokens that is filled and emptied with exact fractions."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.limits.gcra import (
    MINUTE_US,
    admit,
    count_left,
    find_change,
    find_cost,
    find_reset,
    find_wait,
    true_up,
)

unhurried = settings(deadline=None)
START_US = 1_800_000_000_000_000

limits = st.integers(1, 10_000_000)
even_limits = st.sampled_from([1, 3, 60, 1000, 15_000, 600_000, 20_000_000])  # divide a minute
gaps = st.lists(st.tuples(st.integers(0, 90_000_000), st.integers(0, 40)), max_size=40)
instants = st.integers(-200_000_000, 200_000_000).map(START_US.__add__)


class Bucket:
    """The naive reference: as many tokens as fit, filled as time goes by."""

    def __init__(self, per_minute: int) -> None:
        self.size = Fraction(per_minute)
        self.level = self.size
        self.at_us = START_US

    def pass_time(self, now_us: int) -> None:
        gained = self.size * (now_us - self.at_us) / MINUTE_US
        self.level = min(self.size, self.level + gained)
        self.at_us = now_us

    def admit(self, amount: int) -> bool:
        if amount > self.level:
            return False
        self.level -= amount
        return True

    def give_back(self, amount: int) -> None:
        self.level = min(self.size, self.level + amount)


@unhurried
@given(even_limits, gaps, st.data())
def test_it_is_a_token_bucket(
    per_minute: int, calls: list[tuple[int, int]], data: st.DataObject
) -> None:
    bucket, full_at_us, now_us = Bucket(per_minute), 0, START_US
    for gap_us, share in calls:
        now_us += gap_us
        bucket.pass_time(now_us)
        amount = share * per_minute // 20
        assert count_left(full_at_us, per_minute, now_us) == max(0, bucket.level // 1)
        after_us = admit(full_at_us, amount, per_minute, now_us)
        assert bucket.admit(amount) == (after_us is not None)
        if after_us is None:
            continue
        actual = data.draw(st.integers(0, 2 * amount))
        bucket.give_back(amount - actual)
        change_us = find_change(amount, actual, per_minute)
        full_at_us = true_up(after_us, change_us, now_us)
        missing = bucket.size - bucket.level
        assert find_reset(full_at_us, now_us) == missing * MINUTE_US / per_minute


@unhurried
@given(limits, gaps)
def test_no_span_sees_more_than_the_limit_and_what_time_brings(
    per_minute: int, calls: list[tuple[int, int]]
) -> None:
    full_at_us, now_us = 0, START_US
    admitted: list[tuple[int, int]] = []
    for gap_us, share in calls:
        now_us += gap_us
        amount = share * per_minute // 20
        after_us = admit(full_at_us, amount, per_minute, now_us)
        if after_us is not None:
            full_at_us = after_us
            admitted.append((now_us, amount))
    for first, (begin_us, _) in enumerate(admitted):
        total = 0
        for end_us, amount in admitted[first:]:
            total += amount
            assert total <= per_minute + Fraction(per_minute * (end_us - begin_us), MINUTE_US)


@unhurried
@given(limits, instants, st.integers(0, 20_000_000))
def test_what_is_refused_passes_after_the_wait_and_not_before(
    per_minute: int, full_at_us: int, amount: int
) -> None:
    amount %= per_minute + 2  # now and then more than the limit, but mostly not
    wait_us = find_wait(full_at_us, amount, per_minute, START_US)
    if wait_us is None:
        assert amount > per_minute
        assert admit(0, amount, per_minute, START_US) is None
        return
    assert admit(full_at_us, amount, per_minute, START_US + wait_us) is not None
    if wait_us:
        assert admit(full_at_us, amount, per_minute, START_US + wait_us - 1) is None


@unhurried
@given(limits, instants)
def test_what_is_left_passes_and_one_more_does_not(per_minute: int, full_at_us: int) -> None:
    left = count_left(full_at_us, per_minute, START_US)
    assert 0 <= left <= per_minute
    assert admit(full_at_us, left + 1, per_minute, START_US) is None
    if full_at_us <= START_US + MINUTE_US:  # else in debt, where not even nothing passes
        assert admit(full_at_us, left, per_minute, START_US) is not None


@unhurried
@given(limits, instants, st.integers(0, 10_000_000), st.integers(0, 10_000_000))
def test_a_true_up_counts_as_if_the_actual_amount_had_been_taken(
    per_minute: int, full_at_us: int, taken: int, actual: int
) -> None:
    begin_us = max(START_US, full_at_us)
    after_us = begin_us + find_cost(taken, per_minute)
    trued_us = true_up(after_us, find_change(taken, actual, per_minute), START_US)
    assert trued_us == begin_us + find_cost(actual, per_minute)


@unhurried
@given(limits, instants, st.integers(0, 10_000_000))
def test_giving_back_never_makes_a_limit_more_than_full(
    per_minute: int, full_at_us: int, taken: int
) -> None:
    trued_us = true_up(full_at_us, find_change(taken, 0, per_minute), START_US)
    assert trued_us >= START_US
    assert trued_us <= max(START_US, full_at_us)
    assert count_left(trued_us, per_minute, START_US) <= per_minute


@unhurried
@given(limits, instants, st.integers(0, 10_000_000), st.integers(0, 10_000_000))
def test_two_costs_are_never_less_than_their_sum(
    per_minute: int, full_at_us: int, one: int, other: int
) -> None:
    both_us = find_cost(one, per_minute) + find_cost(other, per_minute)
    assert both_us >= find_cost(one + other, per_minute)
    assert Fraction(find_cost(one, per_minute)) >= Fraction(one * MINUTE_US, per_minute)


def test_debt_is_paid_by_time() -> None:
    full_at_us = true_up(START_US, find_change(10, 100, 60), START_US)
    assert count_left(full_at_us, 60, START_US) == 0
    assert find_wait(full_at_us, 1, 60, START_US) == 31_000_000
    assert find_reset(full_at_us, START_US) == 90_000_000


@pytest.mark.parametrize(
    ("amount", "per_minute", "cost_us"),
    [(1, 60, 1_000_000), (1, 7, 8_571_429), (0, 7, 0), (1, 100_000_000, 1), (30, 30, MINUTE_US)],
)
def test_a_cost_is_rounded_up(amount: int, per_minute: int, cost_us: int) -> None:
    assert find_cost(amount, per_minute) == cost_us
