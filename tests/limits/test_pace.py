import pytest

from trunkline.limits.pace import Pace


def test_what_waits_takes_as_long_as_those_before_took() -> None:
    pace = Pace()
    pace.begin(100)
    for number in range(1, 11):
        pace.note(100 + number * 0.5)
    assert pace.estimate_s(20, 105) == pytest.approx(10)


def test_what_nobody_would_believe_is_not_said() -> None:
    pace = Pace()
    pace.begin(0)
    assert pace.estimate_s(5, 0) == 1
    assert pace.estimate_s(5, 1000) == 60


def test_a_gate_that_hangs_is_noticed() -> None:
    pace = Pace()
    pace.begin(0)
    for number in range(1, 41):
        pace.note(number * 0.1)
    assert pace.estimate_s(10, 4.1) == pytest.approx(1)
    assert pace.estimate_s(10, 6) == pytest.approx(20)


def test_the_newest_leavings_count() -> None:
    pace, now_s = Pace(), 0.0
    pace.begin(now_s)
    for step_s in [0.01] * 100 + [1.0] * 200:
        now_s += step_s
        pace.note(now_s)
    assert pace.estimate_s(10, now_s) == pytest.approx(10, rel=0.02)
