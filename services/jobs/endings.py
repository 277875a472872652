"""How a job ends: with everything that follows from it, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.message import Message
from sqlalchemy import RowMapping, bindparam, case, delete, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from affectmesh.v1 import jobs_pb2 as pb
from services.common import errors, metrics
from services.common.database import fetch_all
from services.jobs import messages
from services.jobs.representations import File, events
from services.jobs.states import MOVES, State
from services.jobs.tables import jobs, representations, usage
from services.jobs.usage import Amount


class Outbox(Protocol):
    """Takes what is to be sent, in the transaction of the change that it tells of."""

    async def publish(
        self, connection: AsyncConnection, org_id: int, event: str, data: Mapping[str, Any]
    ) -> None:
        """Tells the webhooks of an organisation."""

    async def callback(
        self,
        connection: AsyncConnection,
        org_id: int,
        url: str,
        body: bytes,
        content_type: str,
        job_id: str,
    ) -> None:
        """Sends the end of a job to the address that came with it."""


@dataclass(frozen=True)
class Hold:
    """Who has a job: a worker, and which try of the job that is. Only the holder may end it."""

    job_id: str
    worker_id: str
    attempt: int


@dataclass(frozen=True)
class Ending:
    """What a job ends with."""

    state: State
    error: errors.AffectMeshError | None = None
    amount: Amount | None = None
    charged_usd: str = ""
    files: Sequence[pb.Representation] = ()
    """The result in its forms, as they are kept."""
    result: Message | None = None
    summary: Mapping[str, Any] | None = None
    """The result in short, where the dialect has that."""
    answer: Sequence[File] = ()
    """The forms of the dialect, of which the first goes to the callback address."""


class Endings:
    """Ends jobs."""

    def __init__(self, outbox: Outbox, now_ms: Callable[[], int]) -> None:
        self._outbox = outbox
        self._now_ms = now_ms

    async def end(
        self, connection: AsyncConnection, job: str | Hold, ending: Ending
    ) -> RowMapping | None:
        """Ends a job and gives it; None where it cannot end so from where it stands, or is held
        by another than `job` says."""
        (row,) = await self.end_all(connection, [(job, ending)])
        return row

    async def end_all(
        self, connection: AsyncConnection, endings: Sequence[tuple[str | Hold, Ending]]
    ) -> list[RowMapping | None]:
        """The same for many jobs."""
        now = self._now_ms()
        rows = [await self._end(connection, job, ending, now) for job, ending in endings]
        used = [
            _usage(row, ending.amount, now)
            for row, (_, ending) in zip(rows, endings, strict=True)
            if row is not None and ending.amount is not None
        ]
        if used:
            await connection.execute(insert(usage), used)
        return rows

    async def _end(
        self, connection: AsyncConnection, job: str | Hold, ending: Ending, now: int
    ) -> RowMapping | None:
        values = {
            "before": [state for state, following in MOVES.items() if ending.state in following],
            "after": ending.state,
            "least": 1.0 if ending.state == State.DONE else 0.0,
            "why": messages.error_text(ending.error) if ending.error else None,
            "price": ending.charged_usd,
            "said": json.dumps(ending.summary) if ending.summary else None,
            "now": now,
        }
        if isinstance(job, Hold):
            query = _end_held
            values |= {"job": job.job_id, "worker": job.worker_id, "attempt": job.attempt}
        else:
            query = _end_any
            values["job"] = job
        done = await connection.execute(query, values)
        row: RowMapping | None = done.mappings().one_or_none()
        if row is None:
            return None
        kind = pb.JobKind.Name(row["kind"]).removeprefix("JOB_KIND_").lower()
        waited_s = max(0, now - row["created_ms"]) / 1000
        metrics.JOB_SECONDS.labels(kind, ending.state.name.lower()).observe(waited_s)
        results = await self._keep(connection, row, ending.files)
        await self._tell(connection, row, results, ending)
        return row

    async def _keep(
        self, connection: AsyncConnection, row: RowMapping, files: Sequence[pb.Representation]
    ) -> list[RowMapping]:
        if not files:
            return []
        job_id = row["job_id"]
        await connection.execute(delete(representations).where(representations.c.job_id == job_id))
        values = [
            {
                "job_id": job_id,
                "position": position,
                "content_type": file.content_type,
                "file_name": file.file_name,
                "media_id": file.media_id,
            }
            for position, file in enumerate(files)
        ]
        query = insert(representations).values(values).returning(representations)
        return await fetch_all(connection, query)

    async def _tell(
        self,
        connection: AsyncConnection,
        row: RowMapping,
        results: Sequence[RowMapping],
        ending: Ending,
    ) -> None:
        job = messages.job(row, results)
        for event in events.of_job(job, ending.result):
            await self._outbox.publish(connection, row["org_id"], event.name, event.data)
        if row["callback_url"]:
            sent = events.callback(job, ending.answer)
            await self._outbox.callback(
                connection,
                row["org_id"],
                row["callback_url"],
                sent.data,
                sent.content_type,
                row["job_id"],
            )


def held(hold: Hold) -> tuple[Any, ...]:
    """The conditions under which a job is still held so."""
    return (
        jobs.c.job_id == hold.job_id,
        jobs.c.state == State.WORKING,
        jobs.c.worker_id == hold.worker_id,
        jobs.c.attempts == hold.attempt,
    )


_end_any = (
    update(jobs)
    .where(
        jobs.c.job_id == bindparam("job"),
        jobs.c.state.in_(bindparam("before", expanding=True)),
    )
    .values(
        state=bindparam("after"),
        progress=case(
            (jobs.c.progress < bindparam("least"), bindparam("least")), else_=jobs.c.progress
        ),
        error=bindparam("why"),
        charged_usd=bindparam("price"),
        summary=bindparam("said"),
        worker_id=None,
        handed_ms=None,
        updated_ms=bindparam("now"),
        ended_ms=bindparam("now"),
    )
    .returning(jobs)
)

_end_held = _end_any.where(
    jobs.c.worker_id == bindparam("worker"), jobs.c.attempts == bindparam("attempt")
)


def _usage(row: RowMapping, amount: Amount, now_ms: int) -> dict[str, Any]:
    return {
        "job_id": row["job_id"],
        "org_id": row["org_id"],
        "principal_id": row["principal_id"],
        "item": amount.item,
        "quantity": amount.quantity,
        "test_mode": row["test_mode"],
        "consent_reference": row["consent_reference"],
        "time_ms": now_ms,
    }
