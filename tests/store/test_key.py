"""Keys: stored without their text, found by hash, by id and by what lists show."""

import msgspec
import pytest

from trunkline.store.account import AccountUnknownError
from trunkline.store.key import Key, KeyExistsError
from trunkline.store.page import CursorUnknownError
from trunkline.store.store import Store
from trunkline.terms import NO_ACCOUNT_TERMS, AccountTerms, Budget, Limits, Terms

TIGHT = AccountTerms(limits=Limits(rpm=1), budgets=(Budget("usd", "day", 5),), leaving="drain")

KEY = Key(
    id="key_1",
    account_id="a",
    name="x'); DROP TABLE keys; --",
    role="member",
    prefix="tl-AbCd_%12",
    models=("gpt-4o", "local/*"),
    expires_at_us=9_007_199_254_740_993,
    revoked_at_us=None,
    created_at_us=1,
    last_used_at_us=None,
    subject_id="key_1",
    accounts=("b", "c d"),
)
DIGEST = bytes(range(32))


@pytest.fixture
def filled(store: Store) -> Store:
    for account_id in ("a", "b", "c d"):
        store.accounts.create(account_id, "", 1)
    store.keys.create(KEY, DIGEST)
    return store


def change(**values: object) -> Key:
    return msgspec.structs.replace(KEY, **values)


def test_a_key_is_found_as_it_was_created(filled: Store) -> None:
    assert filled.keys.find("key_1") == KEY
    assert filled.keys.find("key_2") is None
    assert list(filled.keys.list()) == [KEY]


def test_a_key_without_patterns_or_further_accounts_keeps_none(filled: Store) -> None:
    key = change(id="key_2", models=None, accounts=(), role="admin")
    filled.keys.create(key, b"2" * 32)
    assert filled.keys.find("key_2") == key


def test_its_own_account_is_no_further_account(filled: Store) -> None:
    filled.keys.create(change(id="key_2", accounts=("a", "b", "b")), b"2" * 32)
    found = filled.keys.find("key_2")
    assert found
    assert found.accounts == ("b",)


def test_a_key_is_found_by_its_hash_and_nothing_else(filled: Store) -> None:
    (match,) = filled.keys.find_by_hash([b"x" * 32, DIGEST])
    assert (match.hash, match.key) == (DIGEST, KEY)
    assert match.account_terms == dict.fromkeys(("a", "b", "c d"), NO_ACCOUNT_TERMS)
    assert filled.keys.find_by_hash([DIGEST[:31], b""]) == []


def test_a_match_says_how_the_accounts_stand(filled: Store) -> None:
    filled.accounts.change("b", status="suspended")
    (match,) = filled.keys.find_by_hash([DIGEST])
    assert set(match.account_terms) == {"a", "c d"}
    filled.accounts.change("a", status="suspended", terms=TIGHT)
    filled.accounts.change("c d", terms=TIGHT)
    (match,) = filled.keys.find_by_hash([DIGEST])
    assert match.account_terms == {"c d": TIGHT}


def test_a_hash_is_taken_once(filled: Store) -> None:
    with pytest.raises(KeyExistsError):
        filled.keys.create(change(id="key_2"), DIGEST)
    assert filled.keys.find("key_2") is None


@pytest.mark.parametrize("unknown", [{"account_id": "zz"}, {"accounts": ("b", "zz")}])
def test_every_account_of_a_key_must_exist(filled: Store, unknown: dict[str, object]) -> None:
    with pytest.raises(AccountUnknownError, match="'zz'"):
        filled.keys.create(change(id="key_2", **unknown), b"2" * 32)
    assert filled.keys.find("key_2") is None


def test_keys_are_listed_by_account_oldest_first(filled: Store) -> None:
    filled.keys.create(change(id="key_0", created_at_us=3, accounts=()), b"0" * 32)
    filled.keys.create(change(id="key_2", created_at_us=2, account_id="b"), b"2" * 32)
    assert [key.id for key in filled.keys.list()] == ["key_1", "key_2", "key_0"]
    assert [key.id for key in filled.keys.list("a")] == ["key_1", "key_0"]
    assert filled.keys.list("a' OR '1'='1") == []


@pytest.mark.parametrize("text", ["key_1", "key", "tl-AbCd_%12", "tl-AbC"])
def test_a_key_is_found_by_the_start_of_its_id_or_prefix(filled: Store, text: str) -> None:
    assert list(filled.keys.find_by_text(text)) == [KEY]


