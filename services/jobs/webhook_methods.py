"""The contract's methods on webhooks."""

from typing import Any

import grpc
from sqlalchemy import RowMapping

from affectmesh.v1 import jobs_pb2 as pb
from services.common import caller
from services.common.resources import page_number, page_size, page_token, timestamp
from services.jobs.webhooks import Webhooks

Context = grpc.aio.ServicerContext[Any, Any]


class WebhookMethods:
    """Contract in, contract out."""

    webhooks: Webhooks

    async def CreateWebhook(
        self, request: pb.CreateWebhookRequest, _context: Context
    ) -> pb.Webhook:
        asked = request.webhook
        row, secret = await self.webhooks.create(_org_id(), asked.url, asked.events, asked.secret)
        return _webhook(row, secret)

    async def ListWebhooks(
        self, request: pb.ListWebhooksRequest, _context: Context
    ) -> pb.ListWebhooksResponse:
        size = page_size(request.page_size)
        rows = await self.webhooks.page(_org_id(), page_number(request.page_token), size)
        token = page_token(rows[-1]["sequence"]) if len(rows) == size else ""
        return pb.ListWebhooksResponse(webhooks=map(_webhook, rows), next_page_token=token)

    async def UpdateWebhook(
        self, request: pb.UpdateWebhookRequest, _context: Context
    ) -> pb.Webhook:
        row = await self.webhooks.update(
            _org_id(),
            request.webhook_id,
            url=request.url if request.HasField("url") else None,
            events=request.events,
            enabled=request.enabled if request.HasField("enabled") else None,
        )
        return _webhook(row)

    async def DeleteWebhook(
        self, request: pb.DeleteWebhookRequest, _context: Context
    ) -> pb.DeleteWebhookResponse:
        await self.webhooks.delete(_org_id(), request.webhook_id)
        return pb.DeleteWebhookResponse()

    async def TestWebhook(
        self, request: pb.TestWebhookRequest, _context: Context
    ) -> pb.WebhookDelivery:
        return _delivery(await self.webhooks.test(_org_id(), request.webhook_id))

    async def RotateWebhookSecret(
        self, request: pb.RotateWebhookSecretRequest, _context: Context
    ) -> pb.Webhook:
        return _webhook(*await self.webhooks.rotate(_org_id(), request.webhook_id))

    async def ListWebhookDeliveries(
        self, request: pb.ListWebhookDeliveriesRequest, _context: Context
    ) -> pb.ListWebhookDeliveriesResponse:
        size = page_size(request.page_size)
        rows = await self.webhooks.deliveries(
            _org_id(), request.webhook_id, page_number(request.page_token), size
        )
        token = page_token(rows[-1]["sequence"]) if len(rows) == size else ""
        return pb.ListWebhookDeliveriesResponse(
            deliveries=map(_delivery, rows), next_page_token=token
        )

    async def RedeliverWebhook(
        self, request: pb.RedeliverWebhookRequest, _context: Context
    ) -> pb.WebhookDelivery:
        return _delivery(await self.webhooks.redeliver(_org_id(), request.delivery_id))


def _org_id() -> int:
    return caller.required().org_id


def _webhook(row: RowMapping, secret: str = "") -> pb.Webhook:
    return pb.Webhook(
        webhook_id=row["webhook_id"],
        url=row["url"],
        events=row["events"].split(),
        secret=secret,
        enabled=row["enabled"],
        create_time=timestamp(row["created_ms"]),
    )


def _delivery(row: RowMapping) -> pb.WebhookDelivery:
    return pb.WebhookDelivery(
        delivery_id=row["delivery_id"],
        webhook_id=row["webhook_id"] or "",
        event=row["event"],
        payload=row["payload"].decode(errors="replace"),
        attempts=row["attempts"],
        last_status=row["last_status"],
        last_error=row["last_error"],
        delivered=row["delivered"],
        create_time=timestamp(row["created_ms"]),
        next_attempt_time=timestamp(row["due_ms"]),
    )
