from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trunkline.limits.turn import Claimant, Queue, Turn
from trunkline.terms import Priority

A = Claimant("a")
B = Claimant("b")


def serve(queue: Queue, now_s: float = 0, most: int = 1000) -> str:
    """The accounts in the order of their turns."""
    order = ""
    while len(order) < most and (turn := queue.take(now_s)) is not None:
        order += turn.account
    return order


def fill(queue: Queue, claimant: Claimant, count: int, now_s: float = 0) -> list[Turn]:
    return [queue.add(claimant, now_s) for _ in range(count)]


def test_an_account_is_served_in_the_order_of_its_calls() -> None:
    queue = Queue(10, 60)
    turns = fill(queue, A, 3)
    assert [queue.take(0) for _ in range(4)] == [*turns, None]
    assert len(queue) == 0


def test_accounts_take_turns_however_much_each_asks() -> None:
    queue = Queue(100, 60)
    fill(queue, A, 6)
    fill(queue, B, 3)
    assert serve(queue) == "abababaaa"


def test_who_asks_little_goes_before_who_asks_much() -> None:
    queue = Queue(100, 60)
    fill(queue, A, 50)
    assert serve(queue, most=20) == "a" * 20
    for _ in range(3):
        queue.add(B, 0)
        assert serve(queue, most=3) == "baa"


def test_turns_go_by_share() -> None:
    queue = Queue(1000, 60)
    fill(queue, Claimant("a", share=3), 100)
    fill(queue, B, 100)
    assert Counter(serve(queue, most=40)) == {"a": 30, "b": 10}


def test_nobody_saves_up_turns_while_away() -> None:
    queue = Queue(100, 60)
    fill(queue, A, 50)
    queue.add(B, 0)
    assert serve(queue, most=31) == "ab" + "a" * 29
    fill(queue, B, 10)
    assert serve(queue, most=8) in {"ba" * 4, "ab" * 4}


def test_classes_go_before_each_other() -> None:
    queue = Queue(100, 60)
    fill(queue, Claimant("l", priority="low"), 2)
    fill(queue, Claimant("n"), 2)
    fill(queue, Claimant("h", priority="high"), 2)
    assert serve(queue) == "hhnnll"


def test_who_has_waited_long_counts_as_higher() -> None:
    queue = Queue(100, 10)
    high = Claimant("h", priority="high")
    queue.add(Claimant("l", priority="low"), 0)
    fill(queue, high, 3, now_s=12)
    assert serve(queue, 12, most=1) == "h"
    assert serve(queue, 20, most=2) == "lh"


def test_a_class_that_was_passed_over_gets_its_share_and_not_what_it_missed() -> None:
    queue = Queue(1000, 10)
    low, high = Claimant("l", priority="low"), Claimant("h", priority="high")
    fill(queue, low, 50)
    fill(queue, high, 100)
    assert serve(queue, 0, most=60) == "h" * 60
    assert serve(queue, 30, most=40).count("l") in {20, 21}


def test_who_leaves_is_charged_nothing() -> None:
    queue = Queue(100, 60)
    turns = fill(queue, A, 4)
    fill(queue, B, 4)
    assert queue.remove(turns[0])
    assert not queue.remove(turns[0])
    assert serve(queue, most=2) == "ab"
    assert queue.remove(turns[2])
    assert serve(queue) == "abbb"


def test_a_full_queue_makes_room_for_who_takes_less_of_it() -> None:
    queue = Queue(4, 60)
    turns = fill(queue, A, 4)
    assert queue.is_full
    assert queue.find_displaced(A) is None
    assert queue.find_displaced(B) is turns[-1]
    queue.remove(turns[-1])
    queue.add(B, 0)
    assert queue.find_displaced(B) is turns[-2]
    queue.remove(turns[-2])
    queue.add(B, 0)
    assert queue.find_displaced(B) is None
    assert queue.find_displaced(A) is None
    assert queue.find_displaced(Claimant("c", share=2)) is not None


def test_a_full_queue_makes_room_for_a_higher_class_only() -> None:
    queue = Queue(2, 60)
    fill(queue, Claimant("h", priority="high"), 1)
    (normal,) = fill(queue, A, 1)
    assert queue.find_displaced(Claimant("h", priority="high")) is normal
    assert queue.find_displaced(Claimant("l", priority="low")) is None
    assert queue.find_displaced(B) is None
    assert Queue(0, 60).find_displaced(A) is None


def test_what_is_remembered_of_accounts_that_left_stays_small() -> None:
    queue = Queue(10_000, 60)
    fill(queue, A, 3000)
    for number in range(1000):
        queue.add(Claimant(f"b{number}"), 0)
        queue.take(0)
        queue.take(0)
    assert len(queue._ends) < 100


@pytest.mark.parametrize("weights", [(1, 1), (1, 5), (7, 2)])
def test_over_time_each_account_has_its_share(weights: tuple[int, int]) -> None:
    queue = Queue(10_000, 1e9)
    first, second = Claimant("a", share=weights[0]), Claimant("b", share=weights[1])
    fill(queue, first, 50)
    fill(queue, second, 50)
    served: Counter[str] = Counter()
    for _ in range(7 * sum(weights)):
        turn = queue.take(0)
        assert turn is not None
        served[turn.account] += 1
        queue.add(first if turn.account == "a" else second, 0)
    assert served == {"a": 7 * weights[0], "b": 7 * weights[1]}


_CLAIMANTS = st.builds(
    Claimant,
    st.sampled_from("abcd"),
    st.integers(1, 5),
    st.sampled_from(("high", "normal", "low")),
)


class QueueMachine(RuleBasedStateMachine):
    """Any order of arrivals, turns and leavings keeps every call exactly once."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue(6, 10)
        self.now_s = 0.0
        self.waiting: list[Turn] = []

    @rule(claimant=_CLAIMANTS)
    def arrive(self, claimant: Claimant) -> None:
        if self.queue.is_full:
            displaced = self.queue.find_displaced(claimant)
            if displaced is None:
                return
            assert self.queue.remove(displaced)
            self.waiting.remove(displaced)
        self.waiting.append(self.queue.add(claimant, self.now_s))

    @rule(passed_s=st.floats(0, 30))
    def wait(self, passed_s: float) -> None:
        self.now_s += passed_s

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        turn = data.draw(st.sampled_from(self.waiting))
        assert self.queue.remove(turn)
        self.waiting.remove(turn)

    @rule()
    def serve(self) -> None:
        turn = self.queue.take(self.now_s)
        if turn is None:
            assert not self.waiting
            return
        own = [each for each in self.waiting if each.account == turn.account]
        assert turn is own[0], "an account's calls have their turns in order"
        self.waiting.remove(turn)

    @invariant()
    def agrees(self) -> None:
        assert len(self.queue) == len(self.waiting) <= 6
        assert set(self.queue) == set(self.waiting)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(st.lists(st.tuples(_CLAIMANTS, st.floats(0, 5)), min_size=1, max_size=40))
def test_nobody_starves(arrivals: list[tuple[Claimant, float]]) -> None:
    """Against a high class that never ends, each call has its turn in bounded time."""
    queue, now_s = Queue(10_000, 10), 0.0
    waiting: set[Turn] = set()
    for claimant, passed_s in arrivals:
        now_s += passed_s
        waiting.add(queue.add(claimant, now_s))
    always: Priority = "high"
    for _ in range(20 * len(arrivals) + 40):
        queue.add(Claimant("z", 5, always), now_s)
        now_s += 1
        turn = queue.take(now_s)
        waiting.discard(turn) if turn else None
    assert not waiting
