"""Leases: never more is granted than there is, and asking again is harmless."""

from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.budgeted import NOW_US, add_key, find_sums, set_budgets, ship
from store.posted import make_posting
from trunkline.store.lease import SHARE, Leases, Standing, Want, choose_free
from trunkline.store.load import Load
from trunkline.store.posting import DAY_US
from trunkline.store.store import Store
from trunkline.store.transaction import Transaction
from trunkline.terms import Budget, Charge, Kind, Period, Window

TODAY_US = NOW_US // DAY_US * DAY_US
DAY = Window("account", "a", "usd", "day", TODAY_US)
TOTAL = Window("key", "k1", "tokens", "total", 0)


@pytest.fixture(autouse=True)
def _budgets(store: Store) -> None:
    set_budgets(store, "a", Budget("usd", "day", 1000), Budget("tokens", "month", 500))
    add_key(store, "k1", Budget("tokens", "total", 500))


def want(window: Window = DAY, need: int = 0, **given: int) -> Want:
    return Want(
        **{"used": 0, "kept": 0, "amount": 7, "least": need, **given}, window=window, need=need
    )


def ask(store: Store, *wants: Want, by: str = "j1") -> list[int]:
    """What the worker has taken of each window afterwards."""
    return [answer.taken for answer in store.leases.change(by, wants)]


def test_what_is_needed_is_granted_and_no_more_than_there_is(store: Store) -> None:
    assert ask(store, want(need=600)) == [600]
    assert ask(store, want(need=401), by="j2") == [0]
    assert ask(store, want(need=500, least=100), by="j2") == [400]
    assert ask(store, want(need=1), by="j3") == [0]
    assert find_sums(store, DAY) == (0, 1000)


def test_several_windows_are_asked_of_at_once(store: Store) -> None:
    month = Window("account", "a", "tokens", "month", TODAY_US)
    wants = [want(TOTAL, 300), want(month, 501), want(DAY, 5)]
    assert ask(store, *wants) == [300, 0, 5]
    answers = store.leases.change("j2", wants)
    assert [(each.taken, each.rest, each.amount) for each in answers] == [
        (0, 200, 500),
        (0, 500, 500),
        (5, 990, 1000),
    ]
    assert store.leases.change("j2", []) == []


def test_far_from_the_end_whole_calls_are_granted_in_advance(store: Store) -> None:
    set_budgets(store, "a", Budget("usd", "day", 1000 * SHARE))
    answer = store.leases.change("j1", [want(need=300, usual=300)])[0]
    assert (answer.taken, answer.ahead) == (900, 900)
    set_budgets(store, "a", Budget("usd", "day", 900 + 301))
    assert ask(store, want(need=300, usual=300), by="j2") == [300]


def test_a_question_may_be_asked_again(store: Store) -> None:
    for _ in range(3):
        assert ask(store, want(need=600)) == [600]
    for _ in range(3):
        assert ask(store, want(used=100)) == [100]
    assert find_sums(store, DAY) == (0, 100)


def test_what_may_be_in_use_meanwhile_is_not_taken_back(store: Store) -> None:
    assert ask(store, want(need=600)) == [600]
    assert ask(store, want(used=100, kept=200)) == [300]
    assert ask(store, want(used=-500)) == [0], "gives back more than it ever had"
    assert find_sums(store, DAY) == (0, 0)


def test_shipping_leaves_the_workers_own_count_alone(store: Store) -> None:
    assert ask(store, want(need=600)) == [600]
    ship(store, "j1", "e1", [Charge(DAY, 250)])
    assert find_sums(store, DAY) == (250, 350)
    assert ask(store, want(used=250, need=600)) == [850]
    answer = store.leases.change("j1", [want(used=250)])[0]
    assert answer.gone
    assert find_sums(store, DAY) == (250, 0)
    # The row is gone: whatever was used is known to be shipped.
    assert ask(store, want(used=250, need=10)) == [260]
    assert ask(store, want(need=800), by="j2") == [0]
    assert ask(store, want(need=740), by="j2") == [740]
    store.ledger.remove_journal("j1")
    assert find_sums(store, DAY) == (250, 740)


def test_more_than_was_held_is_made_good(store: Store) -> None:
    assert ask(store, want(need=100)) == [100]
    ship(store, "j1", "e1", [Charge(DAY, 130)])
    assert find_sums(store, DAY) == (130, -30)
    assert ask(store, want(used=130)) == [130]
    assert find_sums(store, DAY) == (130, 0)


def test_the_amount_is_what_the_operator_says_by_now(store: Store) -> None:
    assert ask(store, want(need=600)) == [600]
    set_budgets(store, "a", Budget("usd", "day", 500))
    answer = store.leases.change("j2", [want(need=1, usual=1)])[0]
    assert (answer.taken, answer.rest, answer.amount) == (0, -100, 500)
    set_budgets(store, "a", Budget("usd", "day", 800))
    assert ask(store, want(need=200), by="j2") == [200]
    set_budgets(store, "a")
    assert ask(store, want(need=6, amount=806), by="j3") == [6], "only the worker knows of it"
    stranger = Window("account", "nobody", "usd", "day", TODAY_US)
    assert ask(store, want(stranger, need=6, amount=5)) == [0]


