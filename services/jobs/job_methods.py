"""The contract's methods on jobs and their notes."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import grpc
from sqlalchemy.ext.asyncio import AsyncConnection

from affectmesh.v1 import jobs_pb2 as pb
from services.billing.plans import PLANS
from services.common import caller
from services.common.caller import Caller
from services.common.database import Database
from services.common.resources import (
    MAX_SKIP,
    invalid,
    new_id,
    page_number,
    page_size,
    page_token,
    text,
)
from services.jobs import execution, messages, plan_limits
from services.jobs.batches import Batches
from services.jobs.deletion import Deletion
from services.jobs.endings import Ending, Endings
from services.jobs.media import MediaStore
from services.jobs.messages import Row
from services.jobs.notices import Notices
from services.jobs.records import Key, Records
from services.jobs.states import State, move
from services.jobs.usage import Quotes, amount
from services.jobs.watching import Watching
from services.jobs.webhooks import Webhooks

Context = grpc.aio.ServicerContext[Any, Any]

MAX_PRIORITY = 10
LONGEST_URL = 2048
LONGEST_KEY = 255
LONGEST_NOTE = 255
LARGEST_STRUCT_BYTES = 16 * 1024

_ENTRIES = ("input", "result")


class JobMethods:
    """Contract in, contract out."""

    database: Database
    batches: Batches
    media: MediaStore
    jobs: Records
    endings: Endings
    deletion: Deletion
    quotes: Quotes
    notices: Notices
    watching: Watching
    webhooks: Webhooks
    retention_ms: int
    now_ms: Callable[[], int]

    async def CreateJob(self, request: pb.CreateJobRequest, _context: Context) -> pb.Job:
        asking = caller.required()
        values = _wanted(request)
        if request.callback_url:
            await self.webhooks.check_callback(request.callback_url)
        media = await self._input(asking, request.job)
        key = _key(request, media)
        used = amount(request.job.kind, media.duration_ms if media else None)
        values["quoted_usd"] = await self.quotes.usd(used) if used else ""
        now = self.now_ms()
        values |= {
            "job_id": new_id("job"),
            "org_id": asking.org_id,
            "principal_id": asking.principal_id,
            "plan": asking.plan,
            "test_mode": asking.test_mode,
            "consent_reference": asking.consent_reference,
            "not_before_ms": now,
            "created_ms": now,
            "updated_ms": now,
            "expires_ms": now + self.retention_ms,
        }
        plan = PLANS[asking.plan]
        over = media is not None and media.duration_ms > plan.max_duration_ms

        async def add(connection: AsyncConnection) -> tuple[Row, bool]:
            if key is not None:
                known = await self.jobs.known(connection, asking.org_id, key)
                if known is not None:
                    return known, False
            row: Row = await self.jobs.add(connection, values, key)
            if over:
                ending = Ending(State.REJECTED, plan_limits.too_long(plan))
                row = await self.endings.end(connection, row["job_id"], ending) or row
            return row, True

        row, new = await self.batches.write(add)
        if not new:
            return await self._job(asking.org_id, row["job_id"])
        self.notices.changed(row["job_id"])
        return messages.job(row)

    async def GetJob(self, request: pb.GetJobRequest, _context: Context) -> pb.Job:
        return await self._job(caller.required().org_id, request.job_id)

    async def ListJobs(self, request: pb.ListJobsRequest, _context: Context) -> pb.ListJobsResponse:
        size = page_size(request.page_size)
        if not 0 <= request.skip <= MAX_SKIP:
            raise invalid("skip", "That many jobs cannot be skipped.", f"Skip 0 to {MAX_SKIP}.")
        page = await self.jobs.page(
            caller.required().org_id,
            dialect=_known(pb.Dialect, "dialect", request.dialect, unset=True),
            states=[_known(pb.JobState, "states", state) for state in request.states],
            before=page_number(request.page_token),
            skip=request.skip,
            size=size,
        )
        full = len(page.rows) == size
        return pb.ListJobsResponse(
            jobs=(messages.job(row, page.results.get(row["job_id"], ())) for row in page.rows),
            next_page_token=page_token(page.rows[-1]["sequence"]) if full else "",
            total_size=page.total,
        )

    async def WatchJob(
        self, request: pb.WatchJobRequest, _context: Context
    ) -> AsyncIterator[pb.Job]:
        await self._job(caller.required().org_id, request.job_id)
        async for job in self.watching.watch(request.job_id):
            yield job

    async def CancelJob(self, request: pb.CancelJobRequest, _context: Context) -> pb.Job:
        org_id = caller.required().org_id
        async with self.database.write() as connection:
            row: Row = await self.jobs.find(connection, org_id, request.job_id)
            if row["state"] == State.CANCELLED:
                return messages.job(row)
            move(State(row["state"]), State.CANCELLED)
            row = await self.endings.end(connection, request.job_id, Ending(State.CANCELLED)) or row
        self.notices.changed(request.job_id)
        return messages.job(row)

    async def DeleteJob(
        self, request: pb.DeleteJobRequest, _context: Context
    ) -> pb.DeletionReceipt:
        asking = caller.required()
        row, _ = await self.jobs.get(asking.org_id, request.job_id)
        receipt = await self.deletion.delete(row, asking.principal_id)
        self.notices.changed(request.job_id)
        return pb.DeletionReceipt(
            receipt_id=receipt.receipt_id,
            resource=receipt.resource,
            sha256=receipt.sha256,
            delete_time=receipt.delete_time,
        )

    async def CreateAnnotation(
        self, request: pb.CreateAnnotationRequest, _context: Context
    ) -> pb.Annotation:
        asking, asked = caller.required(), request.annotation
        values = {
            "job_id": asked.job_id,
            "entry": _entry(asked.entry),
            "key": text("key", asked.key, LONGEST_NOTE),
            "value": text("value", asked.value, LONGEST_NOTE),
            "source": text("source", asked.source, LONGEST_NOTE) if asked.source else "",
            "author": asking.principal_id,
        }
        return messages.annotation(await self.jobs.annotate(asking.org_id, values))

    async def ListAnnotations(
        self, request: pb.ListAnnotationsRequest, _context: Context
    ) -> pb.ListAnnotationsResponse:
        org_id = caller.required().org_id
        rows = await self.jobs.annotations(org_id, request.job_id, _entry(request.entry))
        return pb.ListAnnotationsResponse(annotations=map(messages.annotation, rows))

    async def _job(self, org_id: int, job_id: str) -> pb.Job:
        return messages.job(*await self.jobs.get(org_id, job_id))

    async def _input(self, asking: Caller, job: pb.Job) -> pb.Media | None:
        match job.input.WhichOneof("source"):
            case "media_id":
                return await self.media.get(asking.org_id, job.input.media_id)
            case "url":
                _check_url("input.url", job.input.url)
            case None if job.kind != pb.JOB_KIND_NO_OP:
                raise invalid("input", "The job has no input.", "Send a media_id or a url.")
        return None


def _wanted(request: pb.CreateJobRequest) -> dict[str, Any]:
    job = request.job
    if not -MAX_PRIORITY <= request.priority <= MAX_PRIORITY:
        raise invalid(
            "priority", "There is no such priority.", f"Send -{MAX_PRIORITY} to {MAX_PRIORITY}."
        )
    kind = _known(pb.JobKind, "kind", job.kind)
    execution.options(kind, messages.as_json(job.options))
    return {
        "dialect": _known(pb.Dialect, "dialect", job.dialect),
        "kind": kind,
        "state": State.QUEUED,
        "rank": -request.priority,
        "progress": 0.0,
        "media_id": job.input.media_id or None,
        "url": job.input.url or None,
        "options": _struct("options", job.options),
        "metadata": _struct("metadata", job.metadata),
        "callback_url": request.callback_url,
        "charged_usd": "",
        "attempts": 0,
    }


def _key(request: pb.CreateJobRequest, media: pb.Media | None) -> Key | None:
    """The same file uploaded anew is the same request."""
    if not request.idempotency_key:
        return None
    value = text("idempotency_key", request.idempotency_key, LONGEST_KEY)
    asked = pb.CreateJobRequest()
    asked.CopyFrom(request)
    if media is not None:
        asked.job.input.media_id = media.sha256
    digest = hashlib.sha256(asked.SerializeToString(deterministic=True)).hexdigest()
    return Key(value, digest)


def _known(enum: Any, field: str, number: int, unset: bool = False) -> int:
    if number in enum.values() and (number or unset):
        return number
    words = ", ".join(name for name, value in enum.items() if value)
    raise invalid(field, f"{number} is none of the values of {field}.", f"Use one of {words}.")


def _struct(field: str, struct: Any) -> str:
    value = messages.struct_text(struct)
    if len(value) > LARGEST_STRUCT_BYTES:
        raise invalid(
            field, f"{field} is larger than {LARGEST_STRUCT_BYTES // 1024} KiB.", "Send less."
        )
    return value


def _check_url(field: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        fine = False
    if not fine or len(url) > LONGEST_URL or not url.isprintable():
        raise invalid(
            field,
            f"{field} is not an http or https address of at most {LONGEST_URL} characters.",
            "Send a public one.",
        )


def _entry(entry: str) -> str:
    if entry not in _ENTRIES:
        raise invalid("entry", f"{entry[:32]!r} is no entry of a job.", 'Use "input" or "result".')
    return entry
