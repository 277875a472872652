"""Databases and a billing service on each."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.billing.installation import BOOTSTRAP, Installation, installation


@pytest.fixture
async def billing(tmp_path: Path, database_url: str) -> AsyncIterator[Installation]:
    """A billing service with a bootstrap key."""
    async with installation(tmp_path, database_url, bootstrap_api_key=BOOTSTRAP) as running:
        yield running
