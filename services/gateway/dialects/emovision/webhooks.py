"""EmoVision's endpoints of webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from affectmesh.v1 import jobs_pb2 as pb
from affectmesh.v1 import jobs_pb2_grpc
from services.common import errors
from services.common.channels import Channels, call
from services.gateway import reading
from services.gateway.access import Access
from services.gateway.dialects.emovision import views
from services.gateway.endpoint import Answer, Exchange, Handler
from services.gateway.views import listed

EVENTS = ("analysis.completed", "analysis.failed", "usage.threshold")
"""The document's events, to which a webhook listens that names none."""

_NO_STORE = {"cache-control": "no-store"}
_TIMEOUT_S = 10.0


class Webhooks:
    """The handlers: the job service's webhooks in EmoVision's words."""

    def __init__(self, channels: Channels, access: Access) -> None:
        self._jobs = channels.stub("jobs", jobs_pb2_grpc.JobServiceStub)
        self._access = access

    def handlers(self) -> Mapping[str, Mapping[str, Handler]]:
        """By path and method."""
        one = "/api/v1/webhooks/{webhook_id}"
        return {
            "/api/v1/webhooks": {"POST": self._register, "GET": self._list},
            one: {"PATCH": self._update, "DELETE": self._delete},
            f"{one}/test": {"POST": self._test},
            f"{one}/rotate": {"POST": self._rotate},
            f"{one}/deliveries": {"GET": self._deliveries},
            f"{one}/deliveries/{{delivery_id}}/redeliver": {"POST": self._redeliver},
        }

    async def _register(self, exchange: Exchange) -> Answer:
        await self._access.change(exchange)
        body = await reading.json_object(exchange, {"url": str}, {"events": list, "secret": str})
        asked = pb.Webhook(
            url=body["url"],
            events=_events(body.get("events") or list(EVENTS)),
            secret=body.get("secret", ""),
        )
        made = await self._call(self._jobs.CreateWebhook, pb.CreateWebhookRequest(webhook=asked))
        return Answer(views.webhook(made), 201, _NO_STORE)

    async def _list(self, exchange: Exchange) -> Answer:
        await self._access.read(exchange)
        size, token = reading.page(exchange)
        found = await self._call(
            self._jobs.ListWebhooks, pb.ListWebhooksRequest(page_size=size, page_token=token)
        )
        return Answer(listed("webhooks", map(views.webhook, found.webhooks), found.next_page_token))

    async def _update(self, exchange: Exchange) -> Answer:
        await self._access.change(exchange)
        body = await reading.json_object(
            exchange, {}, {"url": str, "events": list, "enabled": bool}
        )
        request = pb.UpdateWebhookRequest(
            webhook_id=_webhook_id(exchange),
            url=body.get("url"),
            events=_events(body.get("events", [])),
            enabled=body.get("enabled"),
        )
        return Answer(views.webhook(await self._call(self._jobs.UpdateWebhook, request)))

    async def _delete(self, exchange: Exchange) -> Answer:
        await self._access.change(exchange)
        webhook_id = _webhook_id(exchange)
        request = pb.DeleteWebhookRequest(webhook_id=webhook_id)
        await self._call(self._jobs.DeleteWebhook, request)
        return Answer({"webhook_id": webhook_id, "status": "deleted"})

    async def _test(self, exchange: Exchange) -> Answer:
        await self._access.change(exchange)
        request = pb.TestWebhookRequest(webhook_id=_webhook_id(exchange))
        return Answer(views.delivery(await self._call(self._jobs.TestWebhook, request)))

    async def _rotate(self, exchange: Exchange) -> Answer:
        await self._access.change(exchange)
        request = pb.RotateWebhookSecretRequest(webhook_id=_webhook_id(exchange))
        made = await self._call(self._jobs.RotateWebhookSecret, request)
        return Answer(views.webhook(made), 200, _NO_STORE)

    async def _deliveries(self, exchange: Exchange) -> Answer:
        await self._access.read(exchange)
        size, token = reading.page(exchange)
        found = await self._call(
            self._jobs.ListWebhookDeliveries,
            pb.ListWebhookDeliveriesRequest(
                webhook_id=_webhook_id(exchange), page_size=size, page_token=token
            ),
        )
        sent = map(views.delivery, found.deliveries)
        return Answer(listed("deliveries", sent, found.next_page_token))

    async def _redeliver(self, exchange: Exchange) -> Answer:
        await self._access.change(exchange)
        request = pb.RedeliverWebhookRequest(
            delivery_id=exchange.scope["path_params"]["delivery_id"]
        )
        return Answer(views.delivery(await self._call(self._jobs.RedeliverWebhook, request)))

    async def _call(self, method: Any, request: Message) -> Any:
        return await call("jobs", method, request, _TIMEOUT_S)


def _webhook_id(exchange: Exchange) -> str:
    return str(exchange.scope["path_params"]["webhook_id"])


def _events(named: list[Any]) -> list[str]:
    if not all(isinstance(one, str) for one in named):
        raise errors.InvalidRequest(
            "events is not a list of texts.",
            field="events",
            suggestion=f"Send names of events: {', '.join(EVENTS)}.",
        )
    return named
