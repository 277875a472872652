"""Jobs over REST: create, list, follow, cancel, delete, annotate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import grpc
import orjson
from starlette.routing import Route

from affectmesh.v1 import jobs_pb2 as pb
from affectmesh.v1 import jobs_pb2_grpc
from services.common import errors, transcoding
from services.common.channels import Channels, call, metadata
from services.common.resources import MAX_SKIP
from services.common.settings import Settings
from services.gateway import reading
from services.gateway.access import Access
from services.gateway.dialects.wia import BASE_PATHS, Wia
from services.gateway.endpoint import Answer, Endpoint, Exchange, Handler
from services.gateway.policy import Policy

KEEP_ALIVE_S = 15.0
"""How often a watcher is sent a comment while nothing changes."""

EVENT_STREAM = "text/event-stream"

_TIMEOUT_S = 10.0
_DELETE_TIMEOUT_S = 60.0

_OF_JOB = ("kind", "input", "options", "metadata")
_OF_REQUEST = ("priority", "callback_url", "idempotency_key")
_OF_NOTE = ("entry", "key", "value", "source")

_parse_job = transcoding.parser(pb.Job.DESCRIPTOR)
_parse_request = transcoding.parser(pb.CreateJobRequest.DESCRIPTOR)
_parse_note = transcoding.parser(pb.Annotation.DESCRIPTOR)
_parse_list = transcoding.parser(pb.ListJobsRequest.DESCRIPTOR)
_render_job = transcoding.renderer(pb.Job.DESCRIPTOR)
_render_page = transcoding.renderer(pb.ListJobsResponse.DESCRIPTOR)
_render_receipt = transcoding.renderer(pb.DeletionReceipt.DESCRIPTOR)
_render_note = transcoding.renderer(pb.Annotation.DESCRIPTOR)
_render_notes = transcoding.renderer(pb.ListAnnotationsResponse.DESCRIPTOR)


def routes(_settings: Settings, channels: Channels, policy: Policy) -> Iterator[Route]:
    """Every route of this file, under each base path."""
    jobs = _Jobs(channels, policy)
    for base in BASE_PATHS:
        for path, method, handler in jobs.handlers():
            yield Route(base + path, Endpoint(path, Wia(), handler), methods=[method])


class _Jobs:
    """The handlers."""

    def __init__(self, channels: Channels, policy: Policy) -> None:
        self._access = Access(policy)
        self._jobs = channels.stub("jobs", jobs_pb2_grpc.JobServiceStub)

    def handlers(self) -> Iterator[tuple[str, str, Handler]]:
        """Path, method and handler of each."""
        yield "/v1/jobs", "POST", self._create
        yield "/v1/jobs", "GET", self._list
        yield "/v1/jobs/{job_id}", "GET", self._get
        yield "/v1/jobs/{job_id}", "DELETE", self._delete
        yield "/v1/jobs/{job_id}/cancel", "POST", self._cancel
        yield "/v1/jobs/{job_id}/watch", "GET", self._watch
        yield "/v1/jobs/{job_id}/annotations", "GET", self._notes
        yield "/v1/jobs/{job_id}/annotations", "POST", self._annotate

    async def _create(self, exchange: Exchange) -> Answer:
        await self._access.analyse(exchange)
        body = _object(await exchange.json(reading.LARGEST_BODY), (*_OF_JOB, *_OF_REQUEST))
        sources = body.get("input")
        if isinstance(sources, dict) and None not in (sources.get("media_id"), sources.get("url")):
            raise reading.wrong("input", "The input is both a media_id and a url: send one.")
        job = _parse_job({name: body[name] for name in _OF_JOB if name in body})
        job.dialect = pb.DIALECT_WIA
        request = _parse_request({name: body[name] for name in _OF_REQUEST if name in body})
        request.job.CopyFrom(job)
        if header := exchange.connection.headers.get("idempotency-key"):
            request.idempotency_key = header
        made = await call("jobs", self._jobs.CreateJob, request, _TIMEOUT_S)
        return Answer(_render_job(made), 201, {"location": f"/v1/jobs/{made.job_id}"})

    async def _list(self, exchange: Exchange) -> Answer:
        await self._access.read(exchange)
        size, token = reading.page(exchange)
        skip = reading.whole(exchange.connection.query_params, "skip", 0, 0, MAX_SKIP)
        asked: dict[str, Any] = {"page_size": size, "page_token": token, "skip": skip}
        if dialect := reading.parameter(exchange, "dialect"):
            asked["dialect"] = dialect
        if states := reading.parameter(exchange, "states"):
            asked["states"] = states.split(",")
        page = await call("jobs", self._jobs.ListJobs, _parse_list(asked), _TIMEOUT_S)
        return Answer(_render_page(page))

    async def _get(self, exchange: Exchange) -> Answer:
        await self._access.read(exchange)
        request = pb.GetJobRequest(job_id=_job_id(exchange))
        return Answer(_render_job(await call("jobs", self._jobs.GetJob, request, _TIMEOUT_S)))

    async def _cancel(self, exchange: Exchange) -> Answer:
        await self._access.analyse(exchange)
        request = pb.CancelJobRequest(job_id=_job_id(exchange))
        return Answer(_render_job(await call("jobs", self._jobs.CancelJob, request, _TIMEOUT_S)))

    async def _delete(self, exchange: Exchange) -> Answer:
        await self._access.analyse(exchange)
        request = pb.DeleteJobRequest(job_id=_job_id(exchange))
        receipt = await call("jobs", self._jobs.DeleteJob, request, _DELETE_TIMEOUT_S)
        return Answer(_render_receipt(receipt))

    async def _watch(self, exchange: Exchange) -> Answer:
        await self._access.read(exchange)
        request = pb.WatchJobRequest(job_id=_job_id(exchange))
        watched = self._jobs.WatchJob(request, metadata=metadata())
        try:
            first = await watched.read()
        except grpc.aio.AioRpcError as error:
            raise errors.from_rpc(error, "jobs") from error
        return Answer(
            _events(watched, first, exchange.stopping),
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
            media_type=EVENT_STREAM,
        )

    async def _annotate(self, exchange: Exchange) -> Answer:
        await self._access.analyse(exchange)
        body = _object(await exchange.json(reading.LARGEST_BODY), _OF_NOTE)
        note = _parse_note(body)
        note.job_id = _job_id(exchange)
        request = pb.CreateAnnotationRequest(annotation=note)
        made = await call("jobs", self._jobs.CreateAnnotation, request, _TIMEOUT_S)
        return Answer(_render_note(made), 201)

    async def _notes(self, exchange: Exchange) -> Answer:
        await self._access.read(exchange)
        request = pb.ListAnnotationsRequest(
            job_id=_job_id(exchange), entry=reading.parameter(exchange, "entry") or "result"
        )
        found = await call("jobs", self._jobs.ListAnnotations, request, _TIMEOUT_S)
        return Answer(_render_notes(found))


async def _events(
    watched: grpc.aio.UnaryStreamCall[Any, pb.Job], first: Any, stopping: asyncio.Event
) -> AsyncIterator[bytes]:
    """The job at every change as server-sent events, until it ends; `error` where it is deleted,
    and where this server stops."""
    stopped = asyncio.ensure_future(stopping.wait())
    reading: asyncio.Future[Any] = stopped
    try:
        message = first
        while message is not grpc.aio.EOF:
            yield _event("job", _render_job(message))
            reading = asyncio.ensure_future(watched.read())
            while not reading.done():
                await asyncio.wait(
                    (reading, stopped),
                    timeout=KEEP_ALIVE_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not reading.done():
                    if stopped.done():
                        yield _problem(_stopping())
                        return
                    yield b": still there\n\n"
            message = reading.result()
    except grpc.aio.AioRpcError as problem:
        yield _problem(errors.from_rpc(problem, "jobs"))
    finally:
        watched.cancel()
        stopped.cancel()
        await asyncio.wait((reading, stopped))


def _stopping() -> errors.Unavailable:
    return errors.Unavailable("This server stops; the job goes on.", suggestion="Watch it again.")


def _problem(error: errors.AffectMeshError) -> bytes:
    return _event("error", {"code": error.code, "message": error.message})


def _event(name: str, data: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))


def _object(body: Any, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise errors.InvalidRequest("The body is not an object.", suggestion="Send a JSON object.")
    for name in body:
        if name not in names:
            raise errors.InvalidRequest(
                f"{name[:64]} is not a known field.",
                field=name[:64],
                suggestion=f"Known fields: {', '.join(names)}.",
            )
    return body


def _job_id(exchange: Exchange) -> str:
    return str(exchange.scope["path_params"]["job_id"])
