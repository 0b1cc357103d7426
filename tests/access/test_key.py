"""Keys: random, hashed with the pepper, and nowhere in the database's files."""

import base64
import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.access.key import (
    KEY_BYTES_LIMIT,
    NewKey,
    create_key,
    hash_key,
    make_key_id,
    make_key_text,
    read_operator_key,
)
from trunkline.store.account import AccountUnknownError
from trunkline.store.store import Store

PEPPER = bytes(32)


def test_a_key_holds_256_random_bits() -> None:
    texts = {make_key_text() for _ in range(1000)}
    assert len(texts) == 1000
    for text in texts:
        mark, random = text[:3], text[3:]
        assert (mark, len(random)) == ("tl-", 43)
        assert len(base64.urlsafe_b64decode(random + "=")) == 32


def test_ids_are_not_the_keys() -> None:
    assert len({make_key_id() for _ in range(1000)}) == 1000
    assert make_key_id().startswith("key_")


@given(pepper=st.binary(min_size=32, max_size=32), key=st.binary(max_size=600))
def test_a_hash_is_the_hmac_of_the_key_with_the_pepper(pepper: bytes, key: bytes) -> None:
    assert hash_key(pepper, key) == hmac.new(pepper, key, hashlib.sha256).digest()


def test_another_pepper_gives_another_hash() -> None:
    assert hash_key(PEPPER, b"key") != hash_key(b"x" * 32, b"key")


def test_a_created_key_is_found_by_its_text(store: Store) -> None:
    store.accounts.create("a", "", 1)
    store.accounts.create("b", "", 1)
    new = NewKey(
        account_id="a",
        name="ci",
        role="admin",
        models=("local/*",),
        expires_at_us=9,
        accounts=("b",),
    )
    text, key = create_key(store, PEPPER, new, 5)
    (match,) = store.keys.find_by_hash([hash_key(PEPPER, text.encode())])
    assert match.key == key == store.keys.find(key.id)
    assert key.prefix == text[:11]
    assert (key.created_at_us, key.revoked_at_us, key.last_used_at_us) == (5, None, None)
    for field in ("account_id", "name", "role", "models", "expires_at_us", "accounts"):
        assert getattr(key, field) == getattr(new, field)


def test_no_key_is_in_the_databases_files(store: Store, tmp_path: Path) -> None:
    store.accounts.create("a", "", 1)
    text, key = create_key(store, PEPPER, NewKey(account_id="a"), 5)
    store.keys.change_revoked(key.id, 6)
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert hash_key(PEPPER, text.encode()) in content  # the files do hold what was written
    assert text.encode() not in content
    assert text[-32:].encode() not in content
    assert PEPPER.hex().encode() not in content


def test_a_key_needs_its_account(store: Store) -> None:
    with pytest.raises(AccountUnknownError, match="'a'"):
        create_key(store, PEPPER, NewKey(account_id="a"), 5)


@pytest.mark.parametrize(
    "new",
    [
        NewKey(account_id="a", name="bootstrap"),
        NewKey(account_id="a", name="\x1b[2J"),
        NewKey(account_id="a", models=("",)),
        NewKey(account_id="a", models=("gpt-4o", "a\n")),
        NewKey(account_id="a", expires_at_us=5),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(store: Store, new: NewKey) -> None:
    store.accounts.create("a", "", 1)
    with pytest.raises(ValueError, match=r"kept for|printable|pattern|past"):
        create_key(store, PEPPER, new, 5)
    assert store.keys.list() == []


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("My API Key", b"My API Key"),
        (" from a file\n", b"from a file"),
        ("schlüssel", "schlüssel".encode()),
        ("schl\udcfcssel", "schlüssel".encode()),  # Latin-1 in the environment
        ("x" * KEY_BYTES_LIMIT, b"x" * KEY_BYTES_LIMIT),
    ],
)
def test_an_operators_key_has_the_form_in_which_it_arrives(text: str, key: bytes) -> None:
    assert read_operator_key(text) == key


@pytest.mark.parametrize("text", ["", "  ", "canary\nsecond", "canary\x00", "canary" * 100])
def test_a_text_that_cannot_be_a_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match="a key") as caught:
        read_operator_key(text)
    assert "canary" not in str(caught.value)
