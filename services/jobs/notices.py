"""Tells every process of the job service, over Redis, which jobs have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from services.billing.announcements import OUTAGES, connect

log = structlog.get_logger()

CHANNEL = "affectmesh:jobs:changed"

Heard = Callable[[frozenset[str] | None], None]

_RETRY_S = 0.25
_REST_S = 0.005
"""Between two messages: what changes meanwhile goes into one."""
_LISTEN_S = 30.0


class Notices:
    """Published as soon as may be; one that an outage swallows is made up for by `heard(None)`."""

    def __init__(self, redis_url: str) -> None:
        self._redis = connect(redis_url)
        self._pending: set[str] = set()
        self._changed = asyncio.Event()
        self._closing = False
        self._publishing = asyncio.create_task(self._publish())
        self._listening: asyncio.Task[None] | None = None

    def changed(self, *job_ids: str) -> None:
        """Tells of jobs that have changed."""
        if job_ids:
            self._pending.update(job_ids)
            self._changed.set()

    def listen(self, heard: Heard) -> None:
        """Calls `heard` with jobs that have changed, also those that this process told of; with
        None after an outage, when any job may have changed."""
        self._listening = asyncio.create_task(self._listen(heard))

    async def close(self) -> None:
        """Sends what is pending and ends."""
        self._closing = True
        self._changed.set()
        await self._publishing
        while self._listening is not None and not self._listening.done():
            self._listening.cancel()
            await asyncio.wait([self._listening], timeout=_RETRY_S)
        await self._redis.aclose()

    async def _publish(self) -> None:
        while not self._closing or self._pending:
            await self._changed.wait()
            self._changed.clear()
            sent, self._pending = self._pending, set()
            if sent:
                await self._send(sent)
                await asyncio.sleep(_REST_S)

    async def _send(self, job_ids: set[str]) -> None:
        try:
            await self._redis.publish(CHANNEL, " ".join(sorted(job_ids)))
        except OUTAGES as error:
            log.warning("changes not told", problem=str(error))

    async def _listen(self, heard: Heard) -> None:
        while not self._closing:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(CHANNEL)
                    heard(None)
                    while not self._closing:
                        message = await channel.get_message(timeout=_LISTEN_S)
                        if message is not None:
                            heard(frozenset(message["data"].decode().split()))
            except OUTAGES as error:
                log.warning("changes not heard", problem=str(error))
                await asyncio.sleep(_RETRY_S)
