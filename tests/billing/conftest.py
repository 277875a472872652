"""Databases and a billing service on each."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.billing.installation import BOOTSTRAP, Installation, installation
from tests.billing.postgres import Postgres, postgres


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
async def billing(tmp_path: Path, database_url: str) -> AsyncIterator[Installation]:
    """A billing service with a bootstrap key."""
    async with installation(tmp_path, database_url, bootstrap_api_key=BOOTSTRAP) as running:
        yield running
