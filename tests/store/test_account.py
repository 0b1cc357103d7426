"""Accounts: any printable text is an id, and nothing but text."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.store.account import (
    Account,
    AccountExistsError,
    AccountUnknownError,
    is_account_id,
)
from trunkline.store.page import CursorUnknownError
from trunkline.store.store import Store
from trunkline.terms import NO_ACCOUNT_TERMS, AccountTerms, Budget, Limits

HOSTILE = ["x'); DROP TABLE accounts; --", 'x" OR "1"="1', "%", "_", "\\", ":id", "?1", "{}"]
IDS = st.text(min_size=1, max_size=200).filter(is_account_id)


def test_an_account_is_found_as_it_was_created(store: Store) -> None:
    created = store.accounts.create("team a", "The A team", 42)
    assert created == Account(id="team a", name="The A team", status="active", created_at_us=42)
    assert store.accounts.find("team a") == created


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(account_id=IDS)
def test_every_id_that_is_allowed_comes_back_unchanged(store: Store, account_id: str) -> None:
    if store.accounts.find(account_id) is None:
        store.accounts.create(account_id, account_id, 1)
    found = store.accounts.find(account_id)
    assert found
    assert (found.id, found.name) == (account_id, account_id)


@pytest.mark.parametrize("text", HOSTILE)
def test_sql_in_an_id_is_only_text(store: Store, text: str) -> None:
    store.accounts.create("other", "", 1)
    assert store.accounts.find(text) is None
    store.accounts.create(text, text, 2)
    assert [account.id for account in store.accounts.list()] == ["other", text]


@pytest.mark.parametrize(
    "text", ["", " ", " a", "a ", "a\n", "a\tb", "\x00", "\ud800", "\u200b", "x" * 201]
)
def test_an_id_that_no_header_would_carry_unchanged_is_refused(store: Store, text: str) -> None:
    assert not is_account_id(text)
    with pytest.raises(ValueError, match="printable"):
        store.accounts.create(text, "", 1)
    assert store.accounts.find(text) is None


def test_a_name_must_be_printable(store: Store) -> None:
    with pytest.raises(ValueError, match="name"):
        store.accounts.create("a", "\x1b[2J", 1)


def test_an_id_is_taken_once(store: Store) -> None:
    store.accounts.create("a", "first", 1)
    with pytest.raises(AccountExistsError, match="'a' exists already"):
        store.accounts.create("a", "second", 2)
    assert [account.name for account in store.accounts.list()] == ["first"]


def test_ids_differ_by_letter_case(store: Store) -> None:
    store.accounts.create("a", "", 1)
    assert store.accounts.find("A") is None


def test_what_is_changed_is_kept_and_the_rest_stays(store: Store) -> None:
    terms = AccountTerms(
        limits=Limits(rpm=60, tpm=1, concurrent=2),
        budgets=(Budget("usd", "month", 2**52), Budget("tokens", "total", 0)),
        leaving="drain",
        over_budget="clamp",
        share=7,
        priority="high",
    )
    account = store.accounts.create("a", "first", 1, terms)
    store.accounts.create("b", "", 2)
    assert store.accounts.find("a") == account
    assert account.terms == terms
    for change in ({}, {"name": "second"}, {"status": "suspended"}, {"terms": NO_ACCOUNT_TERMS}):
        account = msgspec.structs.replace(account, **change)
        assert store.accounts.change("a", **change) == account
        assert store.accounts.find("a") == account
    assert store.accounts.find("b") == Account(id="b", name="", status="active", created_at_us=2)


def test_sql_in_a_name_is_only_text(store: Store) -> None:
    store.accounts.create("other", "", 1)
    for number, name in enumerate(HOSTILE):
        store.accounts.create(str(number), name, 2)
        assert store.accounts.change("other", name=name).name == name
    assert [account.name for account in store.accounts.list()] == [HOSTILE[-1], *HOSTILE]


def test_a_name_that_cannot_be_changes_nothing(store: Store) -> None:
    account = store.accounts.create("a", "", 1)
    for name in ("\x1b[2J", "\0", "\ud800", "x" * 201):
        with pytest.raises(ValueError, match="name"):
            store.accounts.change("a", name=name, status="suspended")
    assert store.accounts.find("a") == account


def test_pages_are_the_list_in_pieces(store: Store) -> None:
    for number in range(7):
        store.accounts.create(f"a{(number * 3) % 7}", "", number // 3)
    whole = [account.id for account in store.accounts.list()]
    for limit in (1, 2, 3, 7, 8):
        seen: list[str] = []
        while page := store.accounts.list(seen[-1] if seen else None, limit):
            assert len(page) <= limit
            assert len(seen) < len(whole)
            seen += [account.id for account in page]
        assert seen == whole
    assert [account.id for account in store.accounts.list(whole[4])] == whole[5:]


def test_a_page_after_nothing_is_refused(store: Store) -> None:
    store.accounts.create("a", "", 1)
    for after in ("", "zz", "\0", "\ud800", *HOSTILE):
        with pytest.raises(CursorUnknownError, match="begin without"):
            store.accounts.list(after, 1)
    with pytest.raises(ValueError, match="1 entry"):
        store.accounts.list("a", 0)


def test_many_are_found_at_once(store: Store) -> None:
    for number, account_id in enumerate("abc"):
        store.accounts.create(account_id, "", number)
    assert set(store.accounts.find_many(["a", "c", "d", "\ud800"])) == {"a", "c"}


def test_an_account_is_suspended_and_active_again(store: Store) -> None:
    account = store.accounts.create("a", "", 1)
    suspended = store.accounts.change("a", status="suspended")
    assert suspended.status == "suspended"
    assert store.accounts.find("a") == suspended
    assert store.accounts.change("a", status="active") == account
    assert store.accounts.find("a") == account


def test_an_unknown_account_cannot_change(store: Store) -> None:
    for account_id in ("a", "\ud800", "\0", ""):
        with pytest.raises(AccountUnknownError, match="no account"):
            store.accounts.change(account_id, status="suspended")
