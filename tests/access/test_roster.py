"""The roster on every kind of database: changes, rotations, and an audit that misses none."""

import msgspec
import pytest

from access.ticking import Ticking
from trunkline.access.bootstrap import ensure_bootstrap
from trunkline.access.key import NewKey, hash_key
from trunkline.access.roster import KeyChange, KeyUnknownError, Roster
from trunkline.store.account import AccountExistsError, AccountUnknownError
from trunkline.store.key import Key
from trunkline.store.store import Store
from trunkline.terms import NO_ACCOUNT_TERMS, NO_TERMS, AccountTerms, Budget, Limits, Terms

PEPPER = bytes(range(32))
HOUR_US = 3_600_000_000
HOSTILE = ["x'); DROP TABLE keys; --", 'x" OR "1"="1', "%s %d", "\\", ":id", "?1", "{0}"]
TERMS = Terms(limits=Limits(rpm=5), budgets=(Budget("usd", "month", 7),))
ACCOUNT_TERMS = AccountTerms(limits=Limits(tpm=5), over_budget="clamp")


@pytest.fixture
def clock() -> Ticking:
    return Ticking()


@pytest.fixture
def roster(any_store: Store, clock: Ticking) -> Roster:
    made = Roster(any_store, PEPPER, "key_admin", clock)
    for account_id in ("a", "b", "c"):
        made.create_account(account_id, "", NO_ACCOUNT_TERMS)
    return made


def actions(store: Store) -> list[tuple[str, str]]:
    """What the audit says was done since the accounts were made, oldest first."""
    return [(entry.action, entry.subject_id) for entry in store.audit.list()[::-1][3:]]


def find(store: Store, key_id: str) -> Key:
    key = store.keys.find(key_id)
    assert key
    return key


def test_an_account_is_created_and_changed_and_both_are_noted(
    roster: Roster, any_store: Store, clock: Ticking
) -> None:
    account = roster.create_account("team a", "A", ACCOUNT_TERMS)
    assert any_store.accounts.find("team a") == account
    assert (account.name, account.terms, account.created_at_us) == (
        "A",
        ACCOUNT_TERMS,
        clock.now_us,
    )
    changed = roster.change_account("team a", status="suspended", terms=NO_ACCOUNT_TERMS)
    assert any_store.accounts.find("team a") == changed
    assert (changed.name, changed.status, changed.terms) == ("A", "suspended", NO_ACCOUNT_TERMS)
    change, creation = any_store.audit.list(kind="account", subject_id="team a")
    assert (creation.action, creation.actor, creation.before) == (
        "account.create",
        "key_admin",
        None,
    )
    assert creation.after == {
        "name": "A",
        "status": "active",
        "terms": {"limits": {"tpm": 5}, "over_budget": "clamp"},
    }
    assert (change.action, change.at_us, change.before) == (
        "account.change",
        clock.now_us,
        creation.after,
    )
    assert change.after == {"name": "A", "status": "suspended", "terms": {}}


def test_a_key_is_created_changed_and_revoked_and_all_is_noted(
    roster: Roster, any_store: Store, clock: Ticking
) -> None:
    new = NewKey(account_id="a", name="ci", models=("m",), accounts=("b", "a", "b"), terms=TERMS)
    text, key = roster.create_key(new)
    (match,) = any_store.keys.find_by_hash([hash_key(PEPPER, text.encode())])
    assert match.key == key
    assert (key.subject_id, key.accounts, key.terms) == (key.id, ("b",), TERMS)
    change = KeyChange(
        name="x", models=None, expires_at_us=clock.now_us + HOUR_US, accounts=("c",), terms=NO_TERMS
    )
    changed = roster.change_key(key.id, change)
    assert changed == find(any_store, key.id)
    assert msgspec.structs.asdict(changed) == {
        **msgspec.structs.asdict(key),
        **msgspec.structs.asdict(change),
    }
    revoked = roster.revoke_key(key.id)
    assert revoked == find(any_store, key.id)
    assert revoked == msgspec.structs.replace(changed, revoked_at_us=clock.now_us)
    created, altered, ended = any_store.audit.list(kind="key")[::-1]
    assert [entry.action for entry in (created, altered, ended)] == [
        "key.create",
        "key.change",
        "key.revoke",
    ]
    assert (altered.before, ended.before) == (created.after, altered.after)
    assert created.after == {
        "account_id": "a",
        "role": "member",
        "name": "ci",
        "models": ["m"],
        "accounts": ["b"],
        "expires_at_us": None,
        "revoked_at_us": None,
        "subject_id": key.id,
        "terms": {
            "limits": {"rpm": 5},
            "budgets": [{"unit": "usd", "period": "month", "amount": 7}],
        },
    }


def test_the_audit_holds_nothing_of_a_keys_text_or_hash(roster: Roster, any_store: Store) -> None:
    text, key = roster.create_key(NewKey(account_id="a", name="ci"))
    second, successor = roster.rotate_key(key.id, 5)
    roster.change_key(successor.id, KeyChange(name="x"))
    roster.revoke_key(key.id)
    shown = msgspec.json.encode(any_store.audit.list())
    for secret in (text, second):
        digest = hash_key(PEPPER, secret.encode())
        assert secret[:11].encode() not in shown
        assert digest.hex().encode() not in shown
    assert len(any_store.audit.list(kind="key")) == 5


