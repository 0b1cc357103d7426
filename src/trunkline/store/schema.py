"""The tables of the store, as one SQLAlchemy metadata, and the revision that they stand for.

A change here needs a new file in ``migrations/versions`` and its number in ``REVISION``; a test
proves that the migrations lead to exactly these tables. Times are integers: microseconds since
1970, UTC, so that no database and no driver can read them in a time zone of its own.
"""

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

REVISION: Final = "0002"
"""The newest migration: a database with this stamp is opened without loading Alembic."""

METADATA: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

ACCOUNTS: Final = Table(
    "accounts",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("terms", JSON(none_as_null=True)),
    CheckConstraint("status IN ('active', 'suspended')", name="status"),
)

KEYS: Final = Table(
    "keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("models", JSON(none_as_null=True)),
    Column("expires_at_us", BigInteger),
    Column("revoked_at_us", BigInteger),
    Column("created_at_us", BigInteger, nullable=False),
    Column("last_used_at_us", BigInteger),
    Column("terms", JSON(none_as_null=True)),
    Column("subject_id", Text),
    CheckConstraint("role IN ('admin', 'member')", name="role"),
    Index("ix_keys_account_id", "account_id"),
)
"""``subject_id`` is null unless the key came by rotation: then the first key of its chain."""

KEY_ACCOUNTS: Final = Table(
    "key_accounts",
    METADATA,
    Column("key_id", Text, ForeignKey("keys.id", ondelete="CASCADE"), primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Index("ix_key_accounts_account_id", "account_id"),
)

_TOKENS: Final = (
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
)


def _make_token_columns() -> list[Column[int]]:
    """What was used, by kind; a column belongs to one table, so each has its own."""
    return [Column(name, BigInteger, nullable=False) for name in _TOKENS]


def _make_window_columns() -> list[Column[Any]]:
    """What names one period of one budget."""
    names = ("kind", "subject_id", "unit", "period")
    starts = Column("starts_at_us", BigInteger, primary_key=True, autoincrement=False)
    return [*(Column(name, Text, primary_key=True) for name in names), starts]


# Nothing below refers to an account or a key: what was used stays known without them.

ENTRIES: Final = Table(
    "entries",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("account_id", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("finish_reason", Text, nullable=False),
    Column("changes", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("usage_source", Text, nullable=False),
    *_make_token_columns(),
    Column("cost_micros", BigInteger),
    Column("queue_us", BigInteger, nullable=False),
    Column("first_token_us", BigInteger),
    Column("total_us", BigInteger, nullable=False),
    Index("ix_entries_at_us", "at_us"),
    Index("ix_entries_account_id", "account_id", "at_us"),
)
"""A call each. ``cost_micros`` is null for what has no price."""

ATTEMPTS: Final = Table(
    "attempts",
    METADATA,
    Column("entry_id", Text, ForeignKey("entries.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("target", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("finish_reason", Text, nullable=False),
    Column("usage_source", Text, nullable=False),
    *_make_token_columns(),
    Column("cost_micros", BigInteger),
    Column("first_token_us", BigInteger),
    Column("total_us", BigInteger, nullable=False),
)
"""A try at a target each, numbered from 1."""

USAGE_DAYS: Final = Table(
    "usage_days",
    METADATA,
    Column("day", Integer, primary_key=True),
    Column("account_id", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    Column("failed_calls", BigInteger, nullable=False),
    Column("unpriced_calls", BigInteger, nullable=False),
    Column("unknown_calls", BigInteger, nullable=False),
    *_make_token_columns(),
    Column("cost_micros", BigInteger, nullable=False),
    Index("ix_usage_days_account_id", "account_id", "day"),
)
"""The sums of the entries of a day (days since 1970, UTC); kept longer than the entries."""

JOURNALS: Final = Table(
    "journals",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("changed_at_us", BigInteger, nullable=False),
)
"""How far each journal has been shipped: what makes shipping happen exactly once."""

BUDGET_WINDOWS: Final = Table(
    "budget_windows",
    METADATA,
    *_make_window_columns(),
    Column("spent", BigInteger, nullable=False),
)
"""What shipped entries have used of a budget in one of its periods."""

LEASES: Final = Table(
    "leases",
    METADATA,
    Column("journal_id", Text, primary_key=True),
    *_make_window_columns(),
    Column("granted", BigInteger, nullable=False),
    Column("taken", BigInteger, nullable=False, default=0),
    Index("ix_leases_subject_id", "kind", "subject_id", "unit", "period", "starts_at_us"),
)
"""What a worker has taken of a window and not yet spent by a shipped entry or given back.

``taken`` is the same before what shipped entries spent: the worker's own count, in which it finds
out what became of a write whose answer was lost.
"""

AUDIT: Final = Table(
    "audit",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("before", JSON(none_as_null=True)),
    Column("after", JSON(none_as_null=True)),
    Index("ix_audit_at_us", "at_us"),
)
"""What operators changed of accounts and keys; never a secret."""

STAMP: Final = Table(
    "alembic_version",
    MetaData(),
    # Names and shape are Alembic's own: it finds its table where it expects it.
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
