"""The database: migrated once, locked, down, back."""

import asyncio
import os
import sqlite3
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect

from affectmesh.v1 import billing_pb2 as pb
from services.billing.tables import MIGRATIONS, metadata
from services.common import errors
from services.common.database import Database
from tests.billing.installation import BOOTSTRAP, entry, installation
from tests.billing.postgres import Postgres


async def test_services_that_start_at_once_migrate_once(tmp_path: Path, database_url: str) -> None:
    opened = await asyncio.gather(*(Database.open(database_url, MIGRATIONS) for _ in range(4)))
    for database in opened:
        await database.close()


async def test_processes_that_start_at_once_migrate_once(tmp_path: Path, database_url: str) -> None:
    program = (
        "import asyncio, sys; from services.common.database import Database; "
        "from services.billing.tables import MIGRATIONS; "
        "asyncio.run(Database.open(sys.argv[1], MIGRATIONS))"
    )
    started = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, database_url)
        for _ in range(3)
    ]
    assert [await process.wait() for process in started] == [0, 0, 0]


async def test_the_migrations_make_the_tables_that_the_code_knows(tmp_path: Path) -> None:
    path = tmp_path / "affectmesh.db"
    await (await Database.open(f"sqlite+aiosqlite:///{path}", MIGRATIONS)).close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "billing_version"})
        assert compare_metadata(context, metadata) == []
        assert "billing_version" in inspect(connection).get_table_names()
    engine.dispose()


async def test_a_locked_database_is_a_503_and_usage_is_kept_for_later(tmp_path: Path) -> None:
    path = tmp_path / "affectmesh.db"
    async with installation(
        tmp_path, f"sqlite+aiosqlite:///{path}", bootstrap_api_key=BOOTSTRAP
    ) as billing:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(errors.Unavailable, match="records") as refused:
            await billing.record(entry("r1", 1))
        assert refused.value.details["retry_after"]
        assert (await billing.authenticate(BOOTSTRAP)).org_id == 1
        other.execute("ROLLBACK")
        other.close()
        assert await billing.record(entry("r1", 1)) == 1


@pytest.mark.slow
async def test_a_postgresql_that_dies_and_comes_back_needs_no_restart(
    tmp_path: Path, postgres_server: Postgres
) -> None:
    url = postgres_server.new_database()
    async with installation(tmp_path, url, bootstrap_api_key=BOOTSTRAP) as billing:
        assert await billing.record(entry("r1", 1)) == 1
        postgres_server.stop()
        try:
            for _ in range(2):
                with pytest.raises(errors.Unavailable):
                    await billing.record(entry("r2", 1))
                with pytest.raises(errors.Unavailable):
                    await billing.authenticate(BOOTSTRAP)
        finally:
            postgres_server.start()
        assert await billing.record(entry("r1", 1), entry("r2", 1)) == 1
        usage = await billing.call("GetUsage", pb.GetUsageRequest(org_id=1))
        assert usage.total_analyses == 2


async def test_callers_that_go_away_leave_the_records_whole_and_free(
    tmp_path: Path, database_url: str
) -> None:
    async with installation(tmp_path, database_url) as billing:
        org_id = (await billing.organization()).org_id
        for round_ in range(40):
            entries = [entry(f"r{round_}-{i}", org_id) for i in range(200)]
            leaving = asyncio.create_task(billing.record(*entries))
            await asyncio.sleep(0.0005 * round_)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            await billing.record(*entries)
        usage = await billing.call("GetUsage", pb.GetUsageRequest(org_id=org_id))
        assert usage.total_analyses == 40 * 200


async def test_records_and_secret_key_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "affectmesh.db"
    async with installation(tmp_path, f"sqlite+aiosqlite:///{path}"):
        with os.scandir(tmp_path) as files:
            modes = {file.name: file.stat().st_mode & 0o077 for file in files}
    assert {"affectmesh.db", "affectmesh.db-wal", "secret.key"} <= set(modes)
    del modes["affectmesh.db.migration-lock"]
    assert set(modes.values()) == {0}
