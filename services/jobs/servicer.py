"""The job service's contract, and what it does all the time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import grpc

from affectmesh.v1 import billing_pb2_grpc, jobs_pb2, jobs_pb2_grpc
from services.common import allocator
from services.common.database import Database
from services.common.resources import now_ms
from services.common.server import Service
from services.jobs import messages
from services.jobs.batches import Batches
from services.jobs.deletion import Deletion
from services.jobs.dispatcher import Dispatcher
from services.jobs.endings import Endings
from services.jobs.gauges import Gauges
from services.jobs.job_methods import JobMethods
from services.jobs.leases import BEAT_S, Recovery, Watch
from services.jobs.media import DAY_MS, MediaStore
from services.jobs.media_methods import MediaMethods
from services.jobs.notices import Notices
from services.jobs.outbox import open_outbox
from services.jobs.records import Records
from services.jobs.stream import Sender, required_url
from services.jobs.tables import MIGRATIONS
from services.jobs.thresholds import Thresholds
from services.jobs.upkeep import Upkeep
from services.jobs.usage import Quotes, UsageSender
from services.jobs.watching import Watching
from services.jobs.webhook_methods import WebhookMethods
from services.jobs.webhooks import Webhooks

_TICK_S = 1.0
_SWEEP_S = 600.0
_COUNT_S = 10.0
_TELL_S = 5.0

Method = Callable[[Any, Any, Any], Awaitable[Any]]


def _uninterrupted(servicer: type[JobServicer]) -> type[JobServicer]:
    """Lets every method with one answer run to its end though its caller goes away: a transaction
    that is cut off would leave its lock on the database."""
    for name in dir(servicer):
        method = getattr(servicer, name)
        if name[:1].isupper() and inspect.iscoroutinefunction(method):
            setattr(servicer, name, _shielded(method))
    return servicer


def _shielded(method: Method) -> Method:
    @wraps(method)
    async def run(self: JobServicer, request: Any, context: Any) -> Any:
        task = asyncio.ensure_future(method(self, request, context))
        self.running.add(task)
        task.add_done_callback(self.ended)
        await asyncio.wait((task,))
        return task.result()

    return run


@_uninterrupted
class JobServicer(JobMethods, MediaMethods, WebhookMethods, jobs_pb2_grpc.JobServiceServicer):
    """Contract in, contract out."""

    def __init__(self, service: Service, database: Database, redis_url: str) -> None:
        settings, channels = service.settings, service.channels
        outbox = open_outbox(settings, database)
        self.running: set[asyncio.Future[Any]] = set()
        self.database = database
        self.batches = Batches(database)
        self.now_ms = now_ms
        self.retention_ms = settings.retention_days * DAY_MS
        self.media = MediaStore.open(settings, database)
        billing = channels.stub("billing", billing_pb2_grpc.BillingServiceStub)
        self.create_receipt = billing.CreateDeletionReceipt
        self.webhooks = Webhooks.open(settings, database)
        self.jobs = Records(database, now_ms)
        self.endings = Endings(outbox, now_ms)
        self.deletion = Deletion(database, self.jobs, self.endings, self.media, channels)
        self.quotes = Quotes(channels)
        self.notices = Notices(redis_url)
        self.watching = Watching(self._read)
        self._sender = Sender(redis_url)
        self._recovery = Recovery(database, self.endings, now_ms, Watch(time.monotonic))
        self._upkeep = Upkeep()
        dispatcher = Dispatcher(database, self._sender, now_ms)
        usage = UsageSender(database, channels)
        self._upkeep.add("dispatch", _TICK_S, dispatcher.run, rest_s=0.02)
        self._upkeep.add("recover", BEAT_S, self._recover)
        self._upkeep.add("bill", _TICK_S, usage.send, rest_s=0.25)
        self._upkeep.add("tell webhooks", _TICK_S, self._wake_webhooks, rest_s=0.1)
        thresholds = Thresholds(database, outbox, channels, now_ms)
        self._upkeep.add("tell of thresholds", _TELL_S, thresholds.tell)
        self._upkeep.add("count", _COUNT_S, Gauges(database, now_ms).read)
        self._upkeep.add("sweep jobs", _SWEEP_S, self.deletion.sweep)
        self._upkeep.add("sweep media", _SWEEP_S, self.media.sweep)
        self._upkeep.add("sweep deliveries", _SWEEP_S, self.webhooks.sweep)
        self.notices.listen(self._heard)

    @classmethod
    async def open(cls, service: Service) -> JobServicer:
        """With the database of the settings, brought to the newest schema."""
        redis_url = required_url(service.settings)
        database = await Database.open(service.settings.database, MIGRATIONS)
        return cls(service, database, redis_url)

    async def close(self) -> None:
        """Ends what is in flight; what is left is done after the next start."""
        await asyncio.gather(*self.running, return_exceptions=True)
        await self.batches.close()
        await self._upkeep.close()
        await self.watching.close()
        await self.notices.close()
        await self._sender.close()
        await self.webhooks.close()
        await self.media.close()
        await self.database.close()

    def ended(self, task: asyncio.Future[Any]) -> None:
        """A method has ended, whether or not anybody still waits for it."""
        self.running.discard(task)
        if not task.cancelled():
            task.exception()

    def _heard(self, job_ids: frozenset[str] | None) -> None:
        self._upkeep.wake()
        self.watching.heard(job_ids)

    async def _wake_webhooks(self) -> None:
        self.webhooks.wake()

    async def _recover(self) -> None:
        dead, changed = await self._recovery.run()
        self.notices.changed(*changed)
        if dead:
            await self._sender.forget(dead)

    async def _read(self, job_ids: list[str]) -> list[jobs_pb2.Job]:
        return [messages.job(row, results) for row, results in await self.jobs.several(job_ids)]


async def register(server: grpc.aio.Server, service: Service) -> str:
    """Adds the job service to a server."""
    allocator.keep_pages()
    servicer = await JobServicer.open(service)
    service.closers.append(servicer.close)
    jobs_pb2_grpc.add_JobServiceServicer_to_server(servicer, server)
    return str(jobs_pb2.DESCRIPTOR.services_by_name["JobService"].full_name)
