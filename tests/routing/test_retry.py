"""What a failure means for the next attempt, and the budget that bounds attempts."""

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import KINDS, Cause, Code, GatewayError
from trunkline.routing.retry import (
    BACK_OFF_MAX_S,
    BURST,
    FLOOR_PER_S,
    WAIT_MAX_S,
    RetryBudget,
    find_wait_s,
    judge,
)


def make(code: Code, *, cause: Cause = "", told_s: float | None = None) -> GatewayError:
    error = GatewayError(code, "m")
    error.cause, error.told_s = cause, told_s
    return error


@pytest.mark.parametrize("code", get_args(Code))
def test_what_a_client_may_retry_is_tried_anywhere(code: Code) -> None:
    verdict = judge(make(code))
    assert (verdict.again == "anywhere") == KINDS[code].retryable
    assert not verdict.counts or verdict.again == "anywhere"


def test_only_what_is_the_targets_fault_opens_its_circuit() -> None:
    counting = {code for code in get_args(Code) if judge(make(code)).counts}
    assert counting == {"upstream_error", "upstream_timeout", "overloaded"}


def test_a_target_that_cannot_serve_is_asked_no_more_for_a_while() -> None:
    for code in ("insufficient_quota", "upstream_auth", "model_not_found"):
        verdict = judge(make(code))
        assert (verdict.again, verdict.aside_s, verdict.counts) == ("elsewhere", 30, False)


def test_an_upstreams_own_word_says_how_long_it_is_left_alone() -> None:
    assert judge(make("rate_limit_exceeded")).aside_s == 1
    assert judge(make("rate_limit_exceeded", told_s=7)).aside_s == 7
    assert judge(make("overloaded")).aside_s == 0
    assert judge(make("overloaded", told_s=7)).aside_s == 7
    assert judge(make("overloaded", told_s=-3)).aside_s == 0
    assert judge(make("overloaded", told_s=math.nan)).aside_s == 0
    assert judge(make("rate_limit_exceeded", told_s=math.inf)).aside_s == 300


def test_causes() -> None:
    assert judge(make("context_length_exceeded")).want == "context"
    assert judge(make("upstream_rejected", cause="filter")).want == "filter"
    local = judge(make("overloaded", cause="local"))
    assert (local.again, local.counts, local.aside_s) == ("elsewhere", False, 0)


@given(
    st.integers(1, 2000), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1, exclude_max=True)
)
def test_no_wait_is_longer_than_what_is_left(
    tried: int, aside_s: float, left_s: float, draw: float
) -> None:
    wait_s = find_wait_s(tried, aside_s, left_s, draw)
    if wait_s is not None:
        assert 0 < wait_s < min(left_s, WAIT_MAX_S)
        assert wait_s == aside_s or (not aside_s and wait_s <= BACK_OFF_MAX_S)


def test_waits_double_and_are_spread() -> None:
    assert [find_wait_s(tried, 0, 60, 0) for tried in (1, 2, 3)] == [0.1, 0.2, 0.4]
    assert find_wait_s(1, 0, 60, 0.999) == pytest.approx(0.2, abs=0.001)
    assert find_wait_s(1, 2, 60, 0.5) == 2
    assert find_wait_s(1, 30, 600, 0.5) is None
    assert find_wait_s(1, 2, 1, 0.5) is None


def test_a_quiet_gateway_has_a_few_retries() -> None:
    budget = RetryBudget()
    taken = [budget.take(0.2, 0) for _ in range(20)]
    assert sum(taken) == BURST
    assert budget.denied == 10
    assert budget.take(0.2, 1.01 / FLOOR_PER_S)
    assert not budget.take(0.2, 1.01 / FLOOR_PER_S)


@given(
    st.floats(0, 1),
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.floats(0, 5)), max_size=60),
)
def test_retries_are_a_share_of_the_calls(
    share: float, rounds: list[tuple[int, int, float]]
) -> None:
    budget, now_s, taken = RetryBudget(), 0.0, 0
    for calls, wishes, passed_s in rounds:
        budget.calls += calls
        now_s += passed_s
        taken += sum(budget.take(share, now_s) for _ in range(wishes))
    assert taken <= BURST + share * budget.calls + now_s * FLOOR_PER_S + 1e-6
