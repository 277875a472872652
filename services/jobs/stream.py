"""The Redis stream that hands jobs to workers. Only ids travel on it; the database is the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

import structlog
from redis.exceptions import ResponseError

from services.billing.announcements import OUTAGES, connect
from services.common.settings import Settings, refuse

log = structlog.get_logger()

STREAM = "affectmesh:jobs"
GROUP = "workers"

_JOB = "job"
"""Field of an entry: the job's id."""

_BLOCK_MS = 1000
_IDLE_MS = 30_000
"""After this long what one worker took and did not acknowledge is offered to another."""

_LONGEST = 10_000
"""Entries that the stream keeps; far more than are ever handed over at once."""

_TIMEOUT_S = 3.0
_RETRY_S = 0.25

Entry = tuple[bytes, dict[bytes, bytes]]


def required_url(settings: Settings) -> str:
    """The Redis of the settings; ends the process where there is none."""
    if settings.redis_url is None:
        refuse("REDIS_URL", "jobs need a Redis.")
    return settings.redis_url


class Sender:
    """Hands jobs over."""

    def __init__(self, redis_url: str) -> None:
        self._redis = connect(redis_url, _TIMEOUT_S)

    async def send(self, job_ids: Iterable[str]) -> None:
        """Puts jobs on the stream. What an outage loses, the dispatcher hands over again."""
        try:
            async with self._redis.pipeline(transaction=False) as commands:
                for job_id in job_ids:
                    commands.xadd(STREAM, {_JOB: job_id}, maxlen=_LONGEST)
                await commands.execute()
        except OUTAGES as error:
            log.warning("jobs not handed over", problem=str(error))

    async def forget(self, consumers: Iterable[str]) -> None:
        """Strikes workers that died from the list."""
        try:
            for consumer in consumers:
                await self._redis.xgroup_delconsumer(STREAM, GROUP, consumer)
        except OUTAGES as error:
            log.warning("worker still listed", problem=str(error))

    async def close(self) -> None:
        """Closes the connection."""
        await self._redis.aclose()


class Taker:
    """Takes jobs, at most `slots` at once, and does `work` on each until it is told to stop."""

    def __init__(
        self, redis_url: str, consumer: str, slots: int, work: Callable[[str], Awaitable[None]]
    ) -> None:
        self._redis = connect(redis_url, _TIMEOUT_S)
        self._consumer = consumer
        self._slots = slots
        self._work = work
        self._stopping = False
        self._working: set[asyncio.Task[None]] = set()
        self._ended: list[bytes] = []
        """Entries to be acknowledged."""

    async def run(self) -> None:
        """Takes jobs until stopped, through outages of Redis and the loss of its data; then waits
        for those at work."""
        while not self._stopping:
            try:
                await self._make_group()
                while not self._stopping:
                    await self._take()
            except OUTAGES as error:
                log.warning("no jobs from Redis", problem=str(error))
                await asyncio.sleep(_RETRY_S)
        if self._working:
            await asyncio.wait(self._working)

    def stop(self) -> None:
        """Takes no more."""
        self._stopping = True

    async def close(self) -> None:
        """Acknowledges what has ended, and leaves the group."""
        with suppress(*OUTAGES):
            if self._ended:
                await self._redis.xack(STREAM, GROUP, *self._ended)
            await self._redis.xgroup_delconsumer(STREAM, GROUP, self._consumer)
        await self._redis.aclose()

    async def _make_group(self) -> None:
        with suppress(ResponseError):
            await self._redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)

    async def _take(self) -> None:
        """Takes as many jobs as there are free places."""
        while len(self._working) >= self._slots:
            await asyncio.wait(self._working, return_when=asyncio.FIRST_COMPLETED)
        for entry, fields in await self._next(self._slots - len(self._working)):
            if not self._stopping:
                self._begin(entry, fields)

    async def _next(self, count: int) -> list[Entry]:
        """New entries; when none come, what others took long ago and did not acknowledge.
        Acknowledges what has ended meanwhile in the same breath."""
        ended, self._ended = self._ended, []
        async with self._redis.pipeline(transaction=False) as commands:
            if ended:
                commands.xack(STREAM, GROUP, *ended)
            commands.xreadgroup(GROUP, self._consumer, {STREAM: ">"}, count=count, block=_BLOCK_MS)
            found: Any = (await commands.execute())[-1]
        entries = [entry for _, taken in found for entry in taken]
        if not entries:
            left: Any = await self._redis.xautoclaim(
                STREAM, GROUP, self._consumer, min_idle_time=_IDLE_MS, count=count
            )
            entries = left[1]
        return entries

    def _begin(self, entry: bytes, fields: dict[bytes, bytes]) -> None:
        task = asyncio.create_task(self._see_through(entry, fields.get(_JOB.encode(), b"")))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _see_through(self, entry: bytes, job_id: bytes) -> None:
        try:
            await self._work(job_id.decode())
        except Exception:
            log.exception("job not worked on", job_id=job_id.decode())
        self._ended.append(entry)
