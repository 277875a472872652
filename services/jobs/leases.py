"""Who works on what: workers take jobs, hold them while they live, and give them back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import RowMapping, bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common import errors
from services.common.database import Database, fetch_all, fetch_first
from services.jobs.endings import Ending, Endings, Hold, held
from services.jobs.states import State
from services.jobs.tables import jobs, workers

MAX_ATTEMPTS = 3
"""A job that was tried this often in vain ends in an error."""

BEAT_S = 1.0
"""How often a worker says that it lives."""

LEASE_S = 4.0
"""A worker that has not said so for this long is dead."""


@dataclass(frozen=True)
class Claim:
    """A worker wants a job."""

    job_id: str
    worker_id: str


class Claims:
    """Takes queued jobs for workers."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms

    async def take(
        self, connection: AsyncConnection, claims: Sequence[Claim]
    ) -> list[RowMapping | None]:
        """The jobs that one worker wants; None in place of one that is not there to be taken."""
        values = {
            "wanted": [claim.job_id for claim in claims],
            "worker": claims[0].worker_id,
            "now": self._now_ms(),
        }
        found = (await connection.execute(_claim, values)).mappings()
        taken = {row["job_id"]: row for row in found}
        return [taken.pop(claim.job_id, None) for claim in claims]


_claim = (
    update(jobs)
    .where(jobs.c.job_id.in_(bindparam("wanted", expanding=True)), jobs.c.state == State.QUEUED)
    .values(
        state=State.WORKING,
        progress=0.0,
        worker_id=bindparam("worker"),
        attempts=jobs.c.attempts + 1,
        updated_ms=bindparam("now"),
    )
    .returning(jobs)
)


async def give_back(
    connection: AsyncConnection, hold: Hold, now_ms: int, *, wait_ms: int = 0, counts: bool = True
) -> RowMapping | None:
    """Puts a job back in the queue, for a while later; `counts` says whether it was a try."""
    query = update(jobs).where(*held(hold))
    query = query.values(
        state=State.QUEUED,
        worker_id=None,
        attempts=jobs.c.attempts if counts else jobs.c.attempts - 1,
        not_before_ms=now_ms + wait_ms,
        updated_ms=now_ms,
    )
    return await fetch_first(connection, query.returning(jobs))


async def beat(
    connection: AsyncConnection,
    worker_id: str,
    slots: int,
    progress: Mapping[Hold, float],
    now_ms: int,
) -> set[Hold]:
    """Says that a worker lives, and how far its jobs are; gives those that it holds no more."""
    alive = update(workers).where(workers.c.worker_id == worker_id)
    if (await connection.execute(alive.values(beats=workers.c.beats + 1))).rowcount == 0:
        await connection.execute(insert(workers).values(worker_id=worker_id, slots=slots, beats=0))
    if not progress:
        return set()
    moved = (
        update(jobs)
        .where(
            jobs.c.job_id == bindparam("held_job"),
            jobs.c.worker_id == worker_id,
            jobs.c.progress < bindparam("share"),
        )
        .values(progress=bindparam("share"), updated_ms=now_ms)
    )
    shares = [{"held_job": hold.job_id, "share": share} for hold, share in progress.items()]
    await connection.execute(moved, shares)
    query = select(jobs.c.job_id, jobs.c.attempts).where(
        jobs.c.job_id.in_([hold.job_id for hold in progress]),
        jobs.c.worker_id == worker_id,
        jobs.c.state == State.WORKING,
    )
    still = {
        Hold(row["job_id"], worker_id, row["attempts"])
        for row in await fetch_all(connection, query)
    }
    return set(progress) - still


async def leave(connection: AsyncConnection, worker_id: str) -> None:
    """A worker goes."""
    await connection.execute(delete(workers).where(workers.c.worker_id == worker_id))


class Watch:
    """Finds workers that died, by beats that no longer rise on this machine's own clock."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._seen: dict[str, tuple[int, float]] = {}
        self._looked = monotonic()

    def look(self, beats: Mapping[str, int]) -> list[str]:
        """The workers that are dead, from what each last said.

        Whoever has not looked for long enough itself cannot tell, and waits for one lease more.
        """
        now = self._monotonic()
        if now - self._looked > LEASE_S / 2:
            self._seen.clear()
        self._looked = now
        self._seen = {
            worker: self._seen[worker]
            if worker in self._seen and self._seen[worker][0] == count
            else (count, now)
            for worker, count in beats.items()
        }
        return [worker for worker, (_, since) in self._seen.items() if now - since >= LEASE_S]


class Recovery:
    """Puts the jobs of dead workers back."""

    def __init__(
        self, database: Database, endings: Endings, now_ms: Callable[[], int], watch: Watch
    ) -> None:
        self._database = database
        self._endings = endings
        self._now_ms = now_ms
        self._watch = watch

    async def run(self) -> tuple[list[str], list[str]]:
        """One look: the workers found dead, and the jobs that changed."""
        async with self._database.read() as connection:
            found = await fetch_all(connection, select(workers))
            lost = await fetch_all(connection, _lost)
        dead = self._watch.look({row["worker_id"]: row["beats"] for row in found})
        if not dead and not lost:
            return [], []
        async with self._database.write() as connection:
            if dead:
                await connection.execute(delete(workers).where(workers.c.worker_id.in_(dead)))
            lost = await fetch_all(connection, _lost)
            for row in lost:
                await self._recover(connection, row)
        return dead, [row["job_id"] for row in lost]

    async def _recover(self, connection: AsyncConnection, row: RowMapping) -> None:
        hold = Hold(row["job_id"], row["worker_id"], row["attempts"])
        if row["attempts"] >= MAX_ATTEMPTS:
            await self._endings.end(connection, hold, Ending(State.ERROR, _worker_lost()))
        else:
            await give_back(connection, hold, self._now_ms())


def _worker_lost() -> errors.WorkerLost:
    return errors.WorkerLost(
        f"{MAX_ATTEMPTS} workers died while they worked on this job.",
        suggestion="Check the input; tell the operator the job's id.",
    )


_lost = select(jobs).where(
    jobs.c.state == State.WORKING, jobs.c.worker_id.not_in(select(workers.c.worker_id))
)
"""What is held by a worker that is not there."""