def test_what_changes_nothing_is_not_noted(roster: Roster, any_store: Store) -> None:
    _, key = roster.create_key(NewKey(account_id="a", terms=TERMS))
    assert roster.change_key(key.id, KeyChange()) == key
    assert roster.change_key(key.id, KeyChange(terms=TERMS, name="", models=None)) == key
    roster.change_account("a", name="", status="active")
    revoked = roster.revoke_key(key.id)
    assert roster.revoke_key(key.id) == revoked
    assert actions(any_store) == [("key.create", key.id), ("key.revoke", key.id)]


def test_a_change_that_fails_leaves_neither_itself_nor_a_note(
    roster: Roster, any_store: Store, clock: Ticking
) -> None:
    _, key = roster.create_key(NewKey(account_id="a"))
    much = Terms(limits=Limits(rpm=10**13))
    for wrong in (
        KeyChange(name="bootstrap"),
        KeyChange(name="x", models=("",)),
        KeyChange(name="x", expires_at_us=clock.now_us),
        KeyChange(name="x", accounts=("nobody",)),
        KeyChange(name="x", terms=much),
    ):
        with pytest.raises((ValueError, AccountUnknownError)):
            roster.change_key(key.id, wrong)
    for account_id, terms in (("a", NO_ACCOUNT_TERMS), ("x", AccountTerms(limits=much.limits))):
        with pytest.raises(ValueError, match=r"exists already|at most"):
            roster.create_account(account_id, "", terms)
    with pytest.raises(ValueError, match="at most"):
        roster.change_account("a", name="x", terms=AccountTerms(limits=much.limits))
    with pytest.raises(AccountUnknownError):
        roster.create_key(NewKey(account_id="a", accounts=("nobody",)))
    assert find(any_store, key.id) == key
    assert actions(any_store) == [("key.create", key.id)]


def test_nobody_by_that_name(roster: Roster, any_store: Store) -> None:
    for text in ("key_0", "", "\0", "\ud800", *HOSTILE):
        with pytest.raises(AccountUnknownError):
            roster.change_account(text, name="x")
        with pytest.raises(KeyUnknownError) as caught:
            roster.change_key(text, KeyChange(name="x"))
        assert str(caught.value) == "there is no key with this id"
        with pytest.raises(KeyUnknownError):
            roster.rotate_key(text, 0)
        with pytest.raises(KeyUnknownError):
            roster.revoke_key(text)
    assert actions(any_store) == []


def test_sql_in_any_text_is_only_text(any_store: Store, clock: Ticking) -> None:
    Roster(any_store, PEPPER, "cli:test", clock).create_account("other", "", NO_ACCOUNT_TERMS)
    for text in HOSTILE:
        roster = Roster(any_store, PEPPER, text, clock)
        account = roster.create_account(text, text, NO_ACCOUNT_TERMS)
        assert any_store.accounts.find(text) == account
        assert roster.change_account("other", name=text).name == text
        new = NewKey(account_id=text, name=text, models=(text,), accounts=("other",))
        _, key = roster.create_key(new)
        _, other = roster.create_key(NewKey(account_id="other"))
        change = KeyChange(name=f"{text}2", models=(text, f"{text}2"), accounts=(text,))
        changed = roster.change_key(other.id, change)
        assert find(any_store, key.id) == key
        assert find(any_store, other.id) == changed
        assert (changed.name, changed.models, changed.accounts) == (
            change.name,
            change.models,
            change.accounts,
        )
        assert list(any_store.keys.list(text)) == [key]
        (entry,) = any_store.audit.list(subject_id=text)
        assert (entry.actor, entry.after and entry.after["name"]) == (text, text)


def test_a_taken_id_is_taken_for_all(roster: Roster) -> None:
    with pytest.raises(AccountExistsError):
        roster.create_account("a", "again", NO_ACCOUNT_TERMS)


@pytest.mark.parametrize("actor", ["", "a\nb", "\ud800"])
def test_an_actor_is_a_line_of_text(any_store: Store, clock: Ticking, actor: str) -> None:
    with pytest.raises(ValueError, match="actor"):
        Roster(any_store, PEPPER, actor, clock)


def test_without_a_pepper_no_key_is_made(roster: Roster, any_store: Store, clock: Ticking) -> None:
    _, key = roster.create_key(NewKey(account_id="a"))
    bare = Roster(any_store, b"", "cli:test", clock)
    with pytest.raises(ValueError, match="pepper"):
        bare.create_key(NewKey(account_id="a"))
    with pytest.raises(ValueError, match="pepper"):
        bare.rotate_key(key.id, 5)
    assert list(any_store.keys.list()) == [key]


def test_the_bootstrap_key_is_changed_in_the_environment_only(
    any_store: Store, roster: Roster
) -> None:
    ensure_bootstrap(any_store, PEPPER, "canary", 5)
    (key,) = any_store.keys.list("default")
    with pytest.raises(ValueError, match="TRUNKLINE_BOOTSTRAP_KEY"):
        roster.change_key(key.id, KeyChange(name="mine"))
    with pytest.raises(ValueError, match="TRUNKLINE_BOOTSTRAP_KEY"):
        roster.rotate_key(key.id, 0)
    assert roster.revoke_key(key.id).revoked_at_us
    ensure_bootstrap(any_store, PEPPER, "canary", 6)
    assert find(any_store, key.id) == key
    noted = any_store.audit.list(subject_id=key.id)
    assert {entry.action for entry in noted} == {"key.create", "key.revoke", "key.restore"}
    assert {entry.actor for entry in noted} == {"environment", "key_admin"}
    assert "canary" not in repr(noted)
