"""The webhooks of the job service on a real database, served over real gRPC."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from affectmesh.v1 import jobs_pb2 as pb
from affectmesh.v1 import jobs_pb2_grpc
from services.billing.vault import Vault
from services.common.caller import Caller, current
from services.common.channels import Channels, call
from services.common.database import Database
from services.common.settings import Settings
from services.jobs.tables import MIGRATIONS
from services.jobs.webhook_methods import WebhookMethods
from services.jobs.webhook_outbox import WebhookOutbox
from services.jobs.webhook_sender import WebhookSender
from services.jobs.webhooks import Webhooks
from tests.common.serving import serving
from tests.jobs.media_service import ALICE, Clock, until


class _Servicer(WebhookMethods, jobs_pb2_grpc.JobServiceServicer):
    """What the job service has of webhooks."""


@dataclass
class WebhookService:
    """The running service and what reaches it."""

    settings: Settings
    channels: Channels
    webhooks: Webhooks
    outbox: WebhookOutbox
    database: Database
    clock: Clock

    async def call(self, method: str, request: Any, by: Caller = ALICE) -> Any:
        """Calls a method over gRPC; raises the service's own error."""
        current.set(by)
        stub = self.channels.stub("jobs", jobs_pb2_grpc.JobServiceStub)
        return await call("jobs", getattr(stub, method), request, 30)

    async def webhook(
        self, url: str, *events: str, secret: str = "", by: Caller = ALICE
    ) -> pb.Webhook:
        """A new webhook."""
        asked = pb.Webhook(url=url, events=events or ("job.completed",), secret=secret)
        made: pb.Webhook = await self.call(
            "CreateWebhook", pb.CreateWebhookRequest(webhook=asked), by
        )
        return made

    async def publish(
        self, event: str = "job.completed", data: dict[str, Any] | None = None, by: Caller = ALICE
    ) -> None:
        """Something has happened."""
        async with self.database.write() as connection:
            await self.outbox.publish(connection, by.org_id, event, data or {})
        self.webhooks.wake()

    async def log(self, webhook: pb.Webhook, by: Caller = ALICE) -> list[pb.WebhookDelivery]:
        """What was sent to a webhook, newest first."""
        request = pb.ListWebhookDeliveriesRequest(webhook_id=webhook.webhook_id)
        return list((await self.call("ListWebhookDeliveries", request, by)).deliveries)

    async def tried(self, webhook: pb.Webhook, attempts: int = 1) -> pb.WebhookDelivery:
        """The newest delivery once it was tried so often."""

        async def is_tried() -> bool:
            found = await self.log(webhook)
            return bool(found) and found[0].attempts >= attempts

        await until(is_tried)
        return (await self.log(webhook))[0]

    def later(self, seconds: float) -> None:
        """Moves the time on."""
        self.clock.ahead_ms += round(1000 * seconds)
        self.webhooks.wake()


@asynccontextmanager
async def webhook_service(folder: Path, **overrides: object) -> AsyncIterator[WebhookService]:
    """A service with its records in a folder; private addresses are allowed unless overridden, and
    whoever answers at all answers in time."""
    defaults = {"data_dir": folder, "fetch_allow_private": True, "webhook_timeout_s": 60}
    given = Settings.model_validate({**defaults, **overrides})
    database = await Database.open(given.database, MIGRATIONS)
    clock = Clock()
    sender = WebhookSender(given.fetch_allow_private, given.webhook_timeout_s)
    webhooks = Webhooks(database, Vault.open(given), sender, given, clock)

    async def add(server: grpc.aio.Server) -> None:
        servicer = _Servicer()  # type: ignore[abstract]
        servicer.webhooks = webhooks
        jobs_pb2_grpc.add_JobServiceServicer_to_server(servicer, server)

    webhooks.start()
    async with serving(add) as address:
        settings = given.model_copy(update={"addresses": {"jobs": address}})
        channels = Channels(settings)
        try:
            yield WebhookService(
                settings, channels, webhooks, WebhookOutbox(clock), database, clock
            )
        finally:
            await channels.close()
            await webhooks.close()
            await database.close()
