"""Hands queued jobs to the workers: a few at a time, in a fair order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, bindparam, func, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.database import Database, fetch_all
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
    """Chooses who is next. Several dispatchers on one database do no harm."""

    def __init__(self, database: Database, sender: Sender, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._sender = sender
        self._now_ms = now_ms
        self._last = 0
        self._handed = 0
        self._ended: deque[tuple[int, int]] = deque()

    async def run(self) -> int:
        """One pass; gives how many jobs it handed over."""
        now = self._now_ms()
        async with self._database.read() as connection:
            slots = int((await connection.execute(_slots)).scalar_one() or 0)
            busy = {row["org_id"]: row for row in await fetch_all(connection, _busy)}
            working = sum(row["working"] for row in busy.values())
            handed = sum(row["handed"] for row in busy.values())
            free = slots + self._ahead(now, working + handed) - working - handed
            held = {org: row["working"] + row["handed"] for org, row in busy.items()}
            chosen = await self._choose(connection, free, now, held) if free > 0 else []
        oldest = min((row["oldest"] for row in busy.values() if row["oldest"]), default=now)
        if oldest <= now - LOST_MS and working < slots:
            await self._take_back(now)
        if not chosen:
            return 0
        async with self._database.write() as connection:
            handing = await connection.execute(_hand, {"ids": chosen, "now": now})
            sent = set(handing.scalars())
        self._handed += len(sent)
        await self._sender.send(job_id for job_id in chosen if job_id in sent)
        return len(sent)

    def _ahead(self, now: int, held: int) -> int:
        self._ended.append((now, self._handed - held))
        while self._ended[0][0] < now - AHEAD_S * 1000:
            self._ended.popleft()
        return min(max(0, self._ended[-1][1] - self._ended[0][1]), MOST_AHEAD)

    async def _choose(
        self,
        connection: AsyncConnection,
        free: int,
        now: int,
        busy: dict[int, int],
    ) -> list[str]:
        orgs = [row["org_id"] for row in await fetch_all(connection, _waiting)]
        found: dict[int, list[str]] = {}
        while orgs and free > 0:
            shares = share(free, busy, orgs, self._last)
            orgs = []
            for org, places in shares.items():
                taken = found.setdefault(org, [])
                values = {"org": org, "now": now, "skip": len(taken), "places": places}
                ready = list((await connection.execute(_ready, values)).scalars())
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


_slots = select(func.sum(workers.c.slots))

_busy = (
    select(
        jobs.c.org_id,
        func.count().filter(jobs.c.state == State.WORKING).label("working"),
        func.count(jobs.c.handed_ms).label("handed"),
        func.min(jobs.c.handed_ms).label("oldest"),
    )
    .where(
        jobs.c.sequence.in_(
            union_all(
                select(jobs.c.sequence).where(jobs.c.state == State.WORKING),
                select(jobs.c.sequence).where(jobs.c.handed_ms > 0),
            )
        )
    )
    .group_by(jobs.c.org_id)
)
"""Of each organisation, the jobs at work and those handed over."""

_ready = (
    select(jobs.c.job_id)
    .where(
        jobs.c.state == State.QUEUED,
        jobs.c.org_id == bindparam("org"),
        jobs.c.handed_ms.is_(None),
        jobs.c.not_before_ms <= bindparam("now"),
    )
    .order_by(jobs.c.rank, jobs.c.sequence)
    .offset(bindparam("skip"))
    .limit(bindparam("places"))
)

_hand = (
    update(jobs)
    .where(
        jobs.c.job_id.in_(bindparam("ids", expanding=True)),
        jobs.c.state == State.QUEUED,
        jobs.c.handed_ms.is_(None),
    )
    .values(handed_ms=bindparam("now"))
    .returning(jobs.c.job_id)
)


def _next_org(after: ColumnElement[int] | None) -> ScalarSelect[Any]:
    query = select(func.min(jobs.c.org_id)).where(jobs.c.state == State.QUEUED)
    return (query if after is None else query.where(jobs.c.org_id > after)).scalar_subquery()


_orgs = select(_next_org(None).label("org_id")).cte("orgs", recursive=True)
_orgs = _orgs.union_all(select(_next_org(_orgs.c.org_id)).where(_orgs.c.org_id.is_not(None)))
_waiting = select(_orgs.c.org_id).where(_orgs.c.org_id.is_not(None))
"""The organisations with queued jobs: one step in the index for each, however many jobs it has."""
