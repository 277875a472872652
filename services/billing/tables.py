"""The tables. Times are milliseconds since 1970 UTC, money and quantities are millionths."""

from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from services.common.database import Serial

MIGRATIONS = Path(__file__).parent / "migrations"

metadata = MetaData()

organizations = Table(
    "organizations",
    metadata,
    Column("org_id", Integer, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("plan", String(32), nullable=False),
    Column("jurisdiction", String(2), nullable=False),
    Column("use_context", String(64), nullable=False),
    Column("thresholds", Text, nullable=False),
    Column("custom_minute", Integer),
    Column("custom_burst", Integer),
    Column("custom_day", Integer),
    Column("created_ms", BigInteger, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("user_id", String(32), primary_key=True),
    Column("org_id", ForeignKey("organizations.org_id"), nullable=False, index=True),
    Column("email", String(254), nullable=False, unique=True),
    Column("role", Integer, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("user_id", ForeignKey("users.user_id"), nullable=False, index=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False, index=True),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", String(32), primary_key=True),
    Column("org_id", ForeignKey("organizations.org_id"), nullable=False, index=True),
    Column("name", String(200), nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("secret_hash", String(64), nullable=False, unique=True),
    Column("rate_limit_per_minute", Integer),
    Column("scopes", Text, nullable=False),
    Column("test_mode", Boolean, nullable=False),
    Column("bootstrap", Boolean, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("last_used_ms", BigInteger),
    Column("expires_ms", BigInteger),
    Column("revoked_ms", BigInteger),
)

oauth_clients = Table(
    "oauth_clients",
    metadata,
    Column("client_id", String(32), primary_key=True),
    Column("org_id", ForeignKey("organizations.org_id"), nullable=False, index=True),
    Column("name", String(200), nullable=False),
    Column("secret_hash", String(64), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", String(64), primary_key=True),
    Column("sealed", Text, nullable=False),
    Column("public", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False, index=True),
)

usage_entries = Table(
    "usage_entries",
    metadata,
    Column("entry_id", Serial, primary_key=True),
    Column("org_id", Integer, nullable=False),
    Column("request_id", String(200), nullable=False),
    Column("principal_id", String(32), nullable=False),
    Column("item", String(64), nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("unit_price", BigInteger, nullable=False),
    Column("test_mode", Boolean, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    UniqueConstraint("org_id", "request_id"),
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("org_id", Integer, primary_key=True, autoincrement=False),
    Column("day", String(10), primary_key=True),
    Column("item", String(64), primary_key=True),
    Column("unit_price", BigInteger, primary_key=True, autoincrement=False),
    Column("quantity", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
)
"""Sums of usage_entries, kept in the same transaction; a month is at most 31 days of them."""

usage_crossings = Table(
    "usage_crossings",
    metadata,
    Column("sequence", Serial, primary_key=True),
    Column("org_id", Integer, nullable=False),
    Column("month", String(7), nullable=False),
    Column("threshold", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("crossed_ms", BigInteger, nullable=False),
    UniqueConstraint("org_id", "month", "threshold"),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("sequence", Serial, primary_key=True, autoincrement=False),
    Column("org_id", Integer, nullable=False, index=True),
    Column("actor", String(254), nullable=False),
    Column("action", String(64), nullable=False),
    Column("resource", String(254), nullable=False),
    Column("details", Text, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)
"""Triggers refuse UPDATE and DELETE."""

deletion_receipts = Table(
    "deletion_receipts",
    metadata,
    Column("receipt_id", String(32), primary_key=True),
    Column("org_id", Integer, nullable=False),
    Column("resource", String(254), nullable=False),
    Column("sha256", Text, nullable=False),
    Column("deleted_ms", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)
