"""The contract's methods on media."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc

from affectmesh.v1 import billing_pb2
from affectmesh.v1 import jobs_pb2 as pb
from services.common import caller, errors
from services.common.channels import call
from services.jobs.media import MediaStore

LARGEST_CHUNK_BYTES = 1024 * 1024
"""That is taken in one message."""

_SENT_BYTES = 120 * 1024
"""Of a file in one message; larger ones cost several times the CPU, since the allocator asks the
system for fresh pages each time."""

_RECEIPT_TIMEOUT_S = 10.0
_DRAINED_S, _QUIET_S = 2.0, 0.05

Context = grpc.aio.ServicerContext[Any, Any]


class MediaMethods:
    """Contract in, contract out."""

    media: MediaStore
    create_receipt: Any
    """Billing's CreateDeletionReceipt."""

    async def UploadMedia(
        self, requests: AsyncIterator[pb.UploadMediaRequest], _context: Context
    ) -> pb.Media:
        first = await anext(requests, None)
        if first is None or first.WhichOneof("message") != "description":
            raise errors.InvalidRequest(
                "The upload does not begin with a description.",
                suggestion="Send the description first, then the bytes.",
            )
        try:
            return await self.media.receive(caller.required(), first.description, _chunks(requests))
        except errors.AffectMeshError:
            await _drain(requests)
            raise

    async def DownloadMedia(
        self, request: pb.DownloadMediaRequest, _context: Context
    ) -> AsyncIterator[pb.DownloadMediaResponse]:
        org_id = caller.required().org_id
        yield pb.DownloadMediaResponse(media=await self.media.get(org_id, request.media_id))
        async for piece in self.media.read(
            org_id, request.media_id, request.offset, request.length or None
        ):
            for start in range(0, len(piece), _SENT_BYTES):
                yield pb.DownloadMediaResponse(chunk=piece[start : start + _SENT_BYTES])

    async def GetMedia(self, request: pb.GetMediaRequest, _context: Context) -> pb.Media:
        return await self.media.get(caller.required().org_id, request.media_id)

    async def DeleteMedia(
        self, request: pb.DeleteMediaRequest, _context: Context
    ) -> pb.DeletionReceipt:
        who = caller.required()
        found = await self.media.get(who.org_id, request.media_id)
        sha256 = await self.media.delete(who.org_id, [found.media_id]) or [found.sha256]
        asked = billing_pb2.CreateDeletionReceiptRequest(
            org_id=who.org_id, actor=who.principal_id, resource=found.media_id, sha256=sha256
        )
        receipt = await call("billing", self.create_receipt, asked, _RECEIPT_TIMEOUT_S)
        return pb.DeletionReceipt(
            receipt_id=receipt.receipt_id,
            resource=receipt.resource,
            sha256=receipt.sha256,
            delete_time=receipt.delete_time,
        )


async def _drain(requests: AsyncIterator[pb.UploadMediaRequest]) -> None:
    """Reads what is on its way: a client whose write fails would not see why its call ended."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAINED_S):
            while True:
                async with asyncio.timeout(_QUIET_S):
                    if await anext(requests, None) is None:
                        return


async def _chunks(requests: AsyncIterator[pb.UploadMediaRequest]) -> AsyncIterator[bytes]:
    """The bytes between description and end. gRPC shows a client that went away as the end of its
    messages, so that only the end sent tells a whole upload."""
    size = 0
    async for request in requests:
        match request.WhichOneof("message"):
            case "chunk" if len(request.chunk) <= LARGEST_CHUNK_BYTES:
                size += len(request.chunk)
                yield request.chunk
            case "end" if request.end.size_bytes == size:
                return
            case _:
                break
    raise errors.InvalidRequest(
        "The upload broke off, or is not a description, chunks of at most 1 MiB, and its end.",
        suggestion="Send them in this order, and in the end how many bytes that were.",
    )
