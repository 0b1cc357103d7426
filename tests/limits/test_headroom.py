from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trunkline.limits.headroom import ACTIVE_S, Headroom, Holder
from trunkline.limits.turn import Claimant

A = Claimant("a")
B = Claimant("b")
_CLAIMANTS = st.builds(
    Claimant,
    st.sampled_from("abcd"),
    st.integers(1, 5),
    st.sampled_from(("high", "normal", "low")),
)


def hold(headroom: Headroom[Holder], claimant: Claimant, held: int, now_s: float = 0) -> Holder:
    holder = headroom.find(claimant, now_s)
    holder.held = held
    return holder


def fit(headroom: Headroom[Holder], holder: Holder) -> int:
    """How many slots an account gets that wants as many as it can."""
    before = holder.held
    taken = sum(each.held for each in headroom.holders.values())
    while headroom.is_open_to(holder, taken):
        holder.held += 1
        taken += 1
    found, holder.held = holder.held, before
    return found


@pytest.mark.parametrize(
    ("slots", "kept"), [(1, 0), (2, 1), (4, 1), (10, 1), (11, 2), (16, 2), (32, 4), (100, 10)]
)
def test_a_tenth_is_kept_free_and_one_of_two(slots: int, kept: int) -> None:
    headroom = Headroom(slots, Holder)
    assert headroom.open == slots - kept
    headroom.find(B, 0)
    noisy = hold(headroom, A, 0)
    assert fit(headroom, noisy) == max(slots - kept, slots // 2)


def test_who_is_alone_may_take_every_slot() -> None:
    headroom = Headroom(16, Holder)
    assert fit(headroom, hold(headroom, A, 0)) == 16


def test_an_account_below_its_share_takes_what_was_kept() -> None:
    headroom = Headroom(16, Holder)
    noisy, quiet = hold(headroom, A, 14), hold(headroom, B, 0)
    assert fit(headroom, quiet) == 2
    noisy.held = 8
    assert fit(headroom, quiet) == 8
    noisy.held = 4
    assert fit(headroom, quiet) == 10


def test_two_noisy_accounts_get_no_more_than_one() -> None:
    headroom = Headroom(16, Holder)
    headroom.find(Claimant("quiet"), 0)
    first, second = hold(headroom, A, 7), hold(headroom, B, 7)
    assert (fit(headroom, first), fit(headroom, second)) == (7, 7)


def test_accounts_that_all_want_more_leave_nothing_free() -> None:
    headroom = Headroom(16, Holder)
    first, second = hold(headroom, Claimant("a", share=3), 0), hold(headroom, B, 4)
    assert fit(headroom, first) == 12
    first.held, second.held = 11, 3
    assert fit(headroom, second) == 4


def test_nothing_is_kept_for_a_lower_class() -> None:
    headroom = Headroom(16, Holder)
    low = hold(headroom, Claimant("low", priority="low"), 0)
    high = hold(headroom, Claimant("high", priority="high"), 0)
    assert (fit(headroom, high), fit(headroom, low)) == (16, 14)


def test_an_account_is_active_for_a_while_after_its_last_call() -> None:
    headroom = Headroom(4, Holder)
    noisy, quiet = hold(headroom, A, 1), hold(headroom, B, 1)
    quiet.held = 0
    headroom.age(ACTIVE_S - 0.1)
    headroom.age(ACTIVE_S)
    assert fit(headroom, noisy) == 3
    headroom.age(2 * ACTIVE_S - 0.1)
    assert fit(headroom, noisy) == 3
    headroom.age(2 * ACTIVE_S)
    assert fit(headroom, noisy) == 4
    assert set(headroom.holders) == {"a"}


def test_who_comes_back_in_time_is_still_active() -> None:
    headroom = Headroom(4, Holder)
    noisy, quiet = hold(headroom, A, 1), hold(headroom, B, 0)
    for period in range(1, 5):
        now_s = period * ACTIVE_S
        headroom.age(now_s)
        assert headroom.find(B, now_s + 1) is quiet
        assert fit(headroom, noisy) == 3
    assert fit(headroom, quiet) == 2


def test_who_waits_stays_active() -> None:
    headroom = Headroom(4, Holder)
    noisy, quiet = hold(headroom, A, 1), hold(headroom, B, 0)
    quiet.waiting = 1
    for period in range(1, 5):
        headroom.age(period * ACTIVE_S)
    assert fit(headroom, noisy) == 3


def test_new_terms_count_from_the_next_call() -> None:
    headroom = Headroom(12, Holder)
    noisy = hold(headroom, A, 0)
    quiet = hold(headroom, B, 10)
    assert fit(headroom, noisy) == 2
    assert fit(headroom, quiet) == 10
    assert headroom.find(Claimant("b", share=11), 0) is quiet
    assert fit(headroom, quiet) == 11
    headroom.find(Claimant("b", share=11, priority="low"), 0)
    assert fit(headroom, quiet) == 11
    assert fit(headroom, hold(headroom, A, 1)) == 2


class HeadroomMachine(RuleBasedStateMachine):
    """Accounts of any terms take, want and give back slots while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = 7
        self.headroom = Headroom(self.slots, Holder)
        self.now_s = 0.0
        self.terms: dict[str, Claimant] = {}
        self.seen_s: dict[str, float] = {}
        self.held: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        return self.held.total()

    @rule(claimant=_CLAIMANTS)
    def ask(self, claimant: Claimant) -> None:
        account = claimant.account
        holder = self.headroom.find(claimant, self.now_s)
        self.terms[account], self.seen_s[account] = claimant, self.now_s
        assert holder.held == self.held[account]
        if self.headroom.is_open_to(holder, self.taken):
            holder.held += 1
            self.held[account] += 1
        else:
            assert self.taken == self.slots or self.held[account], "an account starves"

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        account = data.draw(st.sampled_from(sorted(self.held.elements())))
        self.headroom.holders[account].held -= 1
        self.held[account] -= 1
        self.seen_s[account] = self.now_s

    @rule(passed_s=st.floats(0, 5))
    def pass_time(self, passed_s: float) -> None:
        self.now_s += passed_s
        self.headroom.age(self.now_s)

    @invariant()
    def agrees(self) -> None:
        assert self.taken <= self.slots
        known = {**self.headroom._older, **self.headroom.holders}
        for account, seen_s in self.seen_s.items():
            if self.held[account] or self.now_s - seen_s < ACTIVE_S:
                assert account in known, "an active account was forgotten"
            if not self.held[account] and self.now_s - seen_s > 2 * (ACTIVE_S + 5):
                assert account not in known, "an account is remembered that has gone"
        shares: Counter[str] = Counter()
        for holder in known.values():
            shares[holder.claimant.priority] += holder.claimant.share
        assert self.headroom._shares == [shares[each] for each in ("high", "normal", "low")]


TestHeadroomMachine = HeadroomMachine.TestCase
TestHeadroomMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(st.lists(_CLAIMANTS, min_size=1, max_size=8), st.integers(1, 40))
def test_whoever_wants_all_together_they_get_all(wanting: list[Claimant], slots: int) -> None:
    """Room is kept for those who use less: where nobody does, none is."""
    headroom = Headroom(slots, Holder)
    holders = {claimant.account: headroom.find(claimant, 0) for claimant in wanting}
    taken = 0
    while free := [each for each in holders.values() if headroom.is_open_to(each, taken)]:
        free[0].held += 1
        taken += 1
    assert taken == slots
