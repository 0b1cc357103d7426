"""The ledger in the store: each entry counts once, sums equal entries, charges leave leases."""

import threading
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store.posted import (
    NOW_US,
    TODAY,
    WINDOWS,
    clear,
    find_granted,
    find_spent,
    grant,
    list_all,
    list_days,
    make_attempt,
    make_posting,
    postings,
    sum_up,
)
from trunkline.store.cost import CostRow, sum_costs
from trunkline.store.ledger import JournalRow
from trunkline.store.load import Load
from trunkline.store.posting import DAY_US, EntryRow, Posting
from trunkline.store.store import Store
from trunkline.terms import Charge

ON_EACH = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def by_key(rows: list[EntryRow]) -> list[EntryRow]:
    return sorted(rows, key=lambda row: (row.at_us, row.id))


@ON_EACH
@given(batches=st.lists(st.lists(postings(), max_size=8), max_size=4))
def test_sums_and_spending_are_those_of_the_entries(
    store: Store, batches: list[list[Posting]]
) -> None:
    clear(store)
    first: dict[str, Posting] = {}
    for number, batch in enumerate(batches):
        before = len(first)
        given_here = {posting.entry.id: posting for posting in batch}
        first = {**given_here, **first}
        added = store.ledger.ship("j", number, Load(batch), NOW_US)
        assert added == len(first) - before
    assert by_key(list_all(store)) == by_key([posting.entry for posting in first.values()])
    assert {tuple(msgspec.structs.astuple(row)) for row in list_days(store)} == {
        tuple(msgspec.structs.astuple(row)) for row in sum_up(list_all(store))
    }
    spent = {
        window: sum(
            charge.amount
            for posting in first.values()
            for charge in posting.charges
            if charge.window == window
        )
        for window in WINDOWS
    }
    assert find_spent(store) == {window: amount for window, amount in spent.items() if amount}


def test_an_entry_is_kept_as_it_came(store: Store) -> None:
    posting = make_posting("e1")
    posting = msgspec.structs.replace(
        posting,
        attempts=(
            make_attempt("e1", 1, status="failed", code="upstream_error", cost_micros=None),
            make_attempt("e1", 2, target='x/"quoted"\\ 模型', first_token_us=None),
        ),
    )
    store.ledger.ship("j", 1, Load([posting]), NOW_US)
    assert store.ledger.find_entry("e1") == posting
    assert store.ledger.find_entry("e2") is None


def test_what_came_before_changes_nothing(store: Store) -> None:
    window = WINDOWS[0]
    grant(store, "j", window, 1000)
    charged = make_posting("e1", (Charge(window, 300),))
    assert store.ledger.ship("j", 10, Load([charged]), NOW_US) == 1
    assert store.ledger.ship("j", 10, Load([charged]), NOW_US) == 0
    other = make_posting("e2", (Charge(window, 50),), cost_micros=None)
    assert store.ledger.ship("j", 20, Load([charged, other, other]), NOW_US) == 1
    assert find_spent(store) == {window: 350}
    assert find_granted(store, "j") == {window: 650}
    assert [row.calls for row in list_days(store)] == [2]


def test_charges_leave_only_the_lease_of_the_journal(store: Store) -> None:
    one, other, third = WINDOWS
    for journal in ("j", "elsewhere"):
        grant(store, journal, one, 1000)
    charges = (Charge(one, 1200), Charge(other, 5), Charge(third, 0))
    store.ledger.ship("j", 1, Load([make_posting("e1", charges)]), NOW_US)
    # A call may cost more than was held for it; without a lease there is nothing to take from.
    assert find_granted(store, "j") == {one: -200}
    assert find_granted(store, "elsewhere") == {one: 1000}
    assert find_spent(store) == {one: 1200, other: 5}


def test_the_position_only_goes_forward(store: Store) -> None:
    assert store.ledger.find_position("j") is None
    store.ledger.ship("j", 2**40, Load([]), NOW_US)
    store.ledger.ship("j", 5, Load([]), NOW_US + 1)
    store.ledger.ship("i", 7, Load([]), NOW_US + 2)
    assert store.ledger.find_position("j") == 2**40
    assert store.ledger.list_journals() == [
        JournalRow("i", 7, NOW_US + 2),
        JournalRow("j", 2**40, NOW_US),
    ]


def test_a_removed_journal_gives_back_its_leases(store: Store) -> None:
    for journal in ("j", "i"):
        grant(store, journal, WINDOWS[0], 10)
        store.ledger.ship(
            journal, 1, Load([make_posting(journal, (Charge(WINDOWS[0], 3),))]), NOW_US
        )
    store.ledger.remove_leases("j")
    assert find_granted(store, "j") == {}
    assert store.ledger.find_position("j") == 1
    store.ledger.remove_journal("j")
    assert store.ledger.find_position("j") is None
    assert find_granted(store, "i") == {WINDOWS[0]: 7}
    assert find_spent(store) == {WINDOWS[0]: 6}


