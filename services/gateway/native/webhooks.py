"""Webhooks in the words of WIA."""

from collections.abc import Iterator

from starlette.routing import Route

from affectmesh.v1 import jobs_pb2 as pb
from services.common.channels import Channels
from services.common.settings import Settings
from services.common.transcoding import renderer
from services.gateway.access import Access
from services.gateway.dialects.wia import BASE_PATHS, Wia
from services.gateway.endpoint import Endpoint
from services.gateway.policy import Policy
from services.gateway.webhooks import Form, Webhooks

_FORM = Form(
    path="/v1/webhooks",
    events=(),
    webhook=renderer(pb.Webhook.DESCRIPTOR),
    webhooks=renderer(pb.ListWebhooksResponse.DESCRIPTOR),
    delivery=renderer(pb.WebhookDelivery.DESCRIPTOR),
    deliveries=renderer(pb.ListWebhookDeliveriesResponse.DESCRIPTOR),
    deleted=lambda webhook_id: {"webhook_id": webhook_id, "deleted": True},
)


def routes(_settings: Settings, channels: Channels, policy: Policy) -> Iterator[Route]:
    """Every route of this file, under each base path."""
    handlers = Webhooks(_FORM, channels, Access(policy)).handlers()
    for base in BASE_PATHS:
        for path, by_method in handlers.items():
            for method, handler in by_method.items():
                yield Route(base + path, Endpoint(path, Wia(), handler), methods=[method])
