"""Webhooks over REST: register, list, change, test, rotate, and what was delivered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message
from starlette.routing import Route

from affectmesh.v1 import jobs_pb2 as pb
from affectmesh.v1 import jobs_pb2_grpc
from services.common.channels import Channels, call
from services.common.settings import Settings
from services.gateway import reading, transcoding
from services.gateway.access import Access
from services.gateway.dialects.wia import BASE_PATHS, Wia
from services.gateway.endpoint import Answer, Endpoint, Exchange, Handler
from services.gateway.policy import Policy

_TIMEOUT_S = 15.0
_NO_STORE = {"cache-control": "no-store"}

_render = transcoding.renderer(pb.Webhook.DESCRIPTOR)
_render_page = transcoding.renderer(pb.ListWebhooksResponse.DESCRIPTOR)
_render_delivery = transcoding.renderer(pb.WebhookDelivery.DESCRIPTOR)
_render_deliveries = transcoding.renderer(pb.ListWebhookDeliveriesResponse.DESCRIPTOR)


def routes(_settings: Settings, channels: Channels, policy: Policy) -> Iterator[Route]:
    """Every route of this file, under each base path."""
    webhooks = _Webhooks(channels, policy)
    for base in BASE_PATHS:
        for path, method, handler in webhooks.handlers():
            yield Route(base + path, Endpoint(path, Wia(), handler), methods=[method])


class _Webhooks:
    """The handlers."""

    def __init__(self, channels: Channels, policy: Policy) -> None:
        self._access = Access(policy)
        self._jobs = channels.stub("jobs", jobs_pb2_grpc.JobServiceStub)

    def handlers(self) -> Iterator[tuple[str, str, Handler]]:
        """Path, method and handler of each."""
        one = "/v1/webhooks/{webhook_id}"
        yield "/v1/webhooks", "POST", self._create
        yield "/v1/webhooks", "GET", self._list
        yield one, "PATCH", self._update
        yield one, "DELETE", self._delete
        yield f"{one}/test", "POST", self._test
        yield f"{one}/rotate", "POST", self._rotate
        yield f"{one}/deliveries", "GET", self._deliveries
        yield f"{one}/deliveries/{{delivery_id}}/redeliver", "POST", self._redeliver

    async def _create(self, exchange: Exchange) -> Answer:
        await self._access.change(exchange)
        body = await reading.json_object(exchange, {"url": str, "events": list}, {"secret": str})
        asked = pb.Webhook(
            url=body["url"],
            events=reading.texts("events", body["events"]),
            secret=body.get("secret", ""),
        )
        made = await self._call(self._jobs.CreateWebhook, pb.CreateWebhookRequest(webhook=asked))
        return Answer(_render(made), 201, _NO_STORE)

    async def _list(self, exchange: Exchange) -> Answer:
        await self._access.read(exchange)
        size, token = reading.page(exchange)
        request = pb.ListWebhooksRequest(page_size=size, page_token=token)
        return Answer(_render_page(await self._call(self._jobs.ListWebhooks, request)))

    async def _update(self, exchange: Exchange) -> Answer:
        await self._access.change(exchange)
        body = await reading.json_object(
            exchange, {}, {"url": str, "events": list, "enabled": bool}
        )
        request = pb.UpdateWebhookRequest(
            webhook_id=_webhook_id(exchange),
            url=body.get("url"),
            events=reading.texts("events", body.get("events", [])),
            enabled=body.get("enabled"),
        )
        return Answer(_render(await self._call(self._jobs.UpdateWebhook, request)))

    async def _delete(self, exchange: Exchange) -> Answer:
        await self._access.change(exchange)
        request = pb.DeleteWebhookRequest(webhook_id=_webhook_id(exchange))
        await self._call(self._jobs.DeleteWebhook, request)
        return Answer({"webhook_id": request.webhook_id, "deleted": True})

    async def _test(self, exchange: Exchange) -> Answer:
        await self._access.change(exchange)
        request = pb.TestWebhookRequest(webhook_id=_webhook_id(exchange))
        return Answer(_render_delivery(await self._call(self._jobs.TestWebhook, request)))

    async def _rotate(self, exchange: Exchange) -> Answer:
        await self._access.change(exchange)
        request = pb.RotateWebhookSecretRequest(webhook_id=_webhook_id(exchange))
        made = await self._call(self._jobs.RotateWebhookSecret, request)
        return Answer(_render(made), headers=_NO_STORE)

    async def _deliveries(self, exchange: Exchange) -> Answer:
        await self._access.read(exchange)
        size, token = reading.page(exchange)
        request = pb.ListWebhookDeliveriesRequest(
            webhook_id=_webhook_id(exchange), page_size=size, page_token=token
        )
        found = await self._call(self._jobs.ListWebhookDeliveries, request)
        return Answer(_render_deliveries(found))

    async def _redeliver(self, exchange: Exchange) -> Answer:
        await self._access.change(exchange)
        delivery_id = exchange.scope["path_params"]["delivery_id"]
        request = pb.RedeliverWebhookRequest(delivery_id=delivery_id)
        return Answer(_render_delivery(await self._call(self._jobs.RedeliverWebhook, request)))

    async def _call(self, method: Any, request: Message) -> Any:
        return await call("jobs", method, request, _TIMEOUT_S)


def _webhook_id(exchange: Exchange) -> str:
    return str(exchange.scope["path_params"]["webhook_id"])
