"""Making keys: their random text, their hash, and their row in the store."""

import hmac
import secrets
from typing import Final

import msgspec

from trunkline.access.credential import normalise_text
from trunkline.access.wish import (
    check_accounts,
    check_expiry,
    check_key_name,
    check_models,
    check_terms,
)
from trunkline.store.key import Key, Role
from trunkline.store.store import Store
from trunkline.terms import NO_TERMS, Terms

KEY_BYTES_LIMIT: Final = 512
"""A longer text is no key: it is refused without being hashed."""

_MARK: Final = "tl-"

SHOWN_CHARACTERS: Final = len(_MARK) + 8
"""How much of a key's text is kept, to be shown in lists: 48 of its 256 random bits."""


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator wants of a new key; see ``Key`` for the fields."""

    account_id: str
    name: str = ""
    role: Role = "member"
    models: tuple[str, ...] | None = None
    expires_at_us: int | None = None
    accounts: tuple[str, ...] = ()
    terms: Terms = NO_TERMS


def hash_key(pepper: bytes, key: bytes) -> bytes:
    """The 32 bytes under which a key is stored and found: HMAC-SHA-256 with the pepper."""
    return hmac.digest(pepper, key, "sha256")


def make_key_text() -> str:
    """A new key: ``tl-`` and 256 random bits in 43 characters that are safe in a URL."""
    return f"{_MARK}{secrets.token_urlsafe(32)}"


def make_key_id() -> str:
    """A new key's id: not secret, never used again."""
    return f"key_{secrets.token_hex(12)}"


def draft_key(new: NewKey, now_us: int) -> tuple[str, Key]:
    """The text and the row of a key that is still to be stored.

    Raises:
        ValueError: the name is reserved or cannot be printed, a model pattern is empty, the terms
            are too large, or the key would expire before it is made.
    """
    check_key_name(new.name)
    check_models(new.models)
    check_accounts(new.accounts)
    check_expiry(new.expires_at_us, now_us)
    check_terms(new.terms)
    text, key_id = make_key_text(), make_key_id()
    key = Key(
        id=key_id,
        account_id=new.account_id,
        name=new.name,
        role=new.role,
        prefix=text[:SHOWN_CHARACTERS],
        models=new.models,
        expires_at_us=new.expires_at_us,
        revoked_at_us=None,
        created_at_us=now_us,
        last_used_at_us=None,
        subject_id=key_id,
        accounts=tuple(sorted({*new.accounts} - {new.account_id})),
        terms=new.terms,
    )
    return text, key


def create_key(store: Store, pepper: bytes, new: NewKey, now_us: int) -> tuple[str, Key]:
    """Make a key and store its hash; returns its text, which nothing can show again, and its row.

    For keys that no operator asked for: those go through the roster, which notes them.

    Raises:
        AccountUnknownError: an account of the key does not exist.
        ValueError: as ``draft_key``.
    """
    text, key = draft_key(new, now_us)
    store.keys.create(key, hash_key(pepper, text.encode()))
    return text, key


def read_operator_key(text: str) -> bytes:
    """A key that the operator chose, in the form in which it arrives in a header.

    Raises:
        ValueError: no header could carry it; the message does not show it.
    """
    key = normalise_text(text.strip().encode("utf-8", "surrogateescape"))
    if not key:
        raise ValueError("a key cannot be empty")
    if len(key) > KEY_BYTES_LIMIT:
        raise ValueError(f"a key has at most {KEY_BYTES_LIMIT} bytes")
    if not key.decode().isprintable():
        raise ValueError("a key is one line of printable characters")
    return key
