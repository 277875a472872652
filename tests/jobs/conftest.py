"""A job service on each kind of database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.jobs.running import Running, running


@pytest.fixture
async def jobs(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Running]:
    """A job service without workers."""
    async with running(tmp_path, database_url, redis_url, fetch_allow_private=True) as service:
        yield service
