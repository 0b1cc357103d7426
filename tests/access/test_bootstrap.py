"""The operator's own key: set, repeated, replaced, unset."""

import threading
from pathlib import Path

import pytest

from trunkline.access.bootstrap import ensure_bootstrap
from trunkline.access.key import NewKey, create_key, hash_key
from trunkline.store.key import Key
from trunkline.store.store import Store, open_store

PEPPER = bytes(32)


def find_key(store: Store, text: str) -> Key | None:
    matches = store.keys.find_by_hash([hash_key(PEPPER, text.encode())])
    return matches[0].key if matches else None


def is_active(store: Store, text: str) -> bool:
    key = find_key(store, text)
    return key is not None and key.revoked_at_us is None


def test_the_key_is_an_admin_of_the_account_default(store: Store) -> None:
    ensure_bootstrap(store, PEPPER, "My API Key", 5)
    key = find_key(store, "My API Key")
    assert key
    assert (key.account_id, key.role, key.name, key.models) == (
        "default",
        "admin",
        "bootstrap",
        None,
    )
    assert store.accounts.find("default")


def test_nothing_of_its_text_is_kept(store: Store, tmp_path: Path) -> None:
    ensure_bootstrap(store, PEPPER, "canary key", 5)
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"bootstrap" in content
    assert b"canar" not in content


def test_repeating_it_changes_nothing(store: Store) -> None:
    ensure_bootstrap(store, PEPPER, "one", 5)
    before = list(store.keys.list())
    ensure_bootstrap(store, PEPPER, " one\n", 6)
    assert list(store.keys.list()) == before


def test_another_text_replaces_the_key_and_the_first_can_come_back(store: Store) -> None:
    ensure_bootstrap(store, PEPPER, "one", 5)
    ensure_bootstrap(store, PEPPER, "two", 6)
    assert (is_active(store, "one"), is_active(store, "two")) == (False, True)
    ensure_bootstrap(store, PEPPER, "one", 7)
    assert (is_active(store, "one"), is_active(store, "two")) == (True, False)
    assert len(store.keys.list()) == 2


@pytest.mark.parametrize("unset", [None, "", "  "])
def test_without_a_text_the_key_is_revoked(store: Store, unset: str | None) -> None:
    ensure_bootstrap(store, PEPPER, "one", 5)
    ensure_bootstrap(store, PEPPER, unset, 6)
    assert not is_active(store, "one")


def test_without_a_text_nothing_is_created(store: Store) -> None:
    ensure_bootstrap(store, PEPPER, None, 5)
    assert store.accounts.list() == []


def test_other_keys_of_the_account_are_left_alone(store: Store) -> None:
    store.accounts.create("default", "", 1)
    text, _ = create_key(store, PEPPER, NewKey(account_id="default", name="ci"), 5)
    ensure_bootstrap(store, PEPPER, "one", 6)
    ensure_bootstrap(store, PEPPER, "two", 7)
    assert is_active(store, text)


def test_the_text_of_another_key_is_refused_and_not_shown(store: Store) -> None:
    store.accounts.create("a", "", 1)
    text, key = create_key(store, PEPPER, NewKey(account_id="a"), 5)
    with pytest.raises(ValueError, match=key.id) as caught:
        ensure_bootstrap(store, PEPPER, text, 6)
    assert text not in str(caught.value)
    assert find_key(store, text) == key


def test_all_workers_may_do_it_at_once(tmp_path: Path) -> None:
    gate = threading.Barrier(6)

    def start_worker() -> None:
        store = open_store(tmp_path / "trunkline.db")
        gate.wait()
        ensure_bootstrap(store, PEPPER, "one", 5)
        store.close()

    workers = [threading.Thread(target=start_worker) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    store = open_store(tmp_path / "trunkline.db")
    assert [key.revoked_at_us for key in store.keys.list("default")] == [None]
    store.close()
