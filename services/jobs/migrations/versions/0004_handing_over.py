"""What was handed over is known to the dispatcher alone."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.drop_index("ix_jobs_handed", "jobs")
    op.drop_column("jobs", "handed_ms")
