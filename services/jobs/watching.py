"""Watchers of jobs: each change is read once, however many watch, and nothing is read without."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import structlog

from affectmesh.v1 import jobs_pb2 as pb
from services.common import errors
from services.jobs.states import ENDED, State

log = structlog.get_logger()

Read = Callable[[list[str]], Awaitable[Iterable[pb.Job]]]
"""Gives those of the jobs that there are."""

LOOK_AGAIN_S = 5.0
"""How often all watched jobs are read at once, in case no word of a change came through."""


class _Watcher:
    """Holds the latest that was not seen yet."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._job: pb.Job | None = None

    def tell(self, job: pb.Job | None) -> None:
        """None for a job that is gone."""
        self._job = job
        self._news.set()

    async def next(self) -> pb.Job | None:
        await self._news.wait()
        self._news.clear()
        return self._job


class Watching:
    """The watchers of one process."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._watchers: defaultdict[str, set[_Watcher]] = defaultdict(set)
        self._changed: set[str] = set()
        self._wake = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._run())

    def heard(self, job_ids: frozenset[str] | None) -> None:
        """These jobs have changed; None: any may have."""
        found = self._watchers.keys() if job_ids is None else job_ids & self._watchers.keys()
        if found:
            self._changed.update(found)
            self._wake.set()

    async def watch(self, job_id: str) -> AsyncIterator[pb.Job]:
        """The job as it is and after every change, until it has ended.

        A watcher that is slow to read misses states in between, never the last one. Raises
        NotFound when the job is deleted.
        """
        watcher = _Watcher()
        self._watchers[job_id].add(watcher)
        self.heard(frozenset({job_id}))
        last: pb.Job | None = None
        try:
            while last is None or State(last.state) not in ENDED:
                job = await watcher.next()
                if job is None:
                    raise errors.NotFound("The job was deleted.", suggestion="Stop watching it.")
                if job != last:
                    yield job
                last = job
        finally:
            self._watchers[job_id].discard(watcher)
            if not self._watchers[job_id]:
                del self._watchers[job_id]

    async def close(self) -> None:
        """Stops reading."""
        self._closing = True
        self._wake.set()
        await self._task

    async def _run(self) -> None:
        while not self._closing:
            try:
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await self._wake.wait()
            except TimeoutError:
                self._changed.update(self._watchers)
            self._wake.clear()
            changed, self._changed = self._changed, set()
            if changed:
                await self._tell(sorted(changed))

    async def _tell(self, job_ids: list[str]) -> None:
        try:
            found = {job.job_id: job for job in await self._read(job_ids)}
        except errors.AffectMeshError as error:
            log.warning("watched jobs not read", problem=error.message)
            return
        for job_id in job_ids:
            for watcher in self._watchers.get(job_id, ()):
                watcher.tell(found.get(job_id))
