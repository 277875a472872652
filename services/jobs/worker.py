"""A worker: `python -m services.jobs.worker 1` takes jobs and works on them."""

import asyncio
import sys
from contextlib import suppress

import grpc
import structlog

from services.common import errors
from services.common.database import Database
from services.common.resources import new_id, now_ms
from services.common.server import Service, run
from services.jobs.batches import Batches
from services.jobs.endings import Endings
from services.jobs.execution import Execution
from services.jobs.fetching import Fetching
from services.jobs.leases import BEAT_S
from services.jobs.media import MediaStore
from services.jobs.notices import Notices
from services.jobs.outbox import open_outbox
from services.jobs.stream import Taker, required_url
from services.jobs.tables import MIGRATIONS
from services.jobs.usage import Quotes
from services.jobs.working import Worker

log = structlog.get_logger()


async def register(_server: grpc.aio.Server, service: Service) -> str:
    """Starts to take jobs; on the way out, waits for those in hand and puts back the rest."""
    settings = service.settings
    redis_url = required_url(settings)
    database = await Database.open(settings.database, MIGRATIONS)
    service.closers.append(database.close)
    media = MediaStore.open(settings, database)
    service.closers.append(media.close)
    batches, notices = Batches(database), Notices(redis_url)
    worker_id = new_id("wrk")
    worker = Worker(
        worker_id,
        settings.job_concurrency,
        batches,
        Endings(open_outbox(settings, database), now_ms),
        Execution(service.channels, media, settings.job_timeout_s),
        Fetching(service.media, media),
        media,
        Quotes(service.channels),
        notices,
        now_ms,
    )
    taker = Taker(redis_url, worker_id, settings.job_concurrency, worker.work)
    await worker.beat()
    beating = asyncio.create_task(_beat(worker))
    taking = asyncio.create_task(taker.run())

    async def stop() -> None:
        taker.stop()
        await asyncio.wait([taking], timeout=settings.stop_grace_s)
        await _end(beating)  # a beat after the worker has left would enter it again
        await worker.give_up()
        await _end(taking)
        await taker.close()
        await batches.close()
        await notices.close()

    service.closers.append(stop)
    return ""


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _beat(worker: Worker) -> None:
    while True:
        await asyncio.sleep(BEAT_S)
        with suppress(errors.Unavailable):
            await worker.beat()


if __name__ == "__main__":
    run(f"worker-{sys.argv[1]}", register)
