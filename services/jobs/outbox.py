"""Where the ends of jobs are told."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.database import Database
from services.common.settings import Settings
from services.jobs.endings import Outbox


class _Nowhere(Outbox):
    async def publish(
        self, connection: AsyncConnection, org_id: int, event: str, data: Mapping[str, Any]
    ) -> None:
        return None

    async def callback(
        self,
        connection: AsyncConnection,
        org_id: int,
        url: str,
        body: bytes,
        content_type: str,
        job_id: str,
    ) -> None:
        return None


def open_outbox(_settings: Settings, _database: Database) -> Outbox:
    """The outbox of this installation."""
    return _Nowhere()
