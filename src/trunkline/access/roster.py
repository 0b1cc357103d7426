"""The roster: the one place where an operator changes accounts and keys, and each change noted."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from trunkline.access.book import Book, KeyUnknownError
from trunkline.access.key import NewKey, draft_key, hash_key
from trunkline.access.pepper import PEPPER_BYTES
from trunkline.access.wish import (
    BOOTSTRAP_NAME,
    check_accounts,
    check_expiry,
    check_key_name,
    check_models,
    check_terms,
)
from trunkline.store.account import Account, Status
from trunkline.store.key import Key
from trunkline.store.store import Store
from trunkline.terms import AccountTerms, Terms

__all__ = ["OVERLAP_MOST_S", "AccountChange", "KeyChange", "KeyUnknownError", "Roster"]

Result = TypeVar("Result")

OVERLAP_MOST_S: Final = 366 * 86_400


class KeyChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator wants to be different of a key; what is not set stays.

    Fields as in ``NewKey``; account and role are not among them, for they never change.
    """

    name: str | UnsetType = UNSET
    models: tuple[str, ...] | UnsetType | None = UNSET
    expires_at_us: int | UnsetType | None = UNSET
    accounts: tuple[str, ...] | UnsetType = UNSET
    terms: Terms | UnsetType = UNSET


