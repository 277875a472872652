"""The jobs of every organisation, as their owners see and change them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common import errors
from services.common.database import Database, fetch_all, fetch_first, fetch_one
from services.common.resources import new_id
from services.jobs.tables import annotations, idempotency_keys, jobs, media, representations

KEY_LIFE_MS = 24 * 60 * 60 * 1000
"""How long an idempotency key means the same job."""

_COMPLETION_MS = 60_000
"""How long a deletion may take before the sweep takes it over."""

MAX_ANNOTATIONS = 1000
"""Notes on one entry of a job."""


@dataclass(frozen=True)
class Key:
    """An idempotency key, with the sha256 of the request that it came with."""

    value: str
    digest: str


@dataclass(frozen=True)
class Page:
    """Jobs, newest first, with their results, and how many match in all."""

    rows: list[RowMapping]
    results: Mapping[str, list[RowMapping]]
    total: int


class Records:
    """The jobs of one installation."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms

    async def known(self, connection: AsyncConnection, org_id: int, key: Key) -> RowMapping | None:
        """The job that a key stands for; None for a new key.

        Raises Conflict where the key came with another request. Whoever asks for the same key at
        the same time waits until the transaction ends.
        """
        await self._database.lock(connection, _number(org_id, key.value))
        columns = idempotency_keys.c
        mine = (columns.org_id == org_id, columns.key == key.value)
        found = await fetch_first(connection, select(idempotency_keys).where(*mine))
        if found is None:
            return None
        if found["created_ms"] <= self._now_ms() - KEY_LIFE_MS:
            await connection.execute(delete(idempotency_keys).where(*mine))
            return None
        if found["digest"] != key.digest:
            raise errors.Conflict(
                "This idempotency key came with another request before.",
                field="idempotency_key",
                job_id=found["job_id"],
                suggestion="Use a new key for each new job.",
            )
        return await fetch_one(connection, select(jobs).where(jobs.c.job_id == found["job_id"]))

    async def add(
        self, connection: AsyncConnection, values: Mapping[str, Any], key: Key | None
    ) -> RowMapping:
        """A new job."""
        row = await fetch_one(connection, insert(jobs).values(values).returning(jobs))
        if key is not None:
            kept = {
                "org_id": row["org_id"],
                "key": key.value,
                "digest": key.digest,
                "job_id": row["job_id"],
                "created_ms": row["created_ms"],
            }
            await connection.execute(insert(idempotency_keys).values(kept))
        return row

    async def get(self, org_id: int, job_id: str) -> tuple[RowMapping, list[RowMapping]]:
        """A job and its results. Raises NotFound."""
        async with self._database.read() as connection:
            row = await self.find(connection, org_id, job_id)
            results = await results_of(connection, [job_id])
        return row, results.get(job_id, [])

    async def find(self, connection: AsyncConnection, org_id: int, job_id: str) -> RowMapping:
        """A job. Raises NotFound."""
        query = select(jobs).where(jobs.c.job_id == job_id, jobs.c.org_id == org_id)
        row = await fetch_first(connection, query)
        if row is None:
            raise _no_job()
        return row

    async def several(self, job_ids: Sequence[str]) -> list[tuple[RowMapping, list[RowMapping]]]:
        """Those of the jobs that there are, each with its results."""
        query = select(jobs).where(jobs.c.job_id.in_(job_ids))
        async with self._database.read() as connection:
            rows = await fetch_all(connection, query)
            results = await results_of(connection, job_ids)
        return [(row, results.get(row["job_id"], [])) for row in rows]

    async def page(
        self,
        org_id: int,
        *,
        dialect: int,
        states: Sequence[int],
        before: int | None,
        skip: int,
        size: int,
    ) -> Page:
        """Jobs of a dialect (0 for all) in some states (none for all), after a page's last."""
        matching: list[ColumnElement[bool]] = [jobs.c.org_id == org_id]
        if dialect:
            matching.append(jobs.c.dialect == dialect)
        if states:
            matching.append(jobs.c.state.in_(states))
        query = select(jobs).where(*matching)
        if before is not None:
            query = query.where(jobs.c.sequence < before)
        query = query.order_by(jobs.c.sequence.desc()).offset(skip).limit(size)
        count = select(func.count()).select_from(jobs).where(*matching)
        async with self._database.read() as connection:
            rows = await fetch_all(connection, query)
            results = await results_of(connection, [row["job_id"] for row in rows])
            total = (await connection.execute(count)).scalar_one()
        return Page(rows, results, total)

    async def files(self, connection: AsyncConnection, row: RowMapping) -> list[str]:
        """The media that goes with a job: its results, and its input unless another job has it."""
        results = await results_of(connection, [row["job_id"]])
        found = [result["media_id"] for result in results.get(row["job_id"], [])]
        if row["media_id"]:
            other = select(jobs.c.job_id).where(
                jobs.c.media_id == row["media_id"], jobs.c.job_id != row["job_id"]
            )
            if (await connection.execute(other.limit(1))).one_or_none() is None:
                found.append(row["media_id"])
        return found

    async def begin_erasure(
        self, connection: AsyncConnection, job_id: str, media_ids: Sequence[str]
    ) -> list[str]:
        """Notes the sha256 of what a deletion deletes, and has the sweep complete it.

        Gives what was noted at the first try. Raises NotFound where the job is gone.
        """
        query = select(media.c.sha256).where(media.c.media_id.in_(media_ids))
        sha256 = [found["sha256"] for found in await fetch_all(connection, query)]
        noted = func.coalesce(jobs.c.erasure, " ".join(sha256))
        begin = update(jobs).where(jobs.c.job_id == job_id)
        begin = begin.values(erasure=noted, expires_ms=self._now_ms() + _COMPLETION_MS)
        row = await fetch_first(connection, begin.returning(jobs.c.erasure))
        if row is None:
            raise _no_job()
        digests: str = row["erasure"]
        return digests.split()

    async def remove(self, connection: AsyncConnection, job_id: str) -> None:
        """Deletes a job with its notes."""
        await connection.execute(delete(jobs).where(jobs.c.job_id == job_id))

    async def expired(self, at_once: int) -> list[RowMapping]:
        """Jobs whose time is over."""
        query = select(jobs).where(jobs.c.expires_ms <= self._now_ms())
        async with self._database.read() as connection:
            return await fetch_all(connection, query.order_by(jobs.c.expires_ms).limit(at_once))

    async def annotate(self, org_id: int, values: Mapping[str, str]) -> RowMapping:
        """A new note. Raises NotFound, and InvalidRequest where an entry has too many."""
        async with self._database.write() as connection:
            await self.find(connection, org_id, values["job_id"])
            count = select(func.count()).where(
                annotations.c.job_id == values["job_id"], annotations.c.entry == values["entry"]
            )
            if (await connection.execute(count)).scalar_one() >= MAX_ANNOTATIONS:
                raise errors.InvalidRequest(
                    f"There are {MAX_ANNOTATIONS} notes on this entry already.",
                    suggestion="Put more into one note.",
                )
            row = {**values, "annotation_id": new_id("ann"), "created_ms": self._now_ms()}
            return await fetch_one(
                connection, insert(annotations).values(row).returning(annotations)
            )

    async def annotations(self, org_id: int, job_id: str, entry: str) -> list[RowMapping]:
        """The notes on an entry, oldest first. Raises NotFound."""
        columns = annotations.c
        query = select(annotations).where(columns.job_id == job_id, columns.entry == entry)
        async with self._database.read() as connection:
            await self.find(connection, org_id, job_id)
            return await fetch_all(connection, query.order_by(columns.sequence))


async def results_of(
    connection: AsyncConnection, job_ids: Sequence[str]
) -> dict[str, list[RowMapping]]:
    """The results of each job, in order."""
    if not job_ids:
        return {}
    columns = representations.c
    query = select(representations).where(columns.job_id.in_(job_ids))
    found: dict[str, list[RowMapping]] = {}
    for row in await fetch_all(connection, query.order_by(columns.job_id, columns.position)):
        found.setdefault(row["job_id"], []).append(row)
    return found


def _no_job() -> errors.NotFound:
    return errors.NotFound("There is no such job.", suggestion="Check its id.")


def _number(org_id: int, key: str) -> int:
    digest = hashlib.sha256(f"{org_id}\n{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
