"""Hands queued jobs to the workers: a few at a time, in a fair order."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.database import Database
from services.jobs.fairness import share
from services.jobs.states import State
from services.jobs.stream import Sender
from services.jobs.tables import jobs, workers

AHEAD_S = 0.1
"""Jobs handed over beyond the free places: as many as ended in this time, so that short jobs follow
one another without a pause, and long ones wait here, where their order may still change."""

MOST_AHEAD = 64

LOST_MS = 3000
"""What is handed over and not taken for this long although there are free places was lost."""


class Dispatcher:
    """Chooses who is next. It writes nothing to the database, where a job is taken once however
    often it is handed over: several dispatchers do no harm, nor does one that is started again."""

    def __init__(self, database: Database, sender: Sender, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._sender = sender
        self._now_ms = now_ms
        self._last = 0
        self._handed: dict[str, int] = {}
        """When jobs that nobody has taken yet were handed over."""
        self._count = 0
        self._ended: deque[tuple[int, int]] = deque()

    async def run(self) -> int:
        """One pass; gives how many jobs it handed over."""
        now = self._now_ms()
        async with self._database.read() as connection:
            slots = int((await connection.execute(_slots)).scalar_one() or 0)
            working = Counter({row.org_id: row.jobs for row in await connection.execute(_working)})
            lost_ms = now - LOST_MS if working.total() < slots else 0
            waiting = await self._waiting(connection, lost_ms)
            held = working.total() + len(waiting)
            free = slots + self._ahead(now, held) - held
            chosen = await self._choose(connection, free, now, working, waiting)
        self._handed = {job_id: self._handed.get(job_id, now) for job_id in (*waiting, *chosen)}
        self._count += len(chosen)
        if chosen:
            await self._sender.send(chosen)
        return len(chosen)

    async def _waiting(self, connection: AsyncConnection, lost_ms: int) -> dict[str, int]:
        """The organisation of each job that waits to be taken: not of those that were handed over
        before `lost_ms`, nor of those that were taken and put back since."""
        if not self._handed:
            return {}
        found = await connection.execute(_queued, {"ids": list(self._handed)})
        return {
            row.job_id: row.org_id
            for row in found
            if max(row.not_before_ms, lost_ms) <= self._handed[row.job_id]
        }

    def _ahead(self, now: int, held: int) -> int:
        self._ended.append((now, self._count - held))
        while self._ended[0][0] < now - AHEAD_S * 1000:
            self._ended.popleft()
        return min(max(0, self._ended[-1][1] - self._ended[0][1]), MOST_AHEAD)

    async def _choose(
        self,
        connection: AsyncConnection,
        free: int,
        now: int,
        working: Counter[int],
        waiting: Mapping[str, int],
    ) -> list[str]:
        """Jobs for the free places, of those that were not handed over yet."""
        if free <= 0:
            return []
        orgs = list((await connection.execute(_orgs_queued)).scalars())
        handed = Counter(waiting.values())
        found: dict[int, list[str]] = {}
        while orgs and free > 0:
            shares = share(free, working + handed, orgs, self._last)
            orgs = []
            for org, places in shares.items():
                taken = found.setdefault(org, [])
                values = {"org": org, "now": now, "most": places + handed[org]}
                queued = (await connection.execute(_ready, values)).scalars()
                ready = [one for one in queued if one not in waiting and one not in taken][:places]
                taken += ready
                handed[org] += len(ready)
                free -= len(ready)
                if len(ready) == places:
                    orgs.append(org)
                if ready:
                    self._last = org
        return _in_turns(found)


def _in_turns(found: Mapping[int, list[str]]) -> list[str]:
    longest = max(map(len, found.values()), default=0)
    return [ids[turn] for turn in range(longest) for ids in found.values() if turn < len(ids)]


_slots = select(func.sum(workers.c.slots))

_working = (
    select(jobs.c.org_id, func.count().label("jobs"))
    .where(jobs.c.state == State.WORKING)
    .group_by(jobs.c.org_id)
)

_queued = select(jobs.c.job_id, jobs.c.org_id, jobs.c.not_before_ms).where(
    jobs.c.job_id.in_(bindparam("ids", expanding=True)), jobs.c.state == State.QUEUED
)

_ready = (
    select(jobs.c.job_id)
    .where(
        jobs.c.state == State.QUEUED,
        jobs.c.org_id == bindparam("org"),
        jobs.c.not_before_ms <= bindparam("now"),
    )
    .order_by(jobs.c.rank, jobs.c.sequence)
    .limit(bindparam("most"))
)


def _next_org(after: ColumnElement[int] | None) -> ScalarSelect[Any]:
    query = select(func.min(jobs.c.org_id)).where(jobs.c.state == State.QUEUED)
    return (query if after is None else query.where(jobs.c.org_id > after)).scalar_subquery()


_orgs = select(_next_org(None).label("org_id")).cte("orgs", recursive=True)
_orgs = _orgs.union_all(select(_next_org(_orgs.c.org_id)).where(_orgs.c.org_id.is_not(None)))
_orgs_queued = select(_orgs.c.org_id).where(_orgs.c.org_id.is_not(None))
"""The organisations with queued jobs: one step in the index for each, however many jobs it has."""
