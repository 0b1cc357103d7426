"""The moving average of how long a target takes: a slow answer counts at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.routing.latency import MEMORY_S, UNKNOWN_S, Latency


def test_a_slow_answer_counts_in_full_and_fades() -> None:
    latency = Latency()
    latency.note(0.1, 0)
    latency.note(2, 1)
    assert latency.value_s == 2
    latency.note(0.1, 2)
    assert 1.7 < latency.value_s < 2
    latency.note(0.1, 2 + 5 * MEMORY_S)
    assert latency.value_s == pytest.approx(0.1, abs=0.02)


def test_the_cost_grows_with_those_that_wait_and_fades_with_time() -> None:
    latency = Latency()
    latency.note(0.5, 0)
    assert latency.find_cost_s(0, 0) == 0.5
    assert latency.find_cost_s(3, 0) == 2
    assert latency.find_cost_s(0, MEMORY_S) < 0.2


def test_who_was_never_measured_is_asked_by_one_at_a_time() -> None:
    latency = Latency()
    assert latency.find_cost_s(0, 5) == 0
    assert latency.find_cost_s(2, 5) == 2 * UNKNOWN_S


@given(st.lists(st.tuples(st.floats(0, 600), st.floats(0, 60)), min_size=1))
def test_it_stays_between_the_fastest_and_the_slowest(notes: list[tuple[float, float]]) -> None:
    latency, now_s = Latency(), 0.0
    for taken_s, passed_s in notes:
        now_s += passed_s
        latency.note(taken_s, now_s)
        assert latency.value_s >= taken_s * 0.999
    taken = [each for each, _ in notes]
    assert min(taken) * 0.999 <= latency.value_s <= max(taken) * 1.001
