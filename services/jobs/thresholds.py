"""Tells webhooks that an organisation's usage has crossed a threshold, once for each crossing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import insert, select

from affectmesh.v1 import billing_pb2, billing_pb2_grpc
from services.common.channels import Channels, call
from services.common.database import Database
from services.jobs.endings import Outbox
from services.jobs.representations import events
from services.jobs.tables import crossings

_TIMEOUT_S = 10.0
_PAGE = 100
_LOCK = 6_803_551_204
"""Number of PostgreSQL's advisory lock around telling."""


class Thresholds:
    """Follows the crossings that billing lists."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        channels: Channels,
        now_ms: Callable[[], int],
    ) -> None:
        billing = channels.stub("billing", billing_pb2_grpc.BillingServiceStub)
        self._list = billing.ListUsageCrossings
        self._database = database
        self._outbox = outbox
        self._now_ms = now_ms

    async def tell(self) -> None:
        """Tells of every crossing since the last that was told. Raises Unavailable."""
        token, more = "", True
        while more:
            request = billing_pb2.ListUsageCrossingsRequest(page_size=_PAGE, page_token=token)
            page = await call("billing", self._list, request, _TIMEOUT_S)
            new = await self._publish(page.crossings)
            token = page.next_page_token
            more = bool(token) and new == len(page.crossings)

    async def _publish(self, found: Sequence[billing_pb2.UsageCrossing]) -> int:
        """Tells of those that are new, oldest first; gives how many they were."""
        if not found:
            return 0
        async with self._database.write() as connection:
            await self._database.lock(connection, _LOCK)
            told = select(crossings.c.sequence).where(
                crossings.c.sequence.in_([one.sequence for one in found])
            )
            known = set((await connection.execute(told)).scalars())
            new = [one for one in reversed(found) if one.sequence not in known]
            for one in new:
                event = events.of_crossing(one)
                await self._outbox.publish(connection, one.org_id, event.name, event.data)
                row = {"sequence": one.sequence, "published_ms": self._now_ms()}
                await connection.execute(insert(crossings).values(row))
        return len(new)