def test_shippers_side_by_side_lose_and_double_nothing(store: Store) -> None:
    window = WINDOWS[0]
    shared = [make_posting(f"shared{number}", (Charge(window, 1),)) for number in range(20)]
    faults: list[BaseException] = []

    def ship(journal: str) -> None:
        try:
            for number in range(20):
                own = make_posting(f"{journal}{number}", (Charge(window, 1),))
                store.ledger.ship(journal, number, Load([own, shared[number]]), NOW_US)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            faults.append(error)

    threads = [threading.Thread(target=ship, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(list_all(store)) == 80
    assert [row.calls for row in list_days(store)] == [80]
    assert find_spent(store) == {window: 80}


def test_entries_are_listed_page_by_page(store: Store) -> None:
    rows = [make_posting(f"e{number}", at_us=NOW_US + number // 2) for number in range(7)]
    store.ledger.ship("j", 1, Load(rows), NOW_US)
    seen: list[str] = []
    after: tuple[int, str] | None = None
    while page := store.ledger.list_entries(NOW_US, NOW_US + 3, after, 2):
        seen += [row.id for row in page]
        after = page[-1].at_us, page[-1].id
    assert seen == ["e0", "e1", "e2", "e3", "e4", "e5"]


def test_attempts_are_listed_page_by_page(store: Store) -> None:
    rows = [
        msgspec.structs.replace(
            make_posting(f"e{number}", at_us=NOW_US + number // 2),
            attempts=tuple(make_attempt(f"e{number}", count) for count in (1, 2, 3)),
        )
        for number in range(4)
    ]
    store.ledger.ship("j", 1, Load(rows), NOW_US)
    seen: list[tuple[str, int]] = []
    after: tuple[int, str, int] | None = None
    while page := store.ledger.list_attempts(NOW_US, NOW_US + 2, after, 5):
        seen += [(row.entry_id, row.number) for row in page]
        after = page[-1].at_us, page[-1].entry_id, page[-1].number
    assert seen == [(f"e{number}", count) for number in range(4) for count in (1, 2, 3)]
    assert page == []


def test_a_single_attempt_is_read_off_its_entry(store: Store) -> None:
    told = msgspec.structs.replace(make_posting("told", at_us=NOW_US + 1), attempts=())
    refused = msgspec.structs.replace(make_posting("refused", attempts=0), attempts=())
    store.ledger.ship("j", 1, Load([told, refused]), NOW_US)
    found = store.ledger.find_entry("told")
    assert found is not None
    entry = told.entry
    expected = make_attempt("told", first_token_us=300 - entry.queue_us, total_us=900 - 7)
    assert found.attempts == (expected,)
    [listed] = store.ledger.list_attempts(NOW_US, NOW_US + 2, None, 10)
    assert (listed.at_us, listed.entry_id, listed.number) == (NOW_US + 1, "told", 1)
    assert (listed.model, listed.target) == ("gpt-4o", "openai/gpt-4o")
    nobody = store.ledger.find_entry("refused")
    assert nobody is not None
    assert nobody.attempts == ()


costs = st.none() | st.integers(0, 10**12)


@ON_EACH
@given(
    before=st.lists(st.lists(st.tuples(st.booleans(), costs), min_size=1, max_size=3), max_size=5),
    after=st.dictionaries(st.tuples(st.integers(0, 6), st.integers(1, 3)), costs, max_size=8),
    told=st.booleans(),
)
def test_new_costs_reach_entries_and_sums(
    store: Store,
    before: list[list[tuple[bool, int | None]]],
    after: dict[tuple[int, int], int | None],
    *,
    told: bool,
) -> None:
    clear(store)
    no_tokens = {"input_tokens": 0, "output_tokens": 0, "cached_tokens": 0, "reasoning_tokens": 0}
    for number, tries in enumerate(before):
        given: dict[str, Any] = {"cost_micros": sum_costs(tries), "model": f"m{number % 2}"}
        if len(tries) == 1 and not tries[0][0]:
            given |= no_tokens
        attempts = tuple(
            make_attempt(f"e{number}", count, cost_micros=cost, **({} if used else no_tokens))
            for count, (used, cost) in enumerate(tries, 1)
        )
        posting = msgspec.structs.replace(
            make_posting(f"e{number}", **given),
            attempts=() if told and len(tries) == 1 else attempts,
        )
        store.ledger.ship("j", number, Load([posting]), NOW_US)
    changes = [CostRow(f"e{number}", count, cost) for (number, count), cost in after.items()]
    changed = store.ledger.change_costs(changes)
    entries = list_all(store)
    expected = [
        sum_costs(
            (used, after.get((number, count), cost)) for count, (used, cost) in enumerate(tries, 1)
        )
        for number, tries in enumerate(before)
    ]
    assert [entry.cost_micros for entry in entries] == expected
    assert changed == sum(
        sum_costs(tries) != cost for tries, cost in zip(before, expected, strict=True)
    )
    assert list_days(store) == sorted(sum_up(entries), key=lambda row: row.model)
    assert store.ledger.change_costs(changes) == 0


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_old_entries_go_and_the_sums_of_their_days_stay(store: Store, limit: int) -> None:
    old = [make_posting(f"old{number}", at_us=NOW_US - number - 1) for number in range(3)]
    store.ledger.ship("j", 1, Load([*old, make_posting("new")]), NOW_US)
    days = list_days(store)
    removed = []
    while count := store.ledger.remove_before(NOW_US, limit):
        removed.append(count)
    assert (sum(removed), max(removed)) == (3, min(limit, 3))
    assert [row.id for row in list_all(store)] == ["new"]
    left = store.ledger.list_attempts(0, 2**62, None, 100)
    assert [attempt.entry_id for attempt in left] == ["new"]
    with store.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM attempts").scalar() == 1
    assert list_days(store) == days


def test_the_sums_of_days_go_day_by_day(store: Store) -> None:
    for day in range(3):
        rows = [
            make_posting(f"{day}{model}", at_us=NOW_US + day * DAY_US, model=model)
            for model in "mn"
        ]
        store.ledger.ship("j", day, Load(rows), NOW_US)
    assert store.ledger.remove_days_before(TODAY) == 0
    assert store.ledger.remove_days_before(TODAY + 2) == 2
    assert [row.day for row in list_days(store)] == [TODAY + 1] * 2 + [TODAY + 2] * 2
    assert store.ledger.remove_days_before(TODAY + 2) == 2
    assert store.ledger.remove_days_before(TODAY + 2) == 0