class AccountChange(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator wants to be different of an account; None stays."""

    name: str | None = None
    status: Status | None = None
    terms: AccountTerms | None = None


class Roster:
    """Accounts and keys as one actor changes them; each change and its audit entry in one write.

    Args:
        store: where they are kept; used at once, so not from an event loop's own thread.
        pepper: 32 bytes; empty for a roster that makes no keys.
        actor: who acts: the id of an admin key, or ``cli:`` and a login name.
        clock: microseconds since 1970, UTC.

    Raises:
        ValueError: the actor is not a line of text.
    """

    def __init__(self, store: Store, pepper: bytes, actor: str, clock: Callable[[], int]) -> None:
        if not (actor and actor.isprintable()):
            raise ValueError("an actor is named by a line of printable characters")
        self._store = store
        self._pepper = pepper
        self._actor = actor
        self._clock = clock

    def create_account(self, account_id: str, name: str, terms: AccountTerms) -> Account:
        """Add an active account.

        Raises:
            AccountExistsError: the id is taken.
            ValueError: the id, the name or the terms cannot be.
        """
        check_terms(terms)

        def create(book: Book) -> Account:
            account = book.accounts.create(account_id, name, book.now_us, terms)
            book.note_account("create", None, account)
            return account

        return self._apply(create)

    def change_account(
        self,
        account_id: str,
        *,
        name: str | None = None,
        status: Status | None = None,
        terms: AccountTerms | None = None,
    ) -> Account:
        """Change what is given of an account, and return it as it is then.

        Raises:
            AccountUnknownError: there is no such account.
            ValueError: the name or the terms cannot be.
        """
        change = AccountChange(name=name, status=status, terms=terms)
        return self.edit_account(account_id, lambda _: change)

    def edit_account(self, account_id: str, decide: Callable[[Account], AccountChange]) -> Account:
        """As ``change_account``, with a change that depends on how the account is in that moment.

        ``decide`` may be asked several times.
        """

        def change_row(book: Book) -> Account:
            before = book.require_account(account_id)
            change = decide(before)
            if change.terms is not None:
                check_terms(change.terms)
            after = book.accounts.change(account_id, **msgspec.structs.asdict(change))
            if after != before:
                book.note_account("change", before, after)
            return after

        return self._apply(change_row)

    def create_key(self, new: NewKey) -> tuple[str, Key]:
        """Make a key; returns its text, which nothing can show again, and its row.

        Raises:
            AccountUnknownError: an account of the key does not exist.
            ValueError: the wish cannot be fulfilled; the message says why.
        """

        def create(book: Book) -> tuple[str, Key]:
            return self._add_key(book, *draft_key(new, book.now_us))

        return self._apply(create)

    def change_key(self, key_id: str, change: KeyChange) -> Key:
        """Change what is given of a key, and return it as it is then.

        Keys of one chain of rotations use the same limits and budgets, so new terms count for all
        of them that are not revoked.

        Raises:
            AccountUnknownError: an account of the key does not exist.
            KeyUnknownError: there is no such key.
            ValueError: the key cannot be changed, or not like this; the message says why.
        """
        return self.edit_key(key_id, lambda _: change)

    def edit_key(self, key_id: str, decide: Callable[[Key], KeyChange]) -> Key:
        """As ``change_key``, with a change that depends on how the key is in that moment.

        ``decide`` may be asked several times.
        """

        def change_row(book: Book) -> Key:
            before = book.require_key(key_id)
            _require_changeable(before)
            after = _change_key(before, decide(before), book.now_us)
            self._change_row(book, before, after)
            for other in book.keys.list_chain(before.subject_id):
                if other.id != key_id and other.revoked_at_us is None:
                    self._change_row(book, other, msgspec.structs.replace(other, terms=after.terms))
            return after

        return self._apply(change_row)

    def rotate_key(self, key_id: str, overlap_s: int) -> tuple[str, Key]:
        """Make the successor of a key; returns its text, which nothing can show again, and its row.

        The successor has the old key's account, role, name, models, accounts, terms and expiry,
        and goes on with its limits and budgets as they stand.

        Args:
            key_id: the old key's.
            overlap_s: how long the old key goes on beside the new one, unless it expires before;
                0 to end it at once.

        Raises:
            KeyUnknownError: there is no such key.
            ValueError: the key cannot be rotated, or the overlap cannot be; the message says why.
        """
        if not 0 <= overlap_s <= OVERLAP_MOST_S:
            raise ValueError("the overlap of a rotation is from 0 seconds to 366 days")

        def rotate(book: Book) -> tuple[str, Key]:
            old = book.require_key(key_id)
            chain = book.keys.list_chain(old.subject_id)
            _require_rotatable(old, chain, book.now_us)
            # Even where clocks went back, the newest of a chain is the one made last.
            made_at_us = max(book.now_us, *(key.created_at_us + 1 for key in chain))
            text, draft = draft_key(_describe_wish(old), made_at_us)
            new = msgspec.structs.replace(draft, subject_id=old.subject_id)
            ends_at_us = book.now_us + overlap_s * 1_000_000
            if old.expires_at_us is not None:
                ends_at_us = min(ends_at_us, old.expires_at_us)
            ended = msgspec.structs.replace(old, expires_at_us=ends_at_us)
            book.keys.change(ended)
            book.note_key("rotate", old, ended, new)
            return self._add_key(book, text, new)

        return self._apply(rotate)

    def revoke_key(self, key_id: str) -> Key:
        """Stop a key for good, and return it as it is then; a second time changes nothing.

        Raises:
            KeyUnknownError: there is no such key.
        """

        def revoke(book: Book) -> Key:
            before = book.require_key(key_id)
            if before.revoked_at_us is not None:
                return before
            after = msgspec.structs.replace(before, revoked_at_us=book.now_us)
            book.keys.change_revoked(key_id, book.now_us)
            book.note_key("revoke", before, after)
            return after

        return self._apply(revoke)

    def _apply(self, action: Callable[[Book], Result]) -> Result:
        return self._store.database.apply(
            lambda connection: action(Book(connection, self._actor, self._clock()))
        )

    def _add_key(self, book: Book, text: str, key: Key) -> tuple[str, Key]:
        if len(self._pepper) != PEPPER_BYTES:
            raise ValueError(f"keys are made with a pepper of {PEPPER_BYTES} bytes")
        book.keys.create(key, hash_key(self._pepper, text.encode()))
        book.note_key("create", None, key)
        return text, key

    def _change_row(self, book: Book, before: Key, after: Key) -> None:
        if after != before:
            book.keys.change(after)
            book.note_key("change", before, after)


def _require_changeable(key: Key) -> None:
    if key.name == BOOTSTRAP_NAME:
        raise ValueError(
            f"the key {key.id} is that of TRUNKLINE_BOOTSTRAP_KEY; it is set where the gateway is "
            "started, and its account's limits and budgets count for it"
        )
    if key.revoked_at_us is not None:
        raise ValueError(f"the key {key.id} is revoked, which is for good; create a new one")


def _require_rotatable(key: Key, chain: Sequence[Key], now_us: int) -> None:
    _require_changeable(key)
    if _is_expired(key, now_us):
        raise ValueError(f"the key {key.id} has expired; create a new one, or change its expiry")
    for other in reversed(chain):
        is_newer = other.created_at_us > key.created_at_us
        if is_newer and other.revoked_at_us is None and not _is_expired(other, now_us):
            raise ValueError(f"the key {key.id} was rotated already; rotate {other.id} instead")


def _is_expired(key: Key, now_us: int) -> bool:
    return key.expires_at_us is not None and key.expires_at_us <= now_us


def _change_key(key: Key, change: KeyChange, now_us: int) -> Key:
    """The key with the changes; checks only what is changed, for time may have passed the rest."""
    if change.name is not UNSET:
        check_key_name(change.name)
    if change.models is not UNSET:
        check_models(change.models)
    if change.expires_at_us is not UNSET and change.expires_at_us != key.expires_at_us:
        check_expiry(change.expires_at_us, now_us)
    if change.terms is not UNSET:
        check_terms(change.terms)
    wanted = {
        name: value for name, value in msgspec.structs.asdict(change).items() if value is not UNSET
    }
    if change.accounts is not UNSET:
        check_accounts(change.accounts)
        wanted["accounts"] = tuple(sorted({*change.accounts} - {key.account_id}))
    return msgspec.structs.replace(key, **wanted)


def _describe_wish(key: Key) -> NewKey:
    """What an operator would have to want of a new key to get one like this."""
    return NewKey(**{name: getattr(key, name) for name in NewKey.__struct_fields__})
