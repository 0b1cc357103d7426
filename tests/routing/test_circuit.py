"""Circuits open when a target keeps failing, let one probe through, and close again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.routing.circuit import PROBES, Circuit
from trunkline.routing.rule import CircuitRule

RULE = CircuitRule(failures=3, open_s=10, open_max_s=35)


def fail(circuit: Circuit, times: int, now_s: float = 0) -> None:
    for _ in range(times):
        probe = circuit.enter()
        circuit.note_failure(RULE, now_s, probe=probe)


def succeed(circuit: Circuit, times: int = 1) -> None:
    for _ in range(times):
        probe = circuit.enter()
        circuit.note_success(RULE, probe=probe)


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    circuit = Circuit()
    fail(circuit, 2)
    succeed(circuit)
    fail(circuit, 2)
    assert (circuit.find_state(0), circuit.is_spotless) == ("closed", False)
    fail(circuit, 1)
    assert (circuit.find_state(0), circuit.opened) == ("open", 1)
    assert not circuit.may_enter(9.99)
    assert circuit.find_wait_s(4) == 6


def test_it_opens_when_half_of_the_window_failed() -> None:
    circuit = Circuit()
    for _ in range(5):
        fail(circuit, 1)
        succeed(circuit)
    assert circuit.is_closed
    fail(circuit, 1)
    assert not circuit.is_closed  # 6 of 11, where 12 count


def test_old_failures_do_not_count_in_the_rate() -> None:
    circuit = Circuit()
    for at in range(40):
        fail(circuit, 1, now_s=at * 61.0)
        succeed(circuit)
    assert circuit.is_closed


def test_a_spotless_circuit_is_so_again_when_its_failures_are_long_past() -> None:
    circuit = Circuit()
    fail(circuit, 1)
    succeed(circuit, 11)
    assert not circuit.is_spotless
    succeed(circuit)
    assert circuit.is_spotless


def test_one_probe_goes_at_a_time_and_closes_it() -> None:
    circuit = Circuit()
    fail(circuit, 3)
    assert (circuit.find_state(10), circuit.may_enter(10)) == ("half-open", True)
    assert circuit.enter()
    assert not circuit.may_enter(10)
    assert circuit.find_wait_s(10) == 0
    circuit.note_success(RULE, probe=True)
    assert (circuit.find_state(10), circuit.is_spotless) == ("closed", True)
    fail(circuit, 2)
    assert circuit.is_closed, "what was before is forgotten"


def test_each_probe_that_fails_doubles_the_time_up_to_a_limit() -> None:
    circuit, now_s = Circuit(), 0.0
    fail(circuit, 3)
    waits = []
    for _ in range(4):
        waits.append(circuit.find_wait_s(now_s))
        now_s += waits[-1]
        fail(circuit, 1, now_s)
    assert waits == [10, 20, 35, 35]
    succeed_at = now_s + circuit.find_wait_s(now_s)
    assert circuit.may_enter(succeed_at)
    succeed(circuit)
    fail(circuit, 3, succeed_at)
    assert circuit.find_wait_s(succeed_at) == 10, "it begins anew"


def test_a_probe_that_tells_nothing_leaves_room_for_the_next() -> None:
    circuit = Circuit()
    fail(circuit, 3)
    circuit.release(probe=circuit.enter())
    assert (circuit.find_state(10), circuit.may_enter(10)) == ("half-open", True)


def test_what_began_before_it_opened_changes_nothing() -> None:
    circuit = Circuit()
    early = [circuit.enter() for _ in range(3)]
    fail(circuit, 3)
    circuit.note_success(RULE, probe=early[0])
    circuit.note_failure(RULE, 5, probe=early[1])
    circuit.release(probe=early[2])
    assert (circuit.find_wait_s(5), circuit.opened) == (5, 1)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["begin", "success", "failure", "release"]), st.floats(0, 30)),
    max_size=200,
)


@given(EVENTS, st.integers(1, 6))
def test_whatever_happens_probes_are_limited_and_it_can_close(
    events: list[tuple[str, float]], failures: int
) -> None:
    rule = CircuitRule(failures, open_s=10, open_max_s=40)
    circuit, now_s, running = Circuit(), 0.0, list[bool]()
    for word, passed_s in events:
        now_s += passed_s
        if word == "begin" and circuit.may_enter(now_s):
            running.append(circuit.enter())
        elif word != "begin" and running:
            probe = running.pop(0)
            if word == "success":
                circuit.note_success(rule, probe=probe)
            elif word == "failure":
                circuit.note_failure(rule, now_s, probe=probe)
            else:
                circuit.release(probe=probe)
        assert sum(running) <= PROBES
        assert 0 <= circuit.find_wait_s(now_s) <= 40
        assert circuit.is_closed or not circuit.is_spotless
    for probe in running:
        circuit.release(probe=probe)
    now_s += circuit.find_wait_s(now_s)
    assert circuit.may_enter(now_s)
    circuit.note_success(rule, probe=circuit.enter())
    assert circuit.is_closed


@pytest.mark.parametrize("failures", [1, 5, 50])
def test_alternating_outcomes_open_it_and_rare_failures_do_not(failures: int) -> None:
    rule = CircuitRule(failures)
    rare = Circuit()
    for number in range(failures * 40):
        if number % 4 == 0 and failures > 1:
            rare.note_failure(rule, 0, probe=False)
        else:
            rare.note_success(rule, probe=False)
    assert rare.is_closed
