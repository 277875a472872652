"""Files on their way from the job service to a client, never held whole."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import grpc

from affectmesh.v1 import jobs_pb2 as pb
from affectmesh.v1 import jobs_pb2_grpc
from services.common import errors
from services.common.channels import Channels, call, metadata
from services.gateway.endpoint import Answer, Dialect, Exchange

_TIMEOUT_S = 10.0
_DOWNLOAD_TIMEOUT_S = 3600.0
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


async def content(
    exchange: Exchange, channels: Channels, media_id: str, dialect: Dialect
) -> Answer:
    """The bytes of a file, or the part that a Range header asks for (RFC 9110, 14).

    Sent as a file to be saved, never to be shown. Several ranges at once are answered with the
    whole. Raises what `MediaStore.get` raises.
    """
    stub = channels.stub("jobs", jobs_pb2_grpc.JobServiceStub)
    request = pb.GetMediaRequest(media_id=media_id)
    media: pb.Media = await call("jobs", stub.GetMedia, request, _TIMEOUT_S)
    asked = exchange.connection.headers
    tag = f'"{media.sha256}"'
    headers = {
        "accept-ranges": "bytes",
        "cache-control": "private, no-cache",
        "content-disposition": disposition(media.file_name),
        "content-security-policy": "default-src 'none'; sandbox",
        "etag": tag,
        "x-content-type-options": "nosniff",
    }
    if tag in (given.strip() for given in asked.get("if-none-match", "").split(",")):
        return Answer(b"", 304, headers, media.content_type)
    start, length = 0, media.size_bytes
    part = asked.get("range") if asked.get("if-range", tag) == tag else None
    if part and (found := _RANGE.fullmatch(part)) and any(found.groups()):
        bounds = _bounds(found[1], found[2], media.size_bytes)
        if bounds is None:
            problem = errors.InvalidRequest(
                f"The file has {media.size_bytes} bytes.", suggestion="Ask for some of them."
            )
            headers["content-range"] = f"bytes */{media.size_bytes}"
            return Answer(dialect.error(problem, exchange.request_id), 416, headers)
        start, length = bounds
        headers["content-range"] = f"bytes {start}-{start + length - 1}/{media.size_bytes}"
    headers["content-length"] = str(length)
    status = 206 if "content-range" in headers else 200
    if not length or exchange.scope["method"] == "HEAD":
        return Answer(b"", status, headers, media.content_type)
    wanted = pb.DownloadMediaRequest(media_id=media_id, offset=start, length=length)
    stream = stub.DownloadMedia(wanted, timeout=_DOWNLOAD_TIMEOUT_S, metadata=metadata())
    return Answer(await _started(stream), status, headers, media.content_type)


def disposition(file_name: str) -> str:
    """Content-Disposition of a file to be saved, with its name for old and new clients
    (RFC 6266)."""
    plain = "".join(c if " " <= c < "\x7f" and c not in '"\\%' else "_" for c in file_name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"


async def _started(stream: Any) -> AsyncIterator[bytes]:
    """The chunks of a download, of which the first has come. Raises what the job service raises."""
    try:
        await stream.read()
        first = await stream.read()
    except grpc.aio.AioRpcError as error:
        raise errors.from_rpc(error, "jobs") from error
    return _chunks(stream, first)


async def _chunks(stream: Any, message: Any) -> AsyncIterator[bytes]:
    try:
        while message is not grpc.aio.EOF:
            yield message.chunk
            message = await stream.read()
    except grpc.aio.AioRpcError as error:
        raise errors.from_rpc(error, "jobs") from error
    finally:
        stream.cancel()


def _bounds(first: str, last: str, size: int) -> tuple[int, int] | None:
    """Start and length of a range, None where nothing of it is there."""
    if not first:
        length = min(int(last), size)
        return (size - length, length) if length else None
    start = int(first)
    end = min(int(last) + 1, size) if last else size
    return (start, end - start) if start < size and start < end else None