def test_of_rotated_keys_the_newest_says_the_amount(store: Store) -> None:
    add_key(store, "k2", Budget("tokens", "total", 300), subject_id="k1")
    assert ask(store, want(TOTAL, 301)) == [0]
    add_key(store, "k3", subject_id="k1")
    assert ask(store, want(TOTAL, 301, amount=400)) == [301]


@pytest.mark.parametrize(
    ("kind", "subject_id", "period", "spent"),
    [
        ("account", "a", "day", 7),
        ("account", "a", "month", 37),
        ("account", "a", "total", 137),
        ("key", "k1", "day", 5),
        ("key", "k1", "total", 135),
        ("key", "other", "total", 2),
        ("key", "nobody", "total", 0),
    ],
)
def test_a_new_window_begins_with_what_was_used(
    store: Store, kind: Kind, subject_id: str, period: Period, spent: int
) -> None:
    add_key(store, "k2", subject_id="k1")
    month_us = TODAY_US - 14 * DAY_US
    uses = [("k1", NOW_US, 1), ("k2", NOW_US, 4), ("other", NOW_US, 2)]
    uses += [("k2", month_us, 30), ("k1", month_us - 1, 100)]
    rows = [
        make_posting(f"e{cost}", at_us=at_us, key_id=key_id, cost_micros=cost)
        for key_id, at_us, cost in uses
    ]
    store.ledger.ship("j0", 1, Load(rows), NOW_US)
    start_us = {"day": TODAY_US, "month": month_us, "total": 0}[period]
    window = Window(kind, subject_id, "usd", period, start_us)
    assert store.leases.find_standings([window]) == [Standing(window, spent, 0)]
    assert store.leases.change("j1", [want(window)])[0].spent == spent
    calls = {7: 3, 37: 4, 137: 5, 5: 2, 135: 4, 2: 1, 0: 0}[spent]
    tokens = Window(kind, subject_id, "tokens", period, start_us)
    assert store.leases.change("j1", [want(tokens)])[0].spent == calls * 120


def test_windows_are_listed_and_removed(store: Store) -> None:
    yesterday = Window("account", "a", "usd", "day", TODAY_US - DAY_US)
    ask(store, want(yesterday, 10), want(DAY, 20), want(TOTAL, 30))
    ship(store, "j1", "e1", [Charge(yesterday, 4)])
    listed = [Standing(DAY, 0, 20), Standing(yesterday, 4, 6)]
    assert store.leases.list_windows("account", "a") == listed
    assert store.leases.find_standings([DAY, TOTAL]) == [listed[0], Standing(TOTAL, 0, 30)]
    assert store.leases.remove_windows(NOW_US) == 0
    store.ledger.remove_journal("j1")
    assert store.leases.remove_windows(TODAY_US) == 1
    assert store.leases.list_windows("account", "a") == [Standing(DAY, 0, 0)]
    assert store.leases.list_windows("key", "k1") == [Standing(TOTAL, 0, 0)]


def test_whoever_asks_second_waits_for_the_first(store: Store) -> None:
    ask(store, want(), want(TOTAL))
    with ThreadPoolExecutor(1) as threads:
        with store.database.write() as connection:
            first = Leases(Transaction(connection)).change("j1", [want(need=600)])
            second = threads.submit(ask, store, want(need=600), by="j2")
            finished, _ = wait([second], timeout=0.3)
            assert not finished
        assert (first[0].taken, second.result()) == (600, [0])


def test_many_at_once_get_what_there_is_and_wait_for_each_other(store: Store) -> None:
    def work(number: int) -> int:
        journal_id, order = f"j{number}", (DAY, TOTAL) if number % 2 else (TOTAL, DAY)
        taken = 0
        for turn in range(8):
            answers = store.leases.change(
                journal_id, [want(window, taken + 8, kept=taken) for window in order]
            )
            taken = min(answer.taken for answer in answers)
            if turn % 4 == 0:
                ship(store, journal_id, f"e{number}-{turn}", [Charge(each, 0) for each in order])
        return taken

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(work, range(8))) in range(488, 501)
    for window, amount in ((DAY, 1000), (TOTAL, 500)):
        spent, leased = find_sums(store, window)
        assert (spent, leased <= amount) == (0, True)


amounts = st.integers(0, 10**6)


@given(st.integers(-100, 10**6), st.integers(-100, 10**7), amounts, amounts, amounts, amounts)
def test_the_choice_is_between_what_is_kept_and_what_there_is(
    free: int, rest: int, kept: int, need: int, least: int, usual: int
) -> None:
    kept, least = min(kept, max(0, free)), min(least, need)
    chosen, ahead = choose_free(want(need=need, least=least, kept=kept, usual=usual), free, rest)
    assert kept <= chosen or chosen == free
    assert chosen <= free + max(0, rest)
    assert ahead <= max(0, free + rest) / SHARE
    assert chosen <= max(free, need, ahead)
    if free + max(0, rest) >= max(need, ahead):
        assert chosen >= need
