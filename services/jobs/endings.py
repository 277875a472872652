"""How a job ends: with everything that follows from it, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.message import Message
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from affectmesh.v1 import jobs_pb2 as pb
from services.common import errors, metrics
from services.jobs import messages
from services.jobs.messages import Row
from services.jobs.representations import File, events
from services.jobs.states import MOVES, State
from services.jobs.tables import jobs, representations, usage
from services.jobs.usage import Amount


class Outbox(Protocol):
    """Takes what is to be sent, in the transaction of the change that it tells of."""

    async def listening(self, connection: AsyncConnection, org_ids: Collection[int]) -> set[int]:
        """Those of the organisations that have webhooks."""

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

    async def end(self, connection: AsyncConnection, job: str | Hold, ending: Ending) -> Row | None:
        """Ends a job and gives it; None where it cannot end so from where it stands, or is held
        by another than `job` says."""
        (row,) = await self.end_all(connection, [(job, ending)])
        return row

    async def end_all(
        self, connection: AsyncConnection, endings: Sequence[tuple[str | Hold, Ending]]
    ) -> list[Row | None]:
        """The same for many jobs; one that is named again ends once, as the first says."""
        now = self._now_ms()
        ids = [job.job_id if isinstance(job, Hold) else job for job, _ in endings]
        standing = (await connection.execute(_standing, {"ids": ids})).mappings()
        rows = {row["job_id"]: row for row in standing}
        ended: list[_Ended | None] = []
        for job_id, (job, ending) in zip(ids, endings, strict=True):
            row = rows.get(job_id)
            if row is not None and _may_end(row, job, ending.state):
                ended.append(_ended(rows.pop(job_id), ending, now))
            else:
                ended.append(None)
        if any(ended):
            await self._write(connection, [one for one in ended if one is not None], now)
        return [None if one is None else one.row for one in ended]

    async def _write(self, connection: AsyncConnection, ended: Sequence[_Ended], now: int) -> None:
        changes = [{"job": one.row["job_id"], **one.changes} for one in ended]
        await connection.execute(_end, changes)
        if kept := [result for one in ended for result in one.results]:
            await connection.execute(insert(representations), kept)
        if used := [_usage(one.row, one.ending.amount, now) for one in ended if one.ending.amount]:
            await connection.execute(insert(usage), used)
        listening = await self._outbox.listening(connection, {one.row["org_id"] for one in ended})
        for one in ended:
            kind = events.word(pb.Job(kind=one.row["kind"]), "kind")
            waited_s = max(0, now - one.row["created_ms"]) / 1000
            metrics.JOB_SECONDS.labels(kind, one.ending.state.name.lower()).observe(waited_s)
            if one.row["org_id"] in listening or one.row["callback_url"]:
                await self._tell(connection, one)

    async def _tell(self, connection: AsyncConnection, ended: _Ended) -> None:
        row, ending = ended.row, ended.ending
        job = messages.job(row, ended.results)
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


@dataclass(frozen=True)
class _Ended:
    """A job as it ended, and what has changed by that."""

    row: Row
    changes: Mapping[str, Any]
    ending: Ending

    @property
    def results(self) -> list[dict[str, Any]]:
        """Rows of the table `representations`."""
        return [
            {
                "job_id": self.row["job_id"],
                "position": position,
                "content_type": file.content_type,
                "file_name": file.file_name,
                "media_id": file.media_id,
            }
            for position, file in enumerate(self.ending.files)
        ]


def held(hold: Hold) -> tuple[Any, ...]:
    """The conditions under which a job is still held so."""
    return (
        jobs.c.job_id == hold.job_id,
        jobs.c.state == State.WORKING,
        jobs.c.worker_id == hold.worker_id,
        jobs.c.attempts == hold.attempt,
    )


def _may_end(row: Row, job: str | Hold, state: State) -> bool:
    if isinstance(job, Hold) and (row["worker_id"], row["attempts"]) != (
        job.worker_id,
        job.attempt,
    ):
        return False
    return state in MOVES[State(row["state"])]


def _ended(row: Row, ending: Ending, now: int) -> _Ended:
    changes = {
        "state": ending.state,
        "progress": 1.0 if ending.state == State.DONE else row["progress"],
        "error": messages.error_text(ending.error) if ending.error else None,
        "charged_usd": ending.charged_usd,
        "summary": json.dumps(ending.summary) if ending.summary else None,
        "worker_id": None,
        "updated_ms": now,
        "ended_ms": now,
    }
    return _Ended({**row, **changes}, changes, ending)


_standing = (
    select(jobs)
    .where(jobs.c.job_id.in_(bindparam("ids", expanding=True)))
    .order_by(jobs.c.sequence)
    .with_for_update()
)
"""Locked until the transaction ends; SQLite has one writer at a time anyway."""

_end = update(jobs).where(jobs.c.job_id == bindparam("job"))


def _usage(row: Row, amount: Amount, now_ms: int) -> dict[str, Any]:
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
