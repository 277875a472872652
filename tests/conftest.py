"""Real parts that every test may use."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from redis import Redis
from redis.exceptions import ConnectionError as NotServing

from services.mesh.plans import redis_plan
from services.mesh.temporary import TemporaryMesh
from tests.billing.postgres import Postgres, postgres

_DAY_S = 24 * 60 * 60
_LONG_S = 30
"""Longer than nearly every test."""

settings.register_profile(
    "patient",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("patient")
"""A busy machine does not make a property false, and every run tries the same examples."""


@pytest.fixture(autouse=True)
def one_day() -> None:
    """Lets midnight UTC pass where it is near: a new day's allowance, a new month's usage."""
    left_s = _DAY_S - time.time() % _DAY_S
    if left_s < _LONG_S:
        time.sleep(left_s + 1)


@pytest.fixture(scope="session")
def mesh() -> Iterator[TemporaryMesh]:
    """A whole mesh on free ports: `mesh.address`, `mesh.key`, `mesh.settings`."""
    overrides = {"AFFECTMESH_FETCH_ALLOW_PRIVATE": "true", "AFFECTMESH_FETCH_TIMEOUT_S": "3"}
    with TemporaryMesh(overrides) as mesh:
        yield mesh


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis server without the rest of the mesh; share it by key prefix."""
    data_dir = tmp_path_factory.mktemp("redis")
    redis = redis_plan(data_dir, data_dir)
    with subprocess.Popen(redis.plan.command, stdout=subprocess.DEVNULL) as server:
        try:
            with Redis.from_url(redis.url) as client:
                _wait_for(client)
            yield redis.url
        finally:
            server.terminate()


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


def _wait_for(client: "Redis") -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            client.ping()
        except NotServing:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
