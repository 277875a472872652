"""Webhooks over REST: register, list, change, test, rotate, and what was delivered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from affectmesh.v1 import jobs_pb2 as pb
from affectmesh.v1 import jobs_pb2_grpc
from services.common.channels import Channels, call
from services.gateway import reading
from services.gateway.access import Access
from services.gateway.endpoint import Answer, Exchange, Handler

_TIMEOUT_S = 15.0
_NO_STORE = {"cache-control": "no-store"}

View = Callable[[Any], Mapping[str, Any]]
"""What an API shows of a message."""


@dataclass(frozen=True)
class Form:
    """How an API has webhooks."""

    path: str
    events: Sequence[str]
    """To which a webhook listens that names none; empty where it must name some."""
    webhook: View
    webhooks: View
    delivery: View
    deliveries: View
    deleted: Callable[[str], Mapping[str, Any]]


class Webhooks:
    """The handlers: the job service's webhooks in the form of an API."""

    def __init__(self, form: Form, channels: Channels, access: Access) -> None:
        self._form = form
        self._access = access
        self._jobs = channels.stub("jobs", jobs_pb2_grpc.JobServiceStub)

    def handlers(self) -> Mapping[str, Mapping[str, Handler]]:
        """By path and method."""
        one = f"{self._form.path}/{{webhook_id}}"
        return {
            self._form.path: {"POST": self._create, "GET": self._list},
            one: {"PATCH": self._update, "DELETE": self._delete},
            f"{one}/test": {"POST": self._test},
            f"{one}/rotate": {"POST": self._rotate},
            f"{one}/deliveries": {"GET": self._deliveries},
            f"{one}/deliveries/{{delivery_id}}/redeliver": {"POST": self._redeliver},
        }

    async def _create(self, exchange: Exchange) -> Answer:
        await self._access.change(exchange)
        events: Mapping[str, type] = {"events": list}
        if self._form.events:
            body = await reading.json_object(exchange, {"url": str}, {**events, "secret": str})
        else:
            body = await reading.json_object(exchange, {"url": str, **events}, {"secret": str})
        asked = pb.Webhook(
            url=body["url"],
            events=reading.texts("events", body.get("events") or list(self._form.events)),
            secret=body.get("secret", ""),
        )
        made = await self._call(self._jobs.CreateWebhook, pb.CreateWebhookRequest(webhook=asked))
        return Answer(self._form.webhook(made), 201, _NO_STORE)

    async def _list(self, exchange: Exchange) -> Answer:
        await self._access.read(exchange)
        size, token = reading.page(exchange)
        request = pb.ListWebhooksRequest(page_size=size, page_token=token)
        return Answer(self._form.webhooks(await self._call(self._jobs.ListWebhooks, request)))

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
        return Answer(self._form.webhook(await self._call(self._jobs.UpdateWebhook, request)))

    async def _delete(self, exchange: Exchange) -> Answer:
        await self._access.change(exchange)
        request = pb.DeleteWebhookRequest(webhook_id=_webhook_id(exchange))
        await self._call(self._jobs.DeleteWebhook, request)
        return Answer(self._form.deleted(request.webhook_id))

    async def _test(self, exchange: Exchange) -> Answer:
        await self._access.change(exchange)
        request = pb.TestWebhookRequest(webhook_id=_webhook_id(exchange))
        return Answer(self._form.delivery(await self._call(self._jobs.TestWebhook, request)))

    async def _rotate(self, exchange: Exchange) -> Answer:
        await self._access.change(exchange)
        request = pb.RotateWebhookSecretRequest(webhook_id=_webhook_id(exchange))
        made = await self._call(self._jobs.RotateWebhookSecret, request)
        return Answer(self._form.webhook(made), headers=_NO_STORE)

    async def _deliveries(self, exchange: Exchange) -> Answer:
        await self._access.read(exchange)
        size, token = reading.page(exchange)
        request = pb.ListWebhookDeliveriesRequest(
            webhook_id=_webhook_id(exchange), page_size=size, page_token=token
        )
        found = await self._call(self._jobs.ListWebhookDeliveries, request)
        return Answer(self._form.deliveries(found))

    async def _redeliver(self, exchange: Exchange) -> Answer:
        await self._access.change(exchange)
        delivery_id = exchange.scope["path_params"]["delivery_id"]
        request = pb.RedeliverWebhookRequest(delivery_id=delivery_id)
        return Answer(self._form.delivery(await self._call(self._jobs.RedeliverWebhook, request)))

    async def _call(self, method: Any, request: Message) -> Any:
        return await call("jobs", method, request, _TIMEOUT_S)


def _webhook_id(exchange: Exchange) -> str:
    return str(exchange.scope["path_params"]["webhook_id"])
