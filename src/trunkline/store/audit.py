"""The audit: what was changed of accounts and keys, by whom, and when; never a secret."""

import secrets
from typing import Any

import msgspec
from sqlalchemy import insert, select

from trunkline.store.database import Database
from trunkline.store.page import Page
from trunkline.store.schema import AUDIT
from trunkline.store.transaction import Transaction
from trunkline.terms import Kind


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one account or key.

    ``actor`` is the id of the admin key that asked for it, ``cli:`` and a login name, or
    ``environment``; ``before`` and ``after`` are the whole subject as plain JSON, ``before`` None
    where it was created. ``at_us`` is microseconds since 1970, UTC.
    """

    id: str
    at_us: int
    actor: str
    action: str
    kind: Kind
    subject_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def make_audit_id() -> str:
    """A new entry's id, never used again."""
    return f"audit_{secrets.token_hex(12)}"


class Audit:
    """The audit of one database; it only grows.

    Args:
        database: where it is kept; a transaction, for an entry beside the change it is about.
    """

    def __init__(self, database: Database | Transaction) -> None:
        self._database = database

    def create(self, entry: AuditEntry) -> None:
        """Add an entry."""
        addition = insert(AUDIT).values(msgspec.structs.asdict(entry))
        self._database.apply(lambda connection: connection.execute(addition))

    def list(
        self,
        after: str | None = None,
        limit: int | None = None,
        *,
        kind: Kind | None = None,
        subject_id: str | None = None,
    ) -> list[AuditEntry]:
        """The entries, newest first.

        Args:
            after: the id of the last entry of the page before; None for the first page.
            limit: how many at most; None for all.
            kind: only those about accounts, or about keys.
            subject_id: only those about this account or key.

        Raises:
            CursorUnknownError: there is no entry with the id ``after``.
            ValueError: the limit is less than 1.
        """
        page = Page(after, limit)
        query = select(AUDIT)
        if kind is not None:
            query = query.where(AUDIT.c.kind == kind)
        if subject_id is not None:
            if not subject_id.isprintable():
                return []
            query = query.where(AUDIT.c.subject_id == subject_id)
        with self._database.read() as connection:
            query = page.cut(connection, query, AUDIT, "at_us", newest=True)
            return [AuditEntry(**row) for row in connection.execute(query).mappings()]
