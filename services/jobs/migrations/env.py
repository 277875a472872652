"""Runs the migrations on the connection that `services.common.database` hands over."""

from alembic import context

from services.jobs.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="jobs_version",
)
context.run_migrations()
