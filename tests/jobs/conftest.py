"""A job service on each kind of database."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.billing.postgres import Postgres, postgres
from tests.jobs.running import Running, running


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL server."""
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.new_database()


@pytest.fixture
async def jobs(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Running]:
    """A job service without workers."""
    async with running(tmp_path, database_url, redis_url, fetch_allow_private=True) as service:
        yield service
