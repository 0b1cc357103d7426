"""Entries as rows: sums over attempts, who counted, and what a database cannot keep."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from store.posted import find_spent, list_all, list_days
from trunkline.ledger.entry import (
    NO_TOKENS,
    Attempt,
    Charge,
    Entry,
    Opening,
    Status,
    Tokens,
    UsageSource,
    Window,
    sum_attempts,
)
from trunkline.ledger.row import MOST, TEXT_LENGTH, make_load, make_posting
from trunkline.store.cost import sum_costs
from trunkline.store.load import Load, sum_days
from trunkline.store.posting import DAY_US
from trunkline.store.schema import ATTEMPTS
from trunkline.store.store import Store

OPENING = Opening("req_1", 1_800_000_000_000_000, "a", "k1", "m", "chat", stream=True, target="p/m")
SERVED = Attempt("p/m", "complete", "provider", Tokens(100, 20), 450, finish_reason="stop")
REFUSED = Attempt("q/m", "failed", code="upstream_error", total_us=5)


def find_source(*sources: UsageSource) -> UsageSource:
    return sum_attempts([Attempt("p/m", "failed", source, Tokens(1)) for source in sources])[2]


def test_the_weakest_source_counts() -> None:
    assert find_source("provider", "provider") == "provider"
    assert find_source("provider", "counted") == "counted"
    assert find_source("estimated", "counted", "provider") == "estimated"
    assert find_source("estimated", "none") == "none"


@pytest.mark.parametrize("attempts", [(REFUSED, SERVED), (SERVED, REFUSED), (REFUSED, SERVED) * 2])
def test_an_attempt_that_reached_no_model_weakens_no_other(attempts: tuple[Attempt, ...]) -> None:
    assert sum_attempts(attempts)[2] == "provider"


@pytest.mark.parametrize(
    "silent",
    [
        Attempt("q/m", "lost"),
        Attempt("q/m", "complete"),
        Attempt("q/m", "failed", first_token_us=4),
        Attempt("q/m", "left", tokens=Tokens(1)),
    ],
)
def test_an_attempt_that_may_have_reached_one_and_was_not_counted_does(silent: Attempt) -> None:
    assert sum_attempts((silent, SERVED))[2] == "none"


def test_a_call_without_any_use_costs_nothing() -> None:
    assert sum_attempts(()) == (NO_TOKENS, 0, "none")
    assert sum_attempts((REFUSED,)) == (NO_TOKENS, 0, "none")
    assert sum_attempts((REFUSED, REFUSED)) == (NO_TOKENS, 0, "none")


tokens = st.builds(Tokens, *[st.integers(0, 2**40)] * 7)
costs = st.none() | st.integers(0, 2**40)


@given(st.lists(st.tuples(tokens | st.just(NO_TOKENS), costs), max_size=4))
def test_tokens_and_costs_add_up(tries: list[tuple[Tokens, int | None]]) -> None:
    attempts = [Attempt("p/m", "complete", "provider", *pair) for pair in tries]
    total, cost_micros, _ = sum_attempts(attempts)
    assert total.input == sum(used.input for used, _ in tries)
    assert total.output == sum(used.output for used, _ in tries)
    assert total.audio_output == sum(used.audio_output for used, _ in tries)
    priced = [cost for used, cost in tries if cost is not None or used != NO_TOKENS]
    assert cost_micros == (None if None in priced else sum(cost or 0 for cost in priced))
    # The store says the same when it changes costs.
    assert cost_micros == sum_costs((used != NO_TOKENS, cost) for used, cost in tries)


def test_an_entry_shows_its_last_attempt() -> None:
    row = make_posting(Entry(OPENING, "complete", (REFUSED, SERVED), total_us=9)).entry
    assert (row.target, row.finish_reason, row.attempts) == ("p/m", "stop", 2)
    assert (row.input_tokens, row.cost_micros, row.total_us) == (100, 450, 9)
    refused = make_posting(Entry(OPENING, "refused", code="rate_limited"))
    assert (refused.entry.target, refused.entry.finish_reason) == ("p/m", "")
    assert refused.attempts == ()


def test_attempts_are_numbered_from_one() -> None:
    posting = make_posting(Entry(OPENING, "complete", (REFUSED, SERVED)))
    assert [(row.entry_id, row.number, row.target) for row in posting.attempts] == [
        ("req_1", 1, "q/m"),
        ("req_1", 2, "p/m"),
    ]


def test_what_no_database_keeps_is_made_to_fit(store: Store) -> None:
    odd = "\0" + "模" * 5000
    opening = Opening("req_1", 1, odd, "k1", odd, "chat", stream=False, target=odd)
    attempts = (
        Attempt(odd, "complete", "provider", Tokens(10**30, -5, 2**63), 2**70, finish_reason=odd),
        Attempt(odd, "complete", "provider", Tokens(7), -1),
    )
    window = Window("key", "k1", "tokens", "total", 0)
    charged = (Charge(window, 10**30),)
    posting = make_posting(Entry(opening, "complete", attempts, charged, changes=odd))
    assert store.ledger.ship("j", 1, Load([posting]), 1) == 1
    [kept] = list_all(store)
    assert kept.model == "\N{REPLACEMENT CHARACTER}" + "模" * (TEXT_LENGTH - 1)
    assert (kept.input_tokens, kept.output_tokens, kept.cost_micros) == (MOST + 7, 0, MOST)
    assert store.ledger.find_entry("req_1") is not None


def test_what_fits_is_not_touched() -> None:
    charges = (Charge(Window("key", "k1", "tokens", "total", 0), MOST),)
    entry = Entry(OPENING, "complete", (SERVED,), charges, changes="clamped:temperature=1")
    posting = make_posting(entry)
    assert posting.charges == charges
    assert posting.entry.changes == "clamped:temperature=1"
    assert posting.entry.output_tokens == 20


@pytest.mark.parametrize("attempts", [(SERVED,), (REFUSED,), (REFUSED, SERVED), (SERVED,) * 3])
@pytest.mark.parametrize("status", ["complete", "failed", "left"])
def test_attempts_are_kept_where_their_entry_does_not_tell_them(
    store: Store, attempts: tuple[Attempt, ...], status: Status
) -> None:
    code = "upstream_error" if status == "failed" else ""
    posting = make_posting(Entry(OPENING, status, attempts, (), code))
    store.ledger.ship("j", 1, Load([posting]), 1)
    found = store.ledger.find_entry("req_1")
    assert found is not None
    kept = [(row.number, row.target, row.status, row.code) for row in found.attempts]
    assert kept == [
        (number, attempt.target, attempt.status, attempt.code)
        for number, attempt in enumerate(attempts, 1)
    ]
    assert [row.input_tokens for row in found.attempts] == [each.tokens.input for each in attempts]
    costs = [each.cost_micros or 0 for each in attempts]
    assert [row.cost_micros or 0 for row in found.attempts] == costs
    is_told = len(attempts) == 1 and attempts[0].status == status
    assert bool(posting.attempts) is not is_told


openings = st.builds(
    Opening,
    st.text("abc", min_size=1, max_size=8),
    st.integers(-1, 1).map(lambda day: 1_800_000_000_000_000 + day * DAY_US),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["k1", "k2"]),
    st.sampled_from(["m", "\0", "模" * 300]),
    st.just("chat"),
    st.booleans(),
    st.sampled_from(["", "p/m"]),
)
attempts = st.builds(
    Attempt,
    st.sampled_from(["p/m", "q/m\0"]),
    st.sampled_from(["complete", "failed"]),
    st.sampled_from(["provider", "none"]),
    st.builds(Tokens, *[st.sampled_from([0, 7, 7, 7, 7, MOST])] * 7)
    | st.builds(Tokens, st.sampled_from([-1, 2**63])),
    st.sampled_from([None, 0, 5, MOST]),
    st.sampled_from(["", "upstream_error"]),
    st.sampled_from(["stop", "length"]),
    st.none() | st.integers(0, 9),
    st.integers(0, 9),
)
entries = st.builds(
    Entry,
    openings,
    st.sampled_from(["complete", "failed", "refused"]),
    st.lists(attempts, max_size=2).map(tuple),
    st.sampled_from([(), (Charge(Window("key", "k1", "tokens", "total", 0), 2**70),)]),
    st.sampled_from(["", "upstream_error"]),
    st.sampled_from(["", "\0"]),
    st.integers(0, 9),
    st.none() | st.integers(0, 9),
    st.integers(0, 9),
)


@given(st.lists(entries, max_size=30))
def test_series_say_what_single_rows_say(given: list[Entry]) -> None:
    load = make_load(given)
    plain = [make_posting(entry) for entry in given]
    assert sorted(load.list_postings(), key=repr) == sorted(plain, key=repr)
    assert load.count == len(given)
    assert load.charges == Load(plain).charges
    assert sum_days(load) == sum_days(Load(plain))
    for series in load.series:
        assert len({row.at_us // DAY_US for row in series.list_entries()}) == 1


@pytest.mark.parametrize("count", [1, 7, 8, 9, 63, 64, 71, 150])
@pytest.mark.parametrize("models", [1, 40])
@pytest.mark.parametrize("rare", [0, 3])
@pytest.mark.parametrize("first_token_us", [[None], [5], [None, 5]])
def test_series_are_kept_as_single_rows_are(
    store: Store, count: int, models: int, rare: int, first_token_us: list[int | None]
) -> None:
    window = Window("key", "k1", "tokens", "total", 0)
    given = []
    for number in range(count):
        first_us = first_token_us[number % len(first_token_us)]
        attempt = Attempt("p/m", "complete", "provider", Tokens(number, 2, rare), None, "", "stop")
        model = f"m{number % models}"
        opening = msgspec.structs.replace(
            OPENING, id=f"req_{number}", at_us=DAY_US + number, model=model
        )
        given.append(
            Entry(opening, "complete", (attempt,), (Charge(window, 1),), "", "", 1, first_us, 9)
        )
    store.ledger.ship("j", 1, make_load(given[: count // 2]), 1)
    assert store.ledger.ship("j", 2, make_load(given), 1) == count - count // 2
    plain = Load([make_posting(entry) for entry in given])
    assert list_all(store) == [posting.entry for posting in plain.postings]
    assert list_days(store) == sum_days(plain)
    assert find_spent(store) == {window: count}
    assert find_rows(store) == []


def find_rows(store: Store) -> list[Any]:
    with store.database.read() as connection:
        return [*connection.execute(select(ATTEMPTS))]
