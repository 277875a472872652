"""The Redis stream that hands jobs to workers. Only ids travel on it; the database is the truth."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from taskiq import AckableMessage
from taskiq.acks import AcknowledgeType
from taskiq.kicker import AsyncKicker
from taskiq.receiver import Receiver
from taskiq_redis import RedisStreamBroker

from services.billing.announcements import OUTAGES
from services.common.settings import Settings

log = structlog.get_logger()

STREAM = "affectmesh:jobs"
GROUP = "workers"
TASK = "work"

_BLOCK_MS = 1000
_IDLE_MS = 30_000
"""After this long what one worker took and did not acknowledge is offered to another."""

_LONGEST = 10_000
"""Entries that the stream keeps; far more than are ever handed over at once."""

_TIMEOUT_S = 3.0
_RETRY_S = 0.25


def required_url(settings: Settings) -> str:
    """The Redis of the settings; ends the process where there is none."""
    if settings.redis_url is None:
        print("AFFECTMESH_REDIS_URL: jobs need a Redis.", file=sys.stderr)
        raise SystemExit(2)
    return settings.redis_url


class _Broker(RedisStreamBroker):
    """taskiq's broker. It looks for what others left when nothing new comes, not after every entry,
    and reads and acknowledges with one client: half of the CPU of a short job."""

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        redis = Redis(connection_pool=self.connection_pool)
        while True:
            fetched: Any = await redis.xreadgroup(
                GROUP, self.consumer_name, {STREAM: ">"}, count=1, block=_BLOCK_MS
            )
            entries = [entry for _, found in fetched for entry in found]
            if not entries:
                claimed: Any = await redis.xautoclaim(
                    STREAM, GROUP, self.consumer_name, min_idle_time=_IDLE_MS, count=1
                )
                entries = claimed[1]
            for entry, fields in entries:
                yield AckableMessage(data=fields[b"data"], ack=_acknowledge(redis, entry))


def _acknowledge(redis: Redis, entry: bytes) -> Callable[[], Awaitable[None]]:
    async def acknowledge() -> None:
        await redis.xack(STREAM, GROUP, entry)

    return acknowledge


def open_broker(redis_url: str, consumer: str) -> RedisStreamBroker:
    """A connection to the stream, under a name of its own among the workers."""
    return _Broker(
        redis_url,
        queue_name=STREAM,
        consumer_group_name=GROUP,
        consumer_name=consumer,
        consumer_id="0",
        maxlen=_LONGEST,
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


class Sender:
    """Hands jobs over."""

    def __init__(self, redis_url: str) -> None:
        self._broker = open_broker(redis_url, "dispatcher")

    async def send(self, job_ids: Iterable[str]) -> None:
        """Puts jobs on the stream. What an outage loses, the dispatcher hands over again."""
        kicker: AsyncKicker[[str], None] = AsyncKicker(TASK, self._broker, {})
        try:
            for job_id in job_ids:
                await kicker.kiq(job_id)
        except Exception as error:
            log.warning("jobs not handed over", problem=str(error))

    async def forget(self, consumers: Iterable[str]) -> None:
        """Strikes workers that died from the list."""
        try:
            async with Redis(connection_pool=self._broker.connection_pool) as redis:
                for consumer in consumers:
                    await redis.xgroup_delconsumer(STREAM, GROUP, consumer)
        except OUTAGES as error:
            log.warning("worker still listed", problem=str(error))

    async def close(self) -> None:
        """Closes the connection."""
        await self._broker.shutdown()


class Taker:
    """Takes jobs, at most `slots` at once, and does `work` on each until it is told to stop."""

    def __init__(
        self, redis_url: str, consumer: str, slots: int, work: Callable[[str], Awaitable[None]]
    ) -> None:
        self._broker = open_broker(redis_url, consumer)
        self._slots = slots
        self._stop = asyncio.Event()

        async def task(job_id: str) -> None:
            await work(job_id)

        self._broker.register_task(task, TASK)

    async def run(self) -> None:
        """Takes jobs until stopped, through outages of Redis and the loss of its data."""
        self._broker.is_worker_process = True
        while not self._stop.is_set():
            try:
                await self._broker.startup()
                receiver = Receiver(
                    self._broker,
                    max_async_tasks=self._slots,
                    run_startup=False,
                    ack_type=AcknowledgeType.WHEN_EXECUTED,
                )
                await receiver.listen(self._stop)
            except Exception as error:
                log.warning("no jobs from Redis", problem=str(error))
                await asyncio.sleep(_RETRY_S)

    def stop(self) -> None:
        """Takes no more."""
        self._stop.set()

    async def close(self) -> None:
        """Closes the connection."""
        await self._broker.shutdown()
