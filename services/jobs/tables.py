"""The tables. Times are milliseconds since 1970 UTC; enums are the numbers of the contract."""

from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

MIGRATIONS = Path(__file__).parent / "migrations"

metadata = MetaData()

Serial = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows only in a column of type INTEGER."""

jobs = Table(
    "jobs",
    metadata,
    Column("sequence", Serial, primary_key=True),
    Column("job_id", String(32), nullable=False, unique=True),
    Column("org_id", Integer, nullable=False),
    Column("principal_id", String(32), nullable=False),
    Column("plan", String(32), nullable=False),
    Column("test_mode", Boolean, nullable=False),
    Column("consent_reference", String(128), nullable=False),
    Column("dialect", Integer, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("state", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("progress", Float, nullable=False),
    Column("media_id", String(32)),
    Column("url", Text),
    Column("options", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("callback_url", Text, nullable=False),
    Column("quoted_usd", String(32), nullable=False),
    Column("charged_usd", String(32), nullable=False),
    Column("error", Text),
    Column("attempts", Integer, nullable=False),
    Column("worker_id", String(32)),
    Column("handed_ms", BigInteger),
    Column("not_before_ms", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("expires_ms", BigInteger, nullable=False, index=True),
    Index("ix_jobs_listed", "org_id", "sequence", "state"),
    Index("ix_jobs_listed_dialect", "org_id", "dialect", "sequence", "state"),
    Index("ix_jobs_waiting", "state", "org_id", "priority", "sequence"),
    Index("ix_jobs_media_id", "media_id"),
)
"""Of what is WORKING, `worker_id` names who has it. A QUEUED job with `handed_ms` is in the stream.
`error` is a JobError in JSON. `metadata` and `options` are JSON objects."""

idempotency_keys = Table(
    "job_idempotency_keys",
    metadata,
    Column("org_id", Integer, primary_key=True, autoincrement=False),
    Column("key", String(255), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("job_id", ForeignKey("jobs.job_id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_ms", BigInteger, nullable=False, index=True),
)
"""`digest` is the sha256 of the request that the key came with."""

representations = Table(
    "job_representations",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("content_type", String(255), nullable=False),
    Column("file_name", String(255), nullable=False),
    Column("media_id", String(32), nullable=False, index=True),
)

annotations = Table(
    "job_annotations",
    metadata,
    Column("sequence", Serial, primary_key=True),
    Column("annotation_id", String(32), nullable=False, unique=True),
    Column("job_id", ForeignKey("jobs.job_id", ondelete="CASCADE"), nullable=False),
    Column("entry", String(8), nullable=False),
    Column("key", String(255), nullable=False),
    Column("value", String(255), nullable=False),
    Column("source", String(255), nullable=False),
    Column("author", String(32), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Index("ix_job_annotations_entry", "job_id", "entry", "sequence"),
)

workers = Table(
    "job_workers",
    metadata,
    Column("worker_id", String(32), primary_key=True),
    Column("slots", Integer, nullable=False),
    Column("beats", BigInteger, nullable=False),
)
"""Every worker that lives: one whose `beats` no longer rise is dead."""

usage = Table(
    "job_usage",
    metadata,
    Column("job_id", String(32), primary_key=True),
    Column("org_id", Integer, nullable=False),
    Column("principal_id", String(32), nullable=False),
    Column("item", String(64), nullable=False),
    Column("quantity", String(32), nullable=False),
    Column("test_mode", Boolean, nullable=False),
    Column("consent_reference", String(128), nullable=False),
    Column("time_ms", BigInteger, nullable=False),
)
"""Usage that billing has not entered yet: written with the end of its job, sent on by the service,
which may send an entry twice since billing enters each job once."""

crossings = Table(
    "job_crossings",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("published_ms", BigInteger, nullable=False),
)
"""The usage thresholds of billing that webhooks were told of."""
