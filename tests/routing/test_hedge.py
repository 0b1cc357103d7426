"""When a call is late, and how many calls may be hedged."""

from collections import deque
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from trunkline.routing.hedge import KEPT, LATE, LEAST, Hedges, Times
from trunkline.routing.retry import SAVED_CALLS


@given(st.lists(st.floats(0, 100), max_size=3 * KEPT))
def test_late_is_what_one_in_twenty_of_the_newest_is(taken: list[float]) -> None:
    times, newest = Times(), deque[float](maxlen=KEPT)
    for each in taken:
        times.note(each)
        newest.append(each)
    late_s = times.find_late_s()
    if len(newest) < LEAST:
        assert late_s is None
    else:
        assert late_s == sorted(newest)[ceil(LATE * len(newest)) - 1]
        assert sum(each > late_s for each in newest) <= 0.05 * len(newest)


def test_what_is_remembered_is_bounded() -> None:
    times = Times()
    for number in range(10 * KEPT):
        times.note(number % 7)
    assert len(times._newest) == len(times._sorted) == KEPT


def test_streams_and_whole_answers_are_told_apart() -> None:
    hedges = Hedges()
    for _ in range(LEAST):
        hedges.find_times("a/b", stream=True).note(1)
    assert hedges.find_times("a/b", stream=True).find_late_s() == 1
    assert hedges.find_times("a/b", stream=False).find_late_s() is None
    assert hedges.find_times("a/c", stream=True).find_late_s() is None


@given(st.lists(st.booleans(), max_size=1000), st.sampled_from([0.001, 0.05, 0.3, 1]))
def test_never_more_than_the_share_of_the_calls(late: list[bool], share: float) -> None:
    hedges, taken = Hedges(), 0
    for calls, is_late in enumerate(late, 1):
        hedges.note_call("m")
        taken += is_late and hedges.take("m", share, calls * 1000)
        assert taken <= calls * share + 1e-9


def test_a_share_can_be_saved_up_for_a_while() -> None:
    hedges = Hedges()
    for _ in range(10 * SAVED_CALLS):
        hedges.note_call("m")
    assert sum(hedges.take("m", 0.05, 0) for _ in range(100)) == SAVED_CALLS * 0.05
    for _ in range(10 * SAVED_CALLS):
        hedges.note_call("rare")
    assert hedges.take("rare", 0.0005, 0)
    assert not hedges.take("rare", 0.0005, 0)


def test_nothing_is_measured_where_nothing_is_hedged() -> None:
    hedges = Hedges()
    assert list(hedges.list_families()) == []
    hedges.note_call("m")
    (family,) = hedges.list_families()
    assert {each.labels["outcome"]: each.value for each in family.samples} == {
        "won": 0,
        "lost": 0,
        "left": 0,
        "denied": 0,
    }
