"""The recordings of an organisation: EmoVision's view of jobs and their files."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import orjson
from starlette.types import Receive

from affectmesh.v1 import jobs_pb2 as pb
from services.common import errors
from services.common.channels import Channels, call, metadata
from services.gateway.dialects.emovision import views
from services.gateway.dialects.jobs import Jobs
from services.gateway.endpoint import Exchange
from services.jobs.representations import emovision

_TIMEOUT_S = 10.0
_PAUSE_S = 0.5


class Recordings:
    """Calls of the job service on behalf of the current caller."""

    def __init__(self, channels: Channels) -> None:
        self._jobs = Jobs(channels, pb.DIALECT_EMOVISION)
        self._stub = self._jobs.stub

    async def create(self, exchange: Exchange, job: pb.Job) -> pb.Job:
        """Queues a recording's job; the same Idempotency-Key gives the same job."""
        return await self._jobs.create(exchange, job)

    async def get(self, recording_id: str) -> pb.Job:
        """The job of a recording. Raises NotFound, for those of others too."""
        try:
            return await self._jobs.get(emovision.job_id(recording_id))
        except errors.NotFound:
            raise _missing(recording_id) from None

    async def page(self, number: int, size: int, status: str) -> pb.ListJobsResponse:
        """A page of recordings, newest first; `status` is a word of the document."""
        states = () if status == "all" else views.STATUSES[status]
        found: pb.ListJobsResponse = await call(
            "jobs",
            self._stub.ListJobs,
            pb.ListJobsRequest(
                dialect=pb.DIALECT_EMOVISION,
                states=states,
                page_size=size,
                skip=(number - 1) * size,
            ),
            _TIMEOUT_S,
        )
        return found

    async def delete(self, recording_id: str) -> pb.DeletionReceipt:
        """Deletes a recording with all that was made of it. Raises NotFound."""
        job = await self.get(recording_id)
        request = pb.DeleteJobRequest(job_id=job.job_id)
        try:
            receipt: pb.DeletionReceipt = await call(
                "jobs", self._stub.DeleteJob, request, _TIMEOUT_S
            )
        except errors.NotFound:
            raise _missing(recording_id) from None
        return receipt

    async def video(self, job: pb.Job) -> pb.Media | None:
        """The description of what was uploaded; None where it is gone."""
        return await self._jobs.media(job.input.media_id)

    async def discard(self, media_id: str) -> None:
        """Deletes an upload of which nothing became."""
        await self._jobs.discard(media_id)

    async def detail(self, job: pb.Job) -> Mapping[str, Any]:
        """All that was found beyond the summary; empty where there is no analysis."""
        if job.state != pb.JOB_STATE_DONE:
            return {}
        found: Mapping[str, Any] = orjson.loads(await self._jobs.content(job, emovision.DETAIL))
        return found

    def file(self, job: pb.Job, name: str) -> AsyncIterator[bytes]:
        """The bytes of a file made of a recording. Raises NotFound."""
        for made in job.representations:
            if made.file_name == name:
                return self._jobs.read(made.media_id)
        raise errors.NotFound(
            "The recording has no such file.", suggestion="Analyse it again for its exports."
        )

    async def ended(self, job: pb.Job, wait_s: float, exchange: Exchange) -> pb.Job:
        """The job once it has ended; as it stands when time is up, the client leaves, or this
        server stops."""
        if wait_s <= 0:
            return job
        watching = asyncio.create_task(self._watch(job, wait_s))
        leaving = asyncio.create_task(_disconnected(exchange.receive))
        stopping = asyncio.create_task(exchange.stopping.wait())
        waited = (watching, leaving, stopping)
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            return watching.result() if watching.done() else job
        finally:
            for task in waited:
                task.cancel()
            await asyncio.gather(*waited, return_exceptions=True)

    async def _watch(self, job: pb.Job, wait_s: float) -> pb.Job:
        """Outlives a job service that is started again meanwhile."""
        until = time.monotonic() + wait_s
        while not _is_over(job) and (left := until - time.monotonic()) > 0:
            try:
                job = await self._change(job, left)
            except errors.AffectMeshError as error:
                if not error.retriable:
                    raise
                await asyncio.sleep(min(_PAUSE_S, left))
        return job

    async def _change(self, job: pb.Job, wait_s: float) -> pb.Job:
        """The job at its end. Raises DeadlineExceeded before, Unavailable without the service."""
        request = pb.WatchJobRequest(job_id=job.job_id)
        stream = self._stub.WatchJob(request, timeout=wait_s, metadata=metadata())
        try:
            async for job in stream:
                if _is_over(job):
                    return job
        except grpc.aio.AioRpcError as error:
            raise errors.from_rpc(error, "jobs") from error
        finally:
            stream.cancel()
        raise errors.Unavailable("The job service ended its answer early.")


def _is_over(job: pb.Job) -> bool:
    return views.status(job) != "processing"


def _missing(recording_id: str) -> errors.NotFound:
    return errors.NotFound(
        f"There is no recording {recording_id[:64]}.",
        suggestion="Check its id; a deleted or expired recording is gone for good.",
    )


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
