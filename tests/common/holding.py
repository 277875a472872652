"""A server that keeps the contract of the job service's downloads, for services that read media."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc

from affectmesh.v1 import jobs_pb2, jobs_pb2_grpc
from services.common import caller, errors
from tests.common.serving import serving

CHUNK_BYTES = 300_000


class _Jobs(jobs_pb2_grpc.JobServiceServicer):
    def __init__(self, media: Mapping[str, bytes], org_id: int) -> None:
        self._media = media
        self._org_id = org_id

    async def DownloadMedia(
        self, request: jobs_pb2.DownloadMediaRequest, context: Any
    ) -> AsyncIterator[jobs_pb2.DownloadMediaResponse]:
        data = self._media.get(request.media_id)
        if data is None or caller.required().org_id != self._org_id:
            raise errors.NotFound("There is no such file.", suggestion="Check the id.")
        described = jobs_pb2.Media(media_id=request.media_id, size_bytes=len(data))
        yield jobs_pb2.DownloadMediaResponse(media=described)
        for start in range(request.offset, len(data), CHUNK_BYTES):
            yield jobs_pb2.DownloadMediaResponse(chunk=data[start : start + CHUNK_BYTES])


@asynccontextmanager
async def holding(media: Mapping[str, bytes], org_id: int = 1) -> AsyncIterator[str]:
    """Serves one organisation's media by id; gives the address."""

    async def add(server: grpc.aio.Server) -> None:
        jobs = _Jobs(media, org_id)  # type: ignore[abstract]
        jobs_pb2_grpc.add_JobServiceServicer_to_server(jobs, server)

    async with serving(add) as address:
        yield address
