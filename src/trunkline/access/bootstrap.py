"""The bootstrap key: one admin key whose text the operator sets in the environment."""

from contextlib import suppress
from typing import Final

from trunkline.access.key import BOOTSTRAP_NAME, hash_key, make_key_id, read_operator_key
from trunkline.store.account import AccountExistsError
from trunkline.store.key import Key, KeyExistsError
from trunkline.store.store import Store

BOOTSTRAP_ACCOUNT: Final = "default"


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
    current = None
    if key_text and key_text.strip():
        digest = hash_key(pepper, read_operator_key(key_text))
        current = _ensure_key(store, digest, now_us)
    for key in store.keys.list(BOOTSTRAP_ACCOUNT):
        if key.name == BOOTSTRAP_NAME and key.id != current and key.revoked_at_us is None:
            store.keys.change_revoked(key.id, now_us)


def _ensure_key(store: Store, digest: bytes, now_us: int) -> str:
    """The id of the key with this hash, created or brought back where needed."""
    # Either may exist: from an earlier start, or made by another worker a moment ago.
    with suppress(AccountExistsError):
        store.accounts.create(BOOTSTRAP_ACCOUNT, "", now_us)
    with suppress(KeyExistsError):
        store.keys.create(_make_key(now_us), digest)
    (match,) = store.keys.find_by_hash([digest])
    if match.key.name != BOOTSTRAP_NAME:
        raise ValueError(
            f"TRUNKLINE_BOOTSTRAP_KEY is the text of the key {match.key.id}; choose another text"
        )
    if match.key.revoked_at_us is not None:
        store.keys.change_revoked(match.key.id, None)
    return match.key.id


def _make_key(now_us: int) -> Key:
    return Key(
        id=make_key_id(),
        account_id=BOOTSTRAP_ACCOUNT,
        name=BOOTSTRAP_NAME,
        role="admin",
        prefix="",  # the text may be short: its first characters could be all of it
        models=None,
        expires_at_us=None,
        revoked_at_us=None,
        created_at_us=now_us,
        last_used_at_us=None,
    )
