"""Delivers what the outbox holds, fairly and within bounds.

A delivery is taken with a lease: where whoever took it dies, it is due again when the lease ends.
So every delivery is tried at least once, and a receiver may see one twice, under the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy import RowMapping, Select, select, update

from services.common import errors
from services.common.database import Database, fetch_all
from services.jobs.tables import deliveries
from services.jobs.webhook_attempts import Attempts

log = structlog.get_logger()

AT_ONCE, AT_ONCE_PER_ORGANIZATION, AT_ONCE_PER_ENDPOINT = 64, 8, 2
"""Tries at the same time, so that a slow receiver keeps nobody else waiting."""

_LOOK_S = 0.5
_TAKEN_AT_ONCE = 32


class Courier:
    """Delivers while it runs. Several may run on one database."""

    def __init__(self, database: Database, attempts: Attempts, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._attempts = attempts
        self._now_ms = now_ms
        self._wake = asyncio.Event()
        self._stopping = False
        self._busy: dict[asyncio.Task[None], RowMapping] = {}
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to deliver."""
        self._loop = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    async def close(self) -> None:
        """Ends the tries that are being made; what is left is delivered after the next start."""
        self._stopping = True
        self._wake.set()
        if self._loop is not None:
            await self._loop
        await asyncio.gather(*self._busy, return_exceptions=True)

    async def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            taken = 0
            try:
                taken = await self._take()
            except errors.AffectMeshError as error:
                log.warning("deliveries not read", problem=error.message)
            except Exception:
                log.exception("deliveries not read")
            if not taken and not self._stopping:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._wake.wait()

    async def _take(self) -> int:
        """Takes some of what is due and may be tried, and starts to try it."""
        query = self._due()
        if query is None:
            return 0
        async with self._database.read() as connection:
            found = await fetch_all(connection, query)
        chosen = self._choose(found)
        if not chosen:
            return 0
        taken = (
            update(deliveries)
            .where(
                deliveries.c.delivery_id.in_(chosen),
                deliveries.c.due_ms <= self._now_ms(),
            )
            .values(due_ms=self._attempts.lease_ms())
            .returning(deliveries)
        )
        async with self._database.write() as connection:
            rows = await fetch_all(connection, taken)
        for row in rows:
            task = asyncio.create_task(self._deliver(row))
            self._busy[task] = row
            task.add_done_callback(self._finished)
        return len(rows)

    def _due(self) -> Select[Any] | None:
        room = AT_ONCE - len(self._busy)
        if room <= 0:
            return None
        columns = deliveries.c
        endpoints = Counter(row["endpoint"] for row in self._busy.values())
        organizations = Counter(row["org_id"] for row in self._busy.values())
        full = [name for name, count in endpoints.items() if count >= AT_ONCE_PER_ENDPOINT]
        crowded = [org for org, count in organizations.items() if count >= AT_ONCE_PER_ORGANIZATION]
        query = select(columns.delivery_id, columns.endpoint, columns.org_id).where(
            columns.due_ms <= self._now_ms()
        )
        if full:
            query = query.where(columns.endpoint.not_in(full))
        if crowded:
            query = query.where(columns.org_id.not_in(crowded))
        return query.order_by(columns.due_ms).limit(min(room, _TAKEN_AT_ONCE))

    def _choose(self, found: list[RowMapping]) -> list[str]:
        endpoints = Counter(row["endpoint"] for row in self._busy.values())
        organizations = Counter(row["org_id"] for row in self._busy.values())
        chosen = []
        for row in found:
            endpoint, org_id = row["endpoint"], row["org_id"]
            if (
                endpoints[endpoint] < AT_ONCE_PER_ENDPOINT
                and organizations[org_id] < AT_ONCE_PER_ORGANIZATION
            ):
                endpoints[endpoint] += 1
                organizations[org_id] += 1
                chosen.append(row["delivery_id"])
        return chosen

    def _finished(self, task: asyncio.Task[None]) -> None:
        del self._busy[task]
        self._wake.set()

    async def _deliver(self, row: RowMapping) -> None:
        try:
            await self._attempts.make(row)
        except errors.AffectMeshError as error:
            log.warning("delivery not recorded", id=row["delivery_id"], problem=error.message)
        except Exception:
            log.exception("delivery failed", id=row["delivery_id"])
