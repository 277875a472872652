"""The jobs of one dialect, for the current caller."""

from collections.abc import AsyncIterator

import grpc
import structlog

from affectmesh.v1 import jobs_pb2 as pb
from affectmesh.v1 import jobs_pb2_grpc
from services.common import errors
from services.common.channels import Channels, call, metadata
from services.gateway.endpoint import Exchange

log = structlog.get_logger()

_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 600.0


class Jobs:
    """Calls of the job service. What is another organisation's, or came through another dialect, is
    not found."""

    def __init__(self, channels: Channels, dialect: "pb.Dialect.ValueType") -> None:
        self.stub = channels.stub("jobs", jobs_pb2_grpc.JobServiceStub)
        self._dialect = dialect

    async def create(self, exchange: Exchange, job: pb.Job, callback_url: str = "") -> pb.Job:
        """Queues a job; one of the same Idempotency-Key is given again.

        Raises what the job service raises. An input that no job will read is deleted; where the
        service did not answer, a job may.
        """
        job.dialect = self._dialect
        request = pb.CreateJobRequest(
            job=job, callback_url=callback_url, idempotency_key=idempotency_key(exchange)
        )
        try:
            made: pb.Job = await call("jobs", self.stub.CreateJob, request, _TIMEOUT_S)
        except errors.AffectMeshError as error:
            if not error.retriable:
                await self.discard(job.input.media_id)
            raise
        if made.input.media_id != job.input.media_id:
            await self.discard(job.input.media_id)
        return made

    async def discard(self, media_id: str) -> None:
        """Deletes an input that no job will read; what cannot be deleted now expires."""
        if not media_id:
            return
        request = pb.DeleteMediaRequest(media_id=media_id)
        try:
            await call("jobs", self.stub.DeleteMedia, request, _TIMEOUT_S)
        except errors.AffectMeshError as error:
            log.warning("input not discarded", media_id=media_id, problem=error.message)

    async def check_sound(self, media: pb.Media) -> None:
        """Raises UnsupportedMedia for an input that is a picture; it is deleted."""
        if media.content_type.startswith("image/"):
            await self.discard(media.media_id)
            raise errors.UnsupportedMedia(
                f"The file is {media.content_type}; it has no sound.",
                suggestion="Send a recording, or a video with sound.",
            )

    async def get(self, job_id: str) -> pb.Job:
        """One job. Raises NotFound."""
        request = pb.GetJobRequest(job_id=job_id)
        try:
            job: pb.Job = await call("jobs", self.stub.GetJob, request, _TIMEOUT_S)
        except (errors.NotFound, errors.InvalidRequest):
            raise missing(job_id) from None
        if job.dialect != self._dialect:
            raise missing(job_id)
        return job

    async def page(self, size: int, token: str) -> pb.ListJobsResponse:
        """A page of jobs, newest first: at most 100, after the page that gave the token."""
        request = pb.ListJobsRequest(dialect=self._dialect, page_size=size, page_token=token)
        found: pb.ListJobsResponse = await call("jobs", self.stub.ListJobs, request, _TIMEOUT_S)
        return found

    async def media(self, media_id: str) -> pb.Media | None:
        """The description of a file, None where it is gone."""
        request = pb.GetMediaRequest(media_id=media_id)
        try:
            media: pb.Media = await call("jobs", self.stub.GetMedia, request, _TIMEOUT_S)
        except errors.NotFound:
            return None
        return media

    async def read(self, media_id: str) -> AsyncIterator[bytes]:
        """The bytes of a file. Raises NotFound with the first."""
        request = pb.DownloadMediaRequest(media_id=media_id)
        stream = self.stub.DownloadMedia(request, timeout=_READ_TIMEOUT_S, metadata=metadata())
        try:
            async for message in stream:
                if message.WhichOneof("message") == "chunk":
                    yield message.chunk
        except grpc.aio.AioRpcError as error:
            raise errors.from_rpc(error, "jobs") from error
        finally:
            stream.cancel()

    async def content(self, job: pb.Job, file_name: str) -> bytes:
        """One form of a job's result, whole. Raises NotFound."""
        for file in job.representations:
            if file.file_name == file_name:
                return b"".join([piece async for piece in self.read(file.media_id)])
        raise errors.NotFound(
            "The result is no longer kept.", suggestion="Send the file again for a new one."
        )


def idempotency_key(exchange: Exchange) -> str:
    """The Idempotency-Key; empty for none."""
    return exchange.connection.headers.get("idempotency-key", "").strip()


def missing(job_id: str) -> errors.NotFound:
    """The refusal of an id that is none of the caller's."""
    return errors.NotFound(
        f"There is no {job_id[:64]!r} here.",
        suggestion="Check the id; what has expired is gone for good.",
    )
