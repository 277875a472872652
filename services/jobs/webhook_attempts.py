"""One try of a delivery, and what follows from how it went."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from joserfc.errors import JoseError
from sqlalchemy import RowMapping, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.vault import Vault
from services.common import metrics
from services.common.database import Database, fetch_first
from services.jobs.tables import deliveries, webhooks
from services.jobs.webhook_outbox import TRIES
from services.jobs.webhook_sender import Outcome, WebhookSender
from services.jobs.webhook_signature import signatures

log = structlog.get_logger()

RETRY_FACTOR = 4
JITTER = 0.2
"""Share by which a wait is longer or shorter."""

DEAD_AFTER_MS = 3 * 24 * 60 * 60 * 1000
"""A webhook that fails for so long, and to which nothing is delivered meanwhile, is disabled."""

_LEASE_SLACK_MS = 10_000


@dataclass(frozen=True)
class Patience:
    """How long a try may take, and how long it is from the first to the second; each further wait
    is RETRY_FACTOR times longer."""

    timeout_s: float
    retry_s: float

    def wait_ms(self, tries: int, chance: float) -> int:
        """From a failure to the next try, after so many tries; `chance` is in [0, 1)."""
        spread = 1 + JITTER * (2 * chance - 1)
        factor: int = RETRY_FACTOR ** (tries - 1)
        return round(1000 * self.retry_s * factor * spread)


class Attempts:
    """Makes the tries of deliveries that its callers have taken."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        sender: WebhookSender,
        patience: Patience,
        now_ms: Callable[[], int],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._vault = vault
        self._sender = sender
        self._patience = patience
        self._now_ms = now_ms
        self._chance = chance

    def lease_ms(self) -> int:
        """Until when a delivery that is taken now is its taker's."""
        return self._now_ms() + round(1000 * self._patience.timeout_s) + _LEASE_SLACK_MS

    async def make(self, row: RowMapping, timeout_s: float | None = None) -> RowMapping | None:
        """Makes one try; gives the delivery as it is then, None where it was deleted or its lease
        ended meanwhile."""
        webhook = await self._webhook(row)
        if row["webhook_id"] and (webhook is None or not webhook["enabled"]):
            return await self._write(row, webhook, last_error="The webhook is disabled.")
        outcome = await self._send(row, webhook, timeout_s or self._patience.timeout_s)
        metrics.WEBHOOK_TRIES.labels("delivered" if outcome.delivered else "failed").inc()
        left = row["tries_left"] - 1
        due_ms = None
        if not outcome.delivered and left > 0:
            due_ms = self._now_ms() + self._patience.wait_ms(TRIES - left, self._chance())
        return await self._write(
            row,
            webhook,
            attempts=row["attempts"] + 1,
            tries_left=left,
            last_status=outcome.status,
            last_error=outcome.error,
            delivered=outcome.delivered,
            due_ms=due_ms,
        )

    async def _webhook(self, row: RowMapping) -> RowMapping | None:
        if row["webhook_id"] is None:
            return None
        async with self._database.read() as connection:
            query = webhooks.select().where(webhooks.c.webhook_id == row["webhook_id"])
            return await fetch_first(connection, query)

    async def _send(self, row: RowMapping, webhook: RowMapping | None, timeout_s: float) -> Outcome:
        body = row["payload"]
        headers = {
            "content-type": row["content_type"],
            "x-affectmesh-delivery": row["delivery_id"],
            "x-affectmesh-event": row["event"],
        }
        if webhook is None:
            return await self._sender.send(row["url"], body, headers, timeout_s)
        try:
            secret = self._vault.unseal(webhook["sealed_secret"])
        except JoseError:
            log.error("webhook's secret sealed by another key", webhook=webhook["webhook_id"])
            return Outcome(None, "The secret cannot be read; rotate it.")
        headers.update(signatures(secret, body, self._now_ms() // 1000))
        return await self._sender.send(webhook["url"], body, headers, timeout_s)

    async def _write(
        self, row: RowMapping, webhook: RowMapping | None, **values: Any
    ) -> RowMapping | None:
        """Records a try where the delivery is still its taker's: due when its lease ends."""
        query = (
            update(deliveries)
            .where(
                deliveries.c.delivery_id == row["delivery_id"],
                deliveries.c.due_ms == row["due_ms"],
            )
            .values({"due_ms": None, **values})
            .returning(deliveries)
        )
        async with self._database.write() as connection:
            recorded = await fetch_first(connection, query)
            if recorded is not None and webhook is not None and webhook["enabled"]:
                await self._judge(connection, webhook, recorded)
        return recorded

    async def _judge(
        self, connection: AsyncConnection, webhook: RowMapping, tried: RowMapping
    ) -> None:
        """Notes since when a webhook fails, and disables it where that is too long."""
        now, since = self._now_ms(), webhook["failing_since_ms"]
        values: Mapping[str, Any] = {}
        if tried["delivered"]:
            values = {} if since is None else {"failing_since_ms": None}
        elif since is None:
            values = {"failing_since_ms": now}
        elif tried["due_ms"] is None and now - since >= DEAD_AFTER_MS:
            values = {"enabled": False}
            log.warning("webhook disabled", webhook=webhook["webhook_id"], org=webhook["org_id"])
        if values:
            query = update(webhooks).where(webhooks.c.webhook_id == webhook["webhook_id"])
            await connection.execute(query.values(values))
