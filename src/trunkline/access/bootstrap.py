"""The bootstrap key: one admin key whose text the operator sets in the environment."""

from typing import Final

import msgspec

from trunkline.access.book import Book
from trunkline.access.key import hash_key, make_key_id, read_operator_key
from trunkline.access.wish import BOOTSTRAP_NAME
from trunkline.store.key import Key
from trunkline.store.store import Store

BOOTSTRAP_ACCOUNT: Final = "default"
_ACTOR: Final = "environment"


def ensure_bootstrap(store: Store, pepper: bytes, key_text: str | None, now_us: int) -> None:
    """Make this text, and no text set before, the admin key of the account ``default``.

    Safe to repeat and to run in several processes at once: every step ends in the same state.

    Args:
        store: where the key is kept, as a hash like every other.
        pepper: 32 bytes.
        key_text: the text of TRUNKLINE_BOOTSTRAP_KEY; None or blank when it is not set, which
            revokes the one set before.
        now_us: microseconds since 1970, UTC.

    Raises:
        ValueError: the text cannot be a key, or is another key's already; never shows it.
    """
    digest = None
    if key_text and key_text.strip():
        digest = hash_key(pepper, read_operator_key(key_text))
    store.database.apply(lambda connection: _ensure_only(Book(connection, _ACTOR, now_us), digest))


def _ensure_only(book: Book, digest: bytes | None) -> None:
    """Make the key with this hash the only bootstrap key; none, if there is no hash."""
    current = _ensure_key(book, digest) if digest is not None else None
    for key in book.keys.list(BOOTSTRAP_ACCOUNT):
        if key.name == BOOTSTRAP_NAME and key.id != current and key.revoked_at_us is None:
            _change_revoked(book, key, "revoke", book.now_us)


def _ensure_key(book: Book, digest: bytes) -> str:
    """The id of the key with this hash, created or brought back where needed."""
    matches = book.keys.find_by_hash([digest])
    if not matches:
        return _create_key(book, digest)
    key = matches[0].key
    if key.name != BOOTSTRAP_NAME:
        raise ValueError(
            f"TRUNKLINE_BOOTSTRAP_KEY is the text of the key {key.id}; choose another text"
        )
    if key.revoked_at_us is not None:
        _change_revoked(book, key, "restore", None)
    return key.id


def _create_key(book: Book, digest: bytes) -> str:
    if book.accounts.find(BOOTSTRAP_ACCOUNT) is None:
        account = book.accounts.create(BOOTSTRAP_ACCOUNT, "", book.now_us)
        book.note_account("create", None, account)
    key_id = make_key_id()
    key = Key(
        id=key_id,
        account_id=BOOTSTRAP_ACCOUNT,
        name=BOOTSTRAP_NAME,
        role="admin",
        prefix="",  # the text may be short: its first characters could be all of it
        models=None,
        expires_at_us=None,
        revoked_at_us=None,
        created_at_us=book.now_us,
        last_used_at_us=None,
        subject_id=key_id,
    )
    book.keys.create(key, digest)
    book.note_key("create", None, key)
    return key_id


def _change_revoked(book: Book, key: Key, action: str, revoked_at_us: int | None) -> None:
    book.keys.change_revoked(key.id, revoked_at_us)
    book.note_key(action, key, msgspec.structs.replace(key, revoked_at_us=revoked_at_us))
