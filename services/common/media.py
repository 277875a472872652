"""Images, audio and video: given in the request, fetched from a public URL, or held by the job
service. Small ones come as bytes, large ones as a temporary file.

A URL given by a client is fetched only from public addresses: the address of every connection,
also after redirects and whatever a name resolves to, is checked before it is made.
"""

import asyncio
import io
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import IO, TYPE_CHECKING, ParamSpec, TypeVar
from urllib.parse import urlsplit

import aiohttp
import grpc

from affectmesh.v1 import jobs_pb2, jobs_pb2_grpc
from services.common import addresses, channels, errors, metrics
from services.common.channels import Channels
from services.common.settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Buffer

P = ParamSpec("P")
R = TypeVar("R")

MAX_REDIRECTS = 5
_CHUNK_BYTES = 64 * 1024


class MediaLoader:
    """Loads media within limits on address, time and size."""

    def __init__(self, settings: Settings, channels: Channels) -> None:
        self._open_socket = addresses.opener(settings.fetch_allow_private)
        self._timeout = aiohttp.ClientTimeout(
            total=settings.fetch_timeout_s, sock_connect=min(5.0, settings.fetch_timeout_s)
        )
        self._longest_s = settings.request_timeout_s
        self._channels = channels
        self._session: aiohttp.ClientSession | None = None

    async def load(
        self, *, kind: str, url: str, data: bytes, limit_bytes: int, media_id: str | None = None
    ) -> bytes:
        """The bytes of one input of which exactly one of url, data and media_id must be given.

        `kind` is "image", "audio", "video" or "recording", the prefix of the public field names;
        media_id is None where the request has no such field.
        Raises InvalidRequest for several or none, PayloadTooLarge, FetchFailed for a URL that is
        malformed, private, unreachable, slow or answers an error, and what the job service raises,
        such as NotFound.
        """
        _refuse_unclear(kind, url, data, media_id)
        if data:
            if len(data) > limit_bytes:
                raise _too_large(kind, limit_bytes)
            return data
        body = bytearray()
        async with aclosing(self._pieces(kind, url, media_id or "", limit_bytes)) as pieces:
            async for piece in pieces:
                body += piece
        return bytes(body)

    @asynccontextmanager
    async def open(
        self, *, kind: str, url: str, data: bytes, limit_bytes: int, media_id: str | None = None
    ) -> AsyncIterator[IO[bytes]]:
        """The same as a temporary file at its beginning, with no more than a piece in memory.

        The file is gone at the end, and with the process.
        """
        _refuse_unclear(kind, url, data, media_id)
        pieces = _once(data) if data else self._pieces(kind, url, media_id or "", limit_bytes)
        async with aclosing(pieces), spool(pieces, kind, limit_bytes) as file:
            yield file

    async def close(self) -> None:
        """Ends every fetch."""
        if self._session:
            await self._session.close()

    async def _pieces(
        self, kind: str, url: str, media_id: str, limit_bytes: int
    ) -> AsyncGenerator[bytes]:
        """What is behind a URL or held under an id."""
        if media_id:
            pieces = self._download(kind, media_id, limit_bytes)
        else:
            pieces = self._fetch(url, limit_bytes)
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece
        except errors.AffectMeshError as error:
            if url:
                metrics.FETCHES.labels(error.code).inc()
            raise
        if url:
            metrics.FETCHES.labels("OK").inc()

    async def _download(self, kind: str, media_id: str, limit_bytes: int) -> AsyncGenerator[bytes]:
        stub = self._channels.stub("jobs", jobs_pb2_grpc.JobServiceStub)
        request = jobs_pb2.DownloadMediaRequest(media_id=media_id)
        size = 0
        call = stub.DownloadMedia(request, timeout=self._longest_s, metadata=channels.metadata())
        try:
            async for message in call:
                size = max(size + len(message.chunk), message.media.size_bytes)
                if size > limit_bytes:
                    raise _too_large(kind, limit_bytes)
                if message.chunk:
                    yield message.chunk
        except grpc.aio.AioRpcError as error:
            raise errors.from_rpc(error, "jobs") from error
        finally:
            call.cancel()

    async def _fetch(self, url: str, limit_bytes: int) -> AsyncGenerator[bytes]:
        if not _is_web(url):
            raise errors.FetchFailed(
                "The URL is not an http or https address.",
                suggestion="Send a public URL that begins with https://.",
            )
        if self._session is None:
            connector = aiohttp.TCPConnector(socket_factory=self._open_socket)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
            )
        try:
            async with self._session.get(url, max_redirects=MAX_REDIRECTS + 1) as response:
                if response.status != 200:
                    raise errors.FetchFailed(
                        f"The URL answered {response.status}.",
                        suggestion="Check that the URL is public and needs no sign-in.",
                    )
                async for chunk in _read(response, limit_bytes):
                    yield chunk
        except aiohttp.TooManyRedirects:
            raise errors.FetchFailed(
                f"The URL redirects more than {MAX_REDIRECTS} times.",
                suggestion="Send the URL that it leads to.",
            ) from None
        except TimeoutError:
            raise errors.FetchFailed(
                f"The URL did not answer within {self._timeout.total:g} s.",
                suggestion="Send the bytes as base64, or a URL on a faster host.",
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if addresses.leads_inside(error):
                raise errors.FetchFailed(
                    "The URL leads to an address that is not public.",
                    suggestion="Send the bytes as base64, or a public URL.",
                ) from None
            raise errors.FetchFailed(
                "The URL cannot be fetched.", suggestion="Check the address and that it is public."
            ) from None


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


async def _read(response: aiohttp.ClientResponse, limit_bytes: int) -> AsyncGenerator[bytes]:
    if response.content_length is not None and response.content_length > limit_bytes:
        raise _too_large("media", limit_bytes)
    size = 0
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        size += len(chunk)
        if size > limit_bytes:
            raise _too_large("media", limit_bytes)
        yield chunk


@asynccontextmanager
async def spool(
    pieces: AsyncIterator[bytes], kind: str, limit_bytes: int
) -> AsyncIterator[IO[bytes]]:
    """Pieces of one input as a temporary file at its beginning, gone at the end.

    Raises PayloadTooLarge, and what the pieces raise.
    """
    size = 0
    with _Spool(tempfile.TemporaryFile(prefix="affectmesh-", buffering=0)) as file:
        async for piece in pieces:
            size += len(piece)
            if size > limit_bytes:
                raise _too_large(kind, limit_bytes)
            await asyncio.to_thread(file.write, piece)
        file.seek(0)
        yield file


class _Spool(io.BufferedRandom):
    """A file that has no more bytes once it is gone.

    A thread whose request was cancelled may still decode it, and FFmpeg's bindings print what a
    closed file raises among the log lines.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        return self._or(b"", super().read, size)

    def readinto(self, buffer: "Buffer", /) -> int:
        return self._or(0, super().readinto, buffer)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._or(0, super().seek, offset, whence)

    def tell(self) -> int:
        return self._or(0, super().tell)

    def _or(self, gone: R, method: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except ValueError:
            if self.closed:
                return gone
            raise


async def _once(data: bytes) -> AsyncGenerator[bytes]:
    yield data


def _refuse_unclear(kind: str, url: str, data: bytes, media_id: str | None) -> None:
    """Raises InvalidRequest unless exactly one is given."""
    given = sum(map(bool, (url, data, media_id)))
    if given == 1:
        return
    fields = [f"{kind}_url", f"{kind}_base64", *([] if media_id is None else ["media_id"])]
    raise errors.InvalidRequest(
        f"Give exactly one of {', '.join(fields[:-1])} and {fields[-1]}.",
        field=f"{kind}_url",
        suggestion=f"Send the {kind} one way only; an empty one counts as missing.",
    )


def _too_large(kind: str, limit_bytes: int) -> errors.PayloadTooLarge:
    limit = f"{limit_bytes / 1024 / 1024:g} MiB"
    return errors.PayloadTooLarge(
        f"The {kind} is larger than {limit}.", suggestion=f"Send at most {limit}.", limit=limit
    )
