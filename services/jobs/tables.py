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
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from services.common.database import Serial

MIGRATIONS = Path(__file__).parent / "migrations"

metadata = MetaData()

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
    Column("rank", Integer, nullable=False),
    Column("progress", Float, nullable=False),
    Column("media_id", String(32)),
    Column("url", Text),
    Column("options", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("callback_url", Text, nullable=False),
    Column("quoted_usd", String(32), nullable=False),
    Column("charged_usd", String(32), nullable=False),
    Column("error", Text),
    Column("summary", Text),
    Column("attempts", Integer, nullable=False),
    Column("worker_id", String(32)),
    Column("not_before_ms", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("expires_ms", BigInteger, nullable=False, index=True),
    Column("erasure", Text),
    Index("ix_jobs_listed", "org_id", "sequence", "state"),
    Index("ix_jobs_listed_dialect", "org_id", "dialect", "sequence", "state"),
    Index("ix_jobs_waiting", "state", "org_id", "rank", "sequence"),
    Index("ix_jobs_media_id", "media_id"),
)
"""`rank` is the priority with its sign turned: the lowest is first. `media_id` is the input, also
where it was fetched from `url`. `options`, `metadata`, `summary` and `error` (a JobError) are JSON.
Of what is WORKING, `worker_id` names who has it; what is QUEUED is not handed to the workers before
`not_before_ms`. `erasure` is set once a deletion has begun: the sha256 of each file."""

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

media = Table(
    "media",
    metadata,
    Column("media_id", String(32), primary_key=True),
    Column("org_id", Integer, nullable=False),
    Column("state", Integer, nullable=False),
    Column("file_name", String(255), nullable=False),
    Column("content_type", String(255), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("duration_ms", Integer),
    Column("created_ms", BigInteger, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Index("ix_media_due", "due_ms"),
)
"""`state` is a MediaState. At `due_ms` the row and its file may be swept: what is kept has expired
by then, the upload or the deletion of what is not was interrupted."""

webhooks = Table(
    "webhooks",
    metadata,
    Column("sequence", Serial, primary_key=True),
    Column("webhook_id", String(32), nullable=False, unique=True),
    Column("org_id", Integer, nullable=False),
    Column("url", Text, nullable=False),
    Column("events", Text, nullable=False),
    Column("sealed_secret", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("failing_since_ms", BigInteger),
    Column("created_ms", BigInteger, nullable=False),
    Index("ix_webhooks_listed", "org_id", "sequence"),
)
"""`events` are names with a space between. `failing_since_ms` is that of the first failure after
the last success."""

deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("sequence", Serial, primary_key=True),
    Column("delivery_id", String(32), nullable=False, unique=True),
    Column("org_id", Integer, nullable=False),
    Column("webhook_id", ForeignKey("webhooks.webhook_id", ondelete="CASCADE")),
    Column("job_id", String(32)),
    Column("url", Text),
    Column("endpoint", String(64), nullable=False),
    Column("event", String(64), nullable=False),
    Column("content_type", String(127), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("tries_left", Integer, nullable=False),
    Column("last_status", Integer),
    Column("last_error", String(255), nullable=False),
    Column("delivered", Boolean, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("due_ms", BigInteger),
    Index("ix_webhook_deliveries_due", "due_ms"),
    Index("ix_webhook_deliveries_listed", "webhook_id", "sequence"),
    Index("ix_webhook_deliveries_created_ms", "created_ms"),
)
"""What is or was to be sent: to a webhook, or to the `url` that a job was given. `endpoint` is what
shares a place in the queue. At `due_ms` it is tried, or taken from who died trying; never where it
is null."""
