"""Phonexia's endpoints: start a task, and ask for it."""

import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from starlette.routing import Route

from affectmesh.v1 import jobs_pb2 as pb
from services.billing.plans import PLANS, Plan
from services.common import errors
from services.common.channels import Channels
from services.common.settings import Settings
from services.gateway import uploads
from services.gateway.access import Access
from services.gateway.dialects.jobs import Jobs, missing
from services.gateway.dialects.phonexia import reading, words
from services.gateway.dialects.phonexia.task_ids import job_id, task_id
from services.gateway.dialects.verbs import route
from services.gateway.endpoint import Answer, Exchange
from services.gateway.policy import Policy
from services.jobs.representations.phonexia import FILE_NAME

PATH = "/api/technology/emotion-recognition"

STATES: Mapping[int, str] = {
    pb.JOB_STATE_QUEUED: "pending",
    pb.JOB_STATE_WORKING: "running",
    pb.JOB_STATE_DONE: "done",
    pb.JOB_STATE_ERROR: "failed",
    pb.JOB_STATE_CANCELLED: "failed",
    pb.JOB_STATE_REJECTED: "rejected",
}
"""Phonexia's word for each state."""

_FILE = "file"
_SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def routes(_settings: Settings, channels: Channels, policy: Policy) -> Iterator[Route]:
    """Every route of the dialect."""
    endpoints = _Endpoints(channels, policy)
    dialect = words.Phonexia()
    yield route(PATH, dialect, {"POST": endpoints.start}, _correlate)
    yield route(f"{PATH}/{{task_id}}", dialect, {"GET": endpoints.get}, _correlate)


def _correlate(exchange: Exchange) -> None:
    """X-Correlation-ID as the client sent it, or a new one."""
    given = exchange.connection.headers.get("x-correlation-id", "")
    known = given if _SAFE_ID.fullmatch(given) else str(uuid.uuid4())
    exchange.headers["x-correlation-id"] = known


class _Endpoints:
    """The handlers."""

    def __init__(self, channels: Channels, policy: Policy) -> None:
        self._channels = channels
        self._access = Access(policy)
        self._jobs = Jobs(channels, pb.DIALECT_PHONEXIA)

    async def start(self, exchange: Exchange) -> Answer:
        """Takes a file and queues a task for it."""
        admission = await self._access.analyse(exchange)
        options = reading.options(exchange.connection.query_params)
        media = await self._receive(exchange, PLANS[admission.principal.plan])
        job = pb.Job(kind=pb.JOB_KIND_VOICE, input=pb.JobInput(media_id=media.media_id))
        job.options.update(options)
        made = await self._jobs.create(exchange, job)
        task = task_id(made.job_id)
        location = f"{PATH}/{task}"
        headers = {"location": location, "x-location": location}
        return Answer({"task": {"task_id": task, "state": STATES[made.state]}}, 202, headers)

    async def get(self, exchange: Exchange) -> Answer:
        """A task, and its result once it is done."""
        await self._access.read(exchange)
        task = str(exchange.scope["path_params"]["task_id"])
        known = job_id(task)
        if not known:
            raise missing(task)
        try:
            job = await self._jobs.get(known)
        except errors.NotFound:
            raise missing(task) from None
        answer: dict[str, Any] = {
            "task": {"task_id": task_id(job.job_id), "state": STATES[job.state]}
        }
        if job.state == pb.JOB_STATE_DONE:
            answer["result"] = orjson.loads(await self._jobs.content(job, FILE_NAME))
        elif answer["task"]["state"] in ("failed", "rejected"):
            answer["error"] = words.body(_failure(job))
        return Answer(answer, headers={"cache-control": "no-store"})

    async def _receive(self, exchange: Exchange, plan: Plan) -> pb.Media:
        headers = exchange.connection.headers
        try:
            uploads.boundary(headers.get("content-type", ""))
        except errors.UnsupportedMedia as error:
            raise errors.InvalidRequest(error.message, **error.details) from None
        try:
            form = await uploads.receive(exchange, self._channels, files=(_FILE,), plan=plan)
        except errors.PayloadTooLarge as error:
            if not error.details.get("limit", "").endswith("MiB"):
                raise
            details = {
                **error.details,
                "max_file_size": str(plan.max_upload_bytes),
                "size_unit": "bytes",
            }
            if (size := headers.get("content-length", "")).isdecimal():
                details["file_size"] = size
            raise errors.PayloadTooLarge("Input media file too large.", **details) from None
        if _FILE not in form.files:
            raise errors.InvalidRequest(
                "Field required.", field=_FILE, suggestion="Send a media file as file."
            )
        media = form.files[_FILE]
        await self._jobs.check_sound(media)
        return media


def _failure(job: pb.Job) -> errors.AffectMeshError:
    """Why a task has no result, as an error of ours."""
    if not job.error.code:
        return errors.Conflict("The task was cancelled.", suggestion="Start another.")
    details = {name: str(value) for name, value in dict(job.error.details).items()}
    return errors.known(job.error.code, job.error.message, details)