@pytest.mark.parametrize("text", ["", "ey_1", "KEY_1", "tl-abcd", "tl-%", "key%", "key_12", "%"])
def test_letter_case_counts_and_wildcards_are_only_text(filled: Store, text: str) -> None:
    assert filled.keys.find_by_text(text) == []


def test_a_key_is_revoked_and_brought_back(filled: Store) -> None:
    assert filled.keys.change_revoked("key_1", 5)
    assert filled.keys.find("key_1") == change(revoked_at_us=5)
    assert filled.keys.change_revoked("key_1", None)
    assert filled.keys.find("key_1") == KEY
    assert not filled.keys.change_revoked("key_2", 5)


TERMS = Terms(limits=Limits(tpm=9), budgets=(Budget("tokens", "day", 0),))


CHANGES: list[dict[str, object]] = [
    {},
    {"name": "it's; --"},
    {"models": None},
    {"models": ()},
    {"models": ("'); DROP TABLE keys; --", "%", ":x")},
    {"expires_at_us": None},
    {"accounts": ()},
    {"accounts": ("b",)},
    {"terms": TERMS},
]


def test_a_key_becomes_what_it_is_changed_to(filled: Store) -> None:
    other = change(id="key_2")
    filled.keys.create(other, b"2" * 32)
    for values in CHANGES:
        filled.keys.change(change(**values))
        assert filled.keys.find("key_1") == change(**values)
        assert filled.keys.find("key_2") == other
        (match,) = filled.keys.find_by_hash([DIGEST])
        assert match.key == change(**values)
        assert set(match.account_terms) == {"a", *match.key.accounts}
        filled.keys.change(KEY)
        assert filled.keys.find("key_1") == KEY


def test_what_never_changes_of_a_key_does_not(filled: Store) -> None:
    filled.keys.change(
        change(role="admin", account_id="b", prefix="", subject_id="key_9", revoked_at_us=5)
    )
    assert filled.keys.find("key_1") == change(accounts=("c d",))


def test_a_change_to_an_unknown_account_changes_nothing(filled: Store) -> None:
    for account_id in ("zz", "a' OR '1'='1", "\0", "\ud800", ""):
        with pytest.raises(AccountUnknownError):
            filled.keys.change(change(name="other", accounts=("b", account_id)))
    assert filled.keys.find("key_1") == KEY


def test_a_key_that_does_not_exist_is_not_made_by_a_change(filled: Store) -> None:
    filled.keys.change(change(id="key_2"))
    assert list(filled.keys.list()) == [KEY]


def test_the_keys_of_a_chain_are_found_together(filled: Store) -> None:
    second = change(id="key_2", created_at_us=2, subject_id="key_1", terms=TERMS)
    filled.keys.create(second, b"2" * 32)
    filled.keys.create(change(id="key_3", subject_id="key_3"), b"3" * 32)
    assert list(filled.keys.list_chain("key_1")) == [KEY, second]
    assert filled.keys.find("key_2") == second
    (match,) = filled.keys.find_by_hash([b"2" * 32])
    assert match.key == second


def test_pages_are_the_list_in_pieces(filled: Store) -> None:
    for number in range(6):
        further = ("b",) if number % 2 else ()
        key = change(id=f"key_{9 - number}", created_at_us=number // 4, accounts=further)
        filled.keys.create(key, bytes([number]) * 32)
    filled.keys.create(change(id="other", account_id="b", created_at_us=0), b"o" * 32)
    whole = list(filled.keys.list("a"))
    for limit in (1, 3, 7, 8):
        seen: list[Key] = []
        while page := filled.keys.list("a", seen[-1].id if seen else None, limit):
            assert len(page) <= limit
            assert len(seen) < len(whole)
            seen += page
        assert seen == whole
    assert list(filled.keys.list(None, whole[-1].id)) == []
    with pytest.raises(CursorUnknownError):
        filled.keys.list("a", "key_' OR 1=1", 1)


def test_what_no_database_takes_finds_nothing(filled: Store) -> None:
    for text in ("\0", "\ud800", "key_1\0"):
        assert filled.keys.find(text) is None
        assert filled.keys.list(text) == []
        assert filled.keys.find_by_text(text) == []


def test_last_use_is_written_for_many_at_once(filled: Store) -> None:
    filled.keys.create(change(id="key_2"), b"2" * 32)
    filled.keys.create(change(id="key_3"), b"3" * 32)
    filled.keys.change_last_used(["key_1", "key_3", "gone"], 77)
    assert {key.id: key.last_used_at_us for key in filled.keys.list()} == {
        "key_1": 77,
        "key_2": None,
        "key_3": 77,
    }
