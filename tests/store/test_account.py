"""Accounts: any printable text is an id, and nothing but text."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.store.account import (
    Account,
    AccountExistsError,
    AccountUnknownError,
    is_account_id,
)
from trunkline.store.store import Store

IDS = st.text(min_size=1, max_size=200).filter(is_account_id)


def test_an_account_is_found_as_it_was_created(store: Store) -> None:
    created = store.accounts.create("team a", "The A team", 42)
    assert created == Account(id="team a", name="The A team", status="active", created_at_us=42)
    assert store.accounts.find("team a") == created


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(account_id=IDS)
def test_every_id_that_is_allowed_comes_back_unchanged(store: Store, account_id: str) -> None:
    if store.accounts.find(account_id) is None:
        store.accounts.create(account_id, account_id, 1)
    found = store.accounts.find(account_id)
    assert found
    assert (found.id, found.name) == (account_id, account_id)


@pytest.mark.parametrize(
    "text", ["x'); DROP TABLE accounts; --", 'x" OR "1"="1', "%", "_", "\\", ":id", "?1", "{}"]
)
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


def test_many_are_found_at_once(store: Store) -> None:
    for number, account_id in enumerate("abc"):
        store.accounts.create(account_id, "", number)
    assert set(store.accounts.find_many(["a", "c", "d", "\ud800"])) == {"a", "c"}


def test_an_account_is_suspended_and_active_again(store: Store) -> None:
    account = store.accounts.create("a", "", 1)
    store.accounts.change_status("a", "suspended")
    suspended = store.accounts.find("a")
    assert suspended
    assert suspended.status == "suspended"
    store.accounts.change_status("a", "active")
    assert store.accounts.find("a") == account


def test_an_unknown_account_cannot_change(store: Store) -> None:
    with pytest.raises(AccountUnknownError, match="no account 'a'"):
        store.accounts.change_status("a", "suspended")
