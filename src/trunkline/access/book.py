"""The book: accounts, keys and the audit within one write, so that no change goes unnoted."""

from typing import Any

import msgspec
from sqlalchemy import Connection

from trunkline.store.account import Account, Accounts, AccountUnknownError
from trunkline.store.audit import Audit, AuditEntry, make_audit_id
from trunkline.store.key import Key, Keys
from trunkline.store.transaction import Transaction
from trunkline.terms import Kind


class KeyUnknownError(LookupError):
    """There is no key with this id."""

    def __init__(self) -> None:
        # What was asked for is not repeated: it may be a whole key.
        super().__init__("there is no key with this id")


class Book:
    """What one action changes, and its entries in the audit.

    Args:
        connection: that of a write.
        actor: who acts, as ``AuditEntry`` says.
        now_us: when, in microseconds since 1970.
    """

    def __init__(self, connection: Connection, actor: str, now_us: int) -> None:
        transaction = Transaction(connection)
        self.accounts = Accounts(transaction)
        self.keys = Keys(transaction)
        self.now_us = now_us
        self._audit = Audit(transaction)
        self._actor = actor

    def require_account(self, account_id: str) -> Account:
        """The account with this id.

        Raises:
            AccountUnknownError: there is none.
        """
        account = self.accounts.find(account_id)
        if account is None:
            raise AccountUnknownError(account_id)
        return account

    def require_key(self, key_id: str) -> Key:
        """The key with this id.

        Raises:
            KeyUnknownError: there is none.
        """
        key = self.keys.find(key_id)
        if key is None:
            raise KeyUnknownError
        return key

    def note_account(self, action: str, before: Account | None, after: Account) -> None:
        """Enter what an action did to an account."""
        then = None if before is None else describe_account(before)
        self._note("account", action, after.id, then, describe_account(after))

    def note_key(
        self, action: str, before: Key | None, after: Key, successor: Key | None = None
    ) -> None:
        """Enter what an action did to a key; ``successor`` is the key that it was rotated to."""
        then = None if before is None else describe_key(before)
        now = describe_key(after)
        if successor is not None:
            now["successor_id"] = successor.id
        self._note("key", action, after.id, then, now)

    def _note(
        self,
        kind: Kind,
        action: str,
        subject_id: str,
        before: dict[str, Any] | None,
        after: dict[str, Any],
    ) -> None:
        entry = AuditEntry(
            id=make_audit_id(),
            at_us=self.now_us,
            actor=self._actor,
            action=f"{kind}.{action}",
            kind=kind,
            subject_id=subject_id,
            before=before,
            after=after,
        )
        self._audit.create(entry)


def describe_account(account: Account) -> dict[str, Any]:
    """An account as plain JSON for the audit."""
    return {
        "name": account.name,
        "status": account.status,
        "terms": msgspec.to_builtins(account.terms),
    }


def describe_key(key: Key) -> dict[str, Any]:
    """A key as plain JSON for the audit: nothing of its text, not even what lists show."""
    return {
        "account_id": key.account_id,
        "role": key.role,
        "name": key.name,
        "models": None if key.models is None else list(key.models),
        "accounts": list(key.accounts),
        "expires_at_us": key.expires_at_us,
        "revoked_at_us": key.revoked_at_us,
        "subject_id": key.subject_id,
        "terms": msgspec.to_builtins(key.terms),
    }
