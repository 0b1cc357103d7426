"""The tables of the store, as one SQLAlchemy metadata, and the revision that they stand for.

A change here needs a new file in ``migrations/versions`` and its number in ``REVISION``; a test
proves that the migrations lead to exactly these tables. Times are integers: microseconds since
1970, UTC, so that no database and no driver can read them in a time zone of its own.
"""

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

REVISION: Final = "0001"
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
    CheckConstraint("role IN ('admin', 'member')", name="role"),
    Index("ix_keys_account_id", "account_id"),
)

KEY_ACCOUNTS: Final = Table(
    "key_accounts",
    METADATA,
    Column("key_id", Text, ForeignKey("keys.id", ondelete="CASCADE"), primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Index("ix_key_accounts_account_id", "account_id"),
)

STAMP: Final = Table(
    "alembic_version",
    MetaData(),
    # Names and shape are Alembic's own: it finds its table where it expects it.
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
