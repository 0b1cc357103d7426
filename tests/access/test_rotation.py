"""Rotation: a successor in every respect, and no way to a second budget."""

import threading
from pathlib import Path

import msgspec
import pytest

from access.ticking import Ticking
from trunkline.access.key import NewKey, hash_key
from trunkline.access.roster import OVERLAP_MOST_S, KeyChange, Roster
from trunkline.store.key import Key
from trunkline.store.store import Store, open_store
from trunkline.terms import NO_ACCOUNT_TERMS, NO_TERMS, Budget, Limits, Terms

PEPPER = bytes(range(32))
TERMS = Terms(limits=Limits(rpm=5), budgets=(Budget("usd", "month", 7),))
SECOND_US = 1_000_000
NEW = NewKey(
    account_id="a",
    name="ci",
    role="admin",
    models=("gpt-4o", "local/*"),
    accounts=("b",),
    terms=TERMS,
)


@pytest.fixture
def clock() -> Ticking:
    return Ticking()


@pytest.fixture
def roster(any_store: Store, clock: Ticking) -> Roster:
    made = Roster(any_store, PEPPER, "cli:test", clock)
    for account_id in ("a", "b"):
        made.create_account(account_id, "", NO_ACCOUNT_TERMS)
    return made


def find(store: Store, key_id: str) -> Key:
    key = store.keys.find(key_id)
    assert key
    return key


def test_the_successor_is_like_the_old_key_and_counts_as_it(
    roster: Roster, any_store: Store, clock: Ticking
) -> None:
    old_text, old = roster.create_key(NEW)
    text, new = roster.rotate_key(old.id, 60)
    assert text != old_text
    assert new == find(any_store, new.id)
    (match,) = any_store.keys.find_by_hash([hash_key(PEPPER, text.encode())])
    assert match.key == new
    own = {"id": new.id, "prefix": text[:11], "created_at_us": new.created_at_us}
    assert new == msgspec.structs.replace(old, **own)
    assert new.subject_id == old.id != new.id
    ended = find(any_store, old.id)
    assert ended == msgspec.structs.replace(old, expires_at_us=clock.now_us + 60 * SECOND_US)
    _, third = roster.rotate_key(new.id, 0)
    assert third.subject_id == old.id
    assert [key.id for key in any_store.keys.list_chain(old.id)] == [old.id, new.id, third.id]


def test_both_keys_know_of_the_rotation_in_the_audit(roster: Roster, any_store: Store) -> None:
    _, old = roster.create_key(NEW)
    _, new = roster.rotate_key(old.id, 60)
    rotation, _ = any_store.audit.list(subject_id=old.id)
    assert rotation.action == "key.rotate"
    assert rotation.before is not None
    assert rotation.after == {
        **rotation.before,
        "expires_at_us": find(any_store, old.id).expires_at_us,
        "successor_id": new.id,
    }
    (creation,) = any_store.audit.list(subject_id=new.id)
    assert (creation.action, creation.at_us) == ("key.create", rotation.at_us)


@pytest.mark.parametrize(("left_s", "overlap_s", "expected_s"), [(100, 60, 60), (100, 500, 100)])
def test_no_overlap_makes_a_key_live_longer(
    roster: Roster,
    any_store: Store,
    clock: Ticking,
    left_s: int,
    overlap_s: int,
    expected_s: int,
) -> None:
    expires_at_us = clock.now_us + left_s * SECOND_US
    _, old = roster.create_key(msgspec.structs.replace(NEW, expires_at_us=expires_at_us))
    now_us = clock.now_us + 1
    _, new = roster.rotate_key(old.id, overlap_s)
    assert new.expires_at_us == expires_at_us
    ends_at_us = find(any_store, old.id).expires_at_us
    assert ends_at_us == min(expires_at_us, now_us + expected_s * SECOND_US)


