"""Hands queued jobs to the workers: a few at a time, in a fair order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.database import Database, fetch_all
from services.jobs.fairness import share
from services.jobs.states import State
from services.jobs.stream import Sender
from services.jobs.tables import jobs, workers

AHEAD = 1.0
"""Jobs handed over beyond those at work, per place: what is ready when a place gets free."""

LOST_MS = 3000
"""What is handed over and not taken for this long although there are free places was lost."""


class Dispatcher:
    """Chooses who is next. Several dispatchers on one database do no harm."""

    def __init__(self, database: Database, sender: Sender, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._sender = sender
        self._now_ms = now_ms
        self._last = 0

    async def run(self) -> int:
        """One pass; gives how many jobs it handed over."""
        now = self._now_ms()
        async with self._database.read() as connection:
            slots = await _sum(connection, select(func.sum(workers.c.slots)))
            working = await _by_org(connection, jobs.c.state == State.WORKING)
            handed = await _by_org(connection, jobs.c.handed_ms > 0)
            lost = await _sum(
                connection, select(func.count()).where(jobs.c.handed_ms.between(1, now - LOST_MS))
            )
            at_work = sum(working.values())
            free = int(slots * (1 + AHEAD)) - at_work - sum(handed.values())
            chosen = await self._choose(connection, free, now, working, handed) if free > 0 else []
        if lost and at_work < slots:
            await self._take_back(now)
        if not chosen:
            return 0
        hand = (
            update(jobs)
            .where(
                jobs.c.job_id.in_(chosen),
                jobs.c.state == State.QUEUED,
                jobs.c.handed_ms.is_(None),
            )
            .values(handed_ms=now)
            .returning(jobs.c.job_id)
        )
        async with self._database.write() as connection:
            sent = {row["job_id"] for row in await fetch_all(connection, hand)}
        await self._sender.send(job_id for job_id in chosen if job_id in sent)
        return len(sent)

    async def _choose(
        self,
        connection: AsyncConnection,
        free: int,
        now: int,
        working: Mapping[int, int],
        handed: Mapping[int, int],
    ) -> list[str]:
        busy = {org: working.get(org, 0) + handed.get(org, 0) for org in {*working, *handed}}
        orgs = [row["org_id"] for row in await fetch_all(connection, _waiting)]
        found: dict[int, list[str]] = {}
        while orgs and free > 0:
            shares = share(free, busy, orgs, self._last)
            orgs = []
            for org, places in shares.items():
                taken = found.setdefault(org, [])
                query = (
                    select(jobs.c.job_id)
                    .where(
                        jobs.c.state == State.QUEUED,
                        jobs.c.org_id == org,
                        jobs.c.handed_ms.is_(None),
                        jobs.c.not_before_ms <= now,
                    )
                    .order_by(jobs.c.rank, jobs.c.sequence)
                    .offset(len(taken))
                    .limit(places)
                )
                ready = [row["job_id"] for row in await fetch_all(connection, query)]
                taken += ready
                busy[org] = busy.get(org, 0) + len(ready)
                free -= len(ready)
                if len(ready) == places:
                    orgs.append(org)
                if ready:
                    self._last = org
        return _in_turns(found)

    async def _take_back(self, now: int) -> None:
        lost = update(jobs).where(jobs.c.handed_ms.between(1, now - LOST_MS))
        async with self._database.write() as connection:
            await connection.execute(lost.values(handed_ms=None))


def _in_turns(found: Mapping[int, list[str]]) -> list[str]:
    longest = max(map(len, found.values()), default=0)
    return [ids[turn] for turn in range(longest) for ids in found.values() if turn < len(ids)]


async def _sum(connection: AsyncConnection, query: Select[Any]) -> int:
    return int((await connection.execute(query)).scalar_one() or 0)


async def _by_org(connection: AsyncConnection, condition: ColumnElement[bool]) -> dict[int, int]:
    query = select(jobs.c.org_id, func.count().label("jobs")).where(condition)
    rows = await fetch_all(connection, query.group_by(jobs.c.org_id))
    return {row["org_id"]: row["jobs"] for row in rows}


def _next_org(after: ColumnElement[int] | None) -> ScalarSelect[Any]:
    query = select(func.min(jobs.c.org_id)).where(jobs.c.state == State.QUEUED)
    return (query if after is None else query.where(jobs.c.org_id > after)).scalar_subquery()


_orgs = select(_next_org(None).label("org_id")).cte("orgs", recursive=True)
_orgs = _orgs.union_all(select(_next_org(_orgs.c.org_id)).where(_orgs.c.org_id.is_not(None)))
_waiting = select(_orgs.c.org_id).where(_orgs.c.org_id.is_not(None))
"""The organisations with queued jobs: one step in the index for each, however many jobs it has."""
