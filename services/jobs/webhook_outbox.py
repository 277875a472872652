"""What is to be sent, written down in the transaction of what it tells of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import bindparam, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.resources import new_id
from services.jobs import webhook_body
from services.jobs.tables import deliveries, webhooks

TRIES = 4
"""One, and three more."""

CALLBACK = "callback"
"""Stands for the event of what goes to the address that a job was given."""


class WebhookOutbox:
    """Takes events and callbacks; the courier sends them."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms

    async def listening(self, connection: AsyncConnection, org_ids: Collection[int]) -> set[int]:
        """Those of the organisations that have webhooks."""
        found = await connection.execute(_listening, {"orgs": list(org_ids)})
        return set(found.scalars())

    async def publish(
        self, connection: AsyncConnection, org_id: int, event: str, data: Mapping[str, Any]
    ) -> None:
        """Tells the webhooks of an organisation that listen to the event."""
        query = select(webhooks.c.webhook_id, webhooks.c.events).where(
            webhooks.c.org_id == org_id, webhooks.c.enabled
        )
        found = (await connection.execute(query)).all()
        listening = [row.webhook_id for row in found if event in row.events.split()]
        if not listening:
            return
        body = webhook_body.body(event, data, self._now_ms())
        rows = [self.delivery(org_id, event, body, webhook_id=name) for name in listening]
        await connection.execute(insert(deliveries), rows)

    async def callback(
        self,
        connection: AsyncConnection,
        org_id: int,
        url: str,
        body: bytes,
        content_type: str,
        job_id: str,
    ) -> None:
        """Sends the end of a job to the address that came with it."""
        row = self.delivery(org_id, CALLBACK, body, url=url, job_id=job_id)
        await connection.execute(insert(deliveries).values({**row, "content_type": content_type}))

    def delivery(
        self,
        org_id: int,
        event: str,
        body: bytes,
        *,
        webhook_id: str | None = None,
        url: str | None = None,
        job_id: str | None = None,
    ) -> dict[str, Any]:
        """The row of a delivery that is due now, to a webhook or else to a URL."""
        now = self._now_ms()
        return {
            "delivery_id": new_id("dlv"),
            "org_id": org_id,
            "webhook_id": webhook_id,
            "job_id": job_id,
            "url": url,
            "endpoint": webhook_id or _endpoint(url or ""),
            "event": event,
            "content_type": "application/json",
            "payload": body,
            "attempts": 0,
            "tries_left": TRIES,
            "last_status": None,
            "last_error": "",
            "delivered": False,
            "created_ms": now,
            "due_ms": now,
        }


_listening = (
    select(webhooks.c.org_id)
    .where(webhooks.c.org_id.in_(bindparam("orgs", expanding=True)), webhooks.c.enabled)
    .distinct()
)


def _endpoint(url: str) -> str:
    """What callbacks to one host have in common."""
    host = urlsplit(url).hostname or ""
    return "host_" + hashlib.sha256(host.encode()).hexdigest()[:40]
