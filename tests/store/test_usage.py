"""Sums over calls: the same from days, from calls and from Python, whatever is asked."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store.used import (
    ACCOUNTS,
    DAYS,
    FIRST_DAY,
    KEYS,
    MODELS,
    STATUSES,
    TARGETS,
    make_call,
    make_calls,
    ship_calls,
)
from trunkline.store.posting import DAY_US, EntryRow
from trunkline.store.store import Store
from trunkline.store.usage import HOUR_US, Choice, Part, Sums, TooManySharesError, knows_only_calls

CALLS = make_calls(300)
PARTS: tuple[Part, ...] = ("day", "account", "key", "model", "hour", "target", "status")
SEEN = (FIRST_DAY - 1, FIRST_DAY, FIRST_DAY + 2, FIRST_DAY + DAYS)

CHOICES = st.builds(
    Choice,
    since_day=st.sampled_from((None, *SEEN)),
    until_day=st.sampled_from((None, *SEEN)),
    account_id=st.sampled_from((None, None, "x", *ACCOUNTS)),
    key_id=st.sampled_from((None, None, *KEYS)),
    model=st.sampled_from((None, None, *MODELS)),
    target=st.sampled_from((None, None, None, *TARGETS)),
    status=st.sampled_from((None, None, None, *STATUSES)),
)


@pytest.fixture
def used(store: Store) -> Store:
    ship_calls(store, CALLS)
    return store


def find_parts(call: EntryRow, by: Iterable[Part]) -> tuple[str | int, ...]:
    values: dict[Part, str | int] = {
        "day": call.at_us // DAY_US,
        "account": call.account_id,
        "key": call.key_id,
        "model": call.model,
        "hour": call.at_us // HOUR_US,
        "target": call.target,
        "status": call.status,
    }
    return tuple(values[part] for part in by)


def is_chosen(call: EntryRow, choice: Choice) -> bool:
    day = call.at_us // DAY_US
    return (
        (choice.since_day is None or day >= choice.since_day)
        and (choice.until_day is None or day <= choice.until_day)
        and choice.account_id in (None, call.account_id)
        and choice.key_id in (None, call.key_id)
        and choice.model in (None, call.model)
        and choice.target in (None, call.target)
        and choice.status in (None, call.status)
    )


def add_up(calls: Iterable[EntryRow]) -> Sums:
    calls = list(calls)
    uncounted = [call for call in calls if call.usage_source == "none" and call.status != "refused"]
    lost = [call for call in calls if call.status == "lost" and call.usage_source != "none"]
    return Sums(
        calls=len(calls),
        failed_calls=sum(call.status in ("failed", "refused") for call in calls),
        unpriced_calls=sum(call.cost_micros is None for call in calls),
        unknown_calls=len(uncounted) + len(lost),
        input_tokens=sum(call.input_tokens for call in calls),
        output_tokens=sum(call.output_tokens for call in calls),
        cached_tokens=sum(call.cached_tokens for call in calls),
        cache_write_tokens=sum(call.cache_write_tokens for call in calls),
        reasoning_tokens=sum(call.reasoning_tokens for call in calls),
        audio_input_tokens=sum(call.audio_input_tokens for call in calls),
        audio_output_tokens=sum(call.audio_output_tokens for call in calls),
        cost_micros=sum(call.cost_micros or 0 for call in calls),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=CHOICES, by=st.lists(st.sampled_from(PARTS), min_size=1, unique=True))
def test_the_sums_are_those_of_the_calls(used: Store, choice: Choice, by: list[Part]) -> None:
    wanted = defaultdict(list)
    for call in CALLS:
        if is_chosen(call, choice):
            wanted[find_parts(call, by)].append(call)
    shares = used.usage.list_shares(choice, by)
    found = {share.parts: share.sums for share in shares}
    assert len(shares) == len(found)
    # Only what differs is compared: to show all of it would take minutes.
    parts = found.keys() | wanted.keys()
    wrong = [each for each in parts if found.get(each) != add_up(wanted[each])]
    assert [(each, found.get(each), add_up(wanted[each])) for each in wrong[:1]] == []
    assert all(type(part) in (int, str) for each in found for part in each)


def test_sums_of_days_outlive_the_calls(used: Store) -> None:
    before = used.usage.list_shares(Choice(), ["day", "model"])
    assert used.ledger.remove_before((FIRST_DAY + DAYS) * DAY_US, 10_000) == len(CALLS)
    after = used.usage.list_shares(Choice(), ["day", "model"])
    assert sorted(after, key=lambda share: share.parts) == sorted(
        before, key=lambda share: share.parts
    )
    assert used.usage.list_shares(Choice(), ["status"]) == []


@pytest.mark.parametrize(
    ("choice", "by", "only"),
    [
        (Choice(model="x", account_id="a", key_id="k", since_day=1), ["day", "model"], False),
        (Choice(), ["model", "hour"], True),
        (Choice(target="x"), ["model"], True),
        (Choice(status="left"), ["model"], True),
    ],
)
def test_calls_are_read_only_where_they_must_be(
    choice: Choice, by: list[Part], *, only: bool
) -> None:
    assert knows_only_calls(choice, by) is only


def test_too_many_shares_are_refused(used: Store) -> None:
    assert len(used.usage.list_shares(Choice(), ["model"], most=len(MODELS))) == len(MODELS)
    with pytest.raises(TooManySharesError, match="more than 2 rows"):
        used.usage.list_shares(Choice(), ["model"], most=len(MODELS) - 1)
    with pytest.raises(TooManySharesError):
        used.usage.list_shares(Choice(), ["status"], most=1)


def test_days_that_are_summed_at_different_times_come_together(store: Store) -> None:
    days = [FIRST_DAY + number for number in (0, 6, 7, 13, 14, 1_000_000)]
    calls = [make_call(n, at_us=day * DAY_US, input_tokens=2**n) for n, day in enumerate(days)]
    ship_calls(store, calls)

    def add_tokens(since_day: int | None, until_day: int | None) -> int:
        choice = Choice(since_day=since_day, until_day=until_day)
        (share,) = store.usage.list_shares(choice, ["account"])
        return share.sums.input_tokens

    assert add_tokens(None, None) == 0b111111
    assert add_tokens(FIRST_DAY + 6, FIRST_DAY + 13) == 0b001110
    assert add_tokens(-(10**6), FIRST_DAY + 7) == 0b000111
    assert add_tokens(FIRST_DAY + 14, 10**7) == 0b110000
    assert len(store.usage.list_shares(Choice(), ["day"])) == len(days)


def test_a_sum_may_be_larger_than_any_of_its_numbers(store: Store) -> None:
    large = 2**61
    ship_calls(store, [make_call(1, cost_micros=large), make_call(2, cost_micros=large)])
    (share,) = store.usage.list_shares(Choice(), ["model"])
    assert share.sums.cost_micros == 2 * large


def test_all_calls_are_kept_until_some_are_removed(used: Store) -> None:
    assert used.usage.find_kept_day(Choice()) is None
    used.ledger.remove_before((FIRST_DAY + 2) * DAY_US, 10_000)
    assert used.usage.find_kept_day(Choice()) == FIRST_DAY + 2
    assert used.usage.find_kept_day(Choice(since_day=FIRST_DAY + 2)) is None
    assert used.usage.find_kept_day(Choice(account_id="x")) is None
    assert used.usage.find_kept_day(Choice(until_day=FIRST_DAY)) == FIRST_DAY + 1


def test_a_day_that_lost_one_call_is_not_kept(used: Store) -> None:
    oldest = min(CALLS, key=lambda call: call.at_us)
    assert used.ledger.remove_before(oldest.at_us + 1, 10_000) == 1
    own = Choice(account_id=oldest.account_id, key_id=oldest.key_id, model=oldest.model)
    assert used.usage.find_kept_day(Choice()) == FIRST_DAY + 1
    assert used.usage.find_kept_day(own) == FIRST_DAY + 1
    # Nothing is missing of the other keys, nor for somebody who asks for fewer statuses.
    others = [Choice(key_id=key_id) for key_id in KEYS if key_id != oldest.key_id]
    assert [used.usage.find_kept_day(choice) for choice in others] == [None, None]
    assert used.usage.find_kept_day(Choice(status="complete")) == FIRST_DAY + 1


def test_without_any_calls_left_no_day_is_kept(store: Store) -> None:
    assert store.usage.find_kept_day(Choice()) is None
    ship_calls(store, [make_call(1)])
    store.ledger.remove_before((FIRST_DAY + 1) * DAY_US, 10)
    assert store.usage.find_kept_day(Choice()) == FIRST_DAY + 1


def test_calls_are_listed_newest_first(used: Store) -> None:
    newest = sorted(CALLS, key=lambda call: (call.at_us, call.id), reverse=True)
    assert used.usage.list_calls(Choice(), 10) == newest[:10]
    wanted = Choice(since_day=FIRST_DAY + 1, until_day=FIRST_DAY + 1, status="left", key_id="key_2")
    assert used.usage.list_calls(wanted, 1_000) == [
        call for call in newest if is_chosen(call, wanted)
    ]


def test_calls_of_the_same_moment_have_one_order(store: Store) -> None:
    calls = [make_call(number, at_us=5) for number in (2, 3, 1)]
    ship_calls(store, calls)
    assert [call.id[-1] for call in store.usage.list_calls(Choice(), 10)] == ["3", "2", "1"]


@pytest.mark.parametrize("text", ["x'); DROP TABLE entries; --", "%", "\\", ":id", "?1"])
def test_sql_in_a_choice_is_only_text(store: Store, text: str, where: Path | str) -> None:
    ship_calls(store, [make_call(1), make_call(2, model=text, account_id=text)])
    choice = Choice(model=text, account_id=text)
    (share,) = store.usage.list_shares(choice, ["account", "model"])
    assert (share.parts, share.sums.calls) == ((text, text), 1)