def test_an_overlap_has_bounds(roster: Roster, any_store: Store) -> None:
    _, old = roster.create_key(NEW)
    for overlap_s in (-1, OVERLAP_MOST_S + 1, 10**30):
        with pytest.raises(ValueError, match="366 days"):
            roster.rotate_key(old.id, overlap_s)
    assert list(any_store.keys.list()) == [old]


def test_a_revoked_or_expired_key_has_no_successor(
    roster: Roster, any_store: Store, clock: Ticking
) -> None:
    _, revoked = roster.create_key(NEW)
    roster.revoke_key(revoked.id)
    with pytest.raises(ValueError, match=f"{revoked.id} is revoked"):
        roster.rotate_key(revoked.id, 0)
    with pytest.raises(ValueError, match=f"{revoked.id} is revoked"):
        roster.change_key(revoked.id, KeyChange(expires_at_us=None))
    soon = msgspec.structs.replace(NEW, expires_at_us=clock.now_us + SECOND_US)
    _, expired = roster.create_key(soon)
    clock.now_us += SECOND_US
    with pytest.raises(ValueError, match=f"{expired.id} has expired"):
        roster.rotate_key(expired.id, 0)
    assert len(any_store.keys.list()) == 2


def test_a_key_has_one_successor_while_that_lives(roster: Roster, any_store: Store) -> None:
    _, old = roster.create_key(NEW)
    _, new = roster.rotate_key(old.id, 60)
    with pytest.raises(ValueError, match=f"rotated already; rotate {new.id} instead"):
        roster.rotate_key(old.id, 60)
    roster.revoke_key(new.id)  # it was lost on its way, say
    _, other = roster.rotate_key(old.id, 60)
    assert other.subject_id == old.id
    assert len(any_store.keys.list()) == 3


def test_the_newest_of_a_chain_is_the_newest_even_where_the_clock_went_back(
    roster: Roster, clock: Ticking
) -> None:
    _, first = roster.create_key(NEW)
    clock.now_us -= 50 * SECOND_US
    _, second = roster.rotate_key(first.id, 600)
    _, third = roster.rotate_key(second.id, 600)
    assert first.created_at_us < second.created_at_us < third.created_at_us
    with pytest.raises(ValueError, match=f"rotate {third.id} instead"):
        roster.rotate_key(first.id, 600)


def test_new_terms_count_for_the_whole_chain(roster: Roster, any_store: Store) -> None:
    # Or the old key would go on under the old budget, beside the new one under its own.
    _, gone = roster.create_key(NEW)
    _, old = roster.rotate_key(gone.id, 60)
    roster.revoke_key(gone.id)
    _, new = roster.rotate_key(old.id, 60)
    _, stranger = roster.create_key(NEW)
    for changed, terms in ((new, NO_TERMS), (old, Terms(limits=Limits(tpm=3)))):
        roster.change_key(changed.id, KeyChange(terms=terms))
        assert find(any_store, old.id).terms == find(any_store, new.id).terms == terms
        assert any_store.audit.list(subject_id=old.id)[0].action == "key.change"
        assert any_store.audit.list(subject_id=new.id)[0].action == "key.change"
    assert find(any_store, gone.id).terms == TERMS
    assert find(any_store, stranger.id) == stranger
    roster.change_key(new.id, KeyChange(name="new"))
    assert find(any_store, old.id).name == "ci"


def test_of_many_rotations_at_once_one_succeeds(
    roster: Roster, any_store: Store, place: Path | str
) -> None:
    _, old = roster.create_key(NEW)
    gate = threading.Barrier(4)
    told: list[str] = []

    def rotate() -> None:
        store = open_store(place)
        own = Roster(store, PEPPER, "cli:test", Ticking())
        gate.wait()
        try:
            told.append(own.rotate_key(old.id, 60)[1].id)
        except ValueError as error:
            told.append(str(error))
        finally:
            store.close()

    threads = [threading.Thread(target=rotate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (_, new) = any_store.keys.list_chain(old.id)
    refusal = f"the key {old.id} was rotated already; rotate {new.id} instead"
    assert sorted(told) == sorted([new.id, refusal, refusal, refusal])
