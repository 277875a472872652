"""Bytes of images, audio and video: given in the request, or fetched from a public URL.

A URL given by a client is fetched only from public addresses: the address of every connection,
also after redirects and whatever a name resolves to, is checked before it is made.
"""

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from services.common import errors, metrics
from services.common.settings import Settings

MAX_REDIRECTS = 5
_CHUNK_BYTES = 64 * 1024


_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class _PrivateAddress(OSError):
    """The URL leads inside."""


class MediaLoader:
    """Loads media within limits on address, time and size."""

    def __init__(self, settings: Settings) -> None:
        self._allow_private = settings.fetch_allow_private
        self._timeout = aiohttp.ClientTimeout(
            total=settings.fetch_timeout_s, sock_connect=min(5.0, settings.fetch_timeout_s)
        )
        self._session: aiohttp.ClientSession | None = None

    async def load(self, *, kind: str, url: str, data: bytes, limit_bytes: int) -> bytes:
        """The bytes of one input of which exactly one of url and data must be given.

        `kind` is "image", "audio", "video" or "recording", the prefix of the public field names.
        Raises InvalidRequest for both or neither, PayloadTooLarge, and FetchFailed for a URL that
        is malformed, private, unreachable, slow or answers an error.
        """
        if bool(url) == bool(data):
            raise errors.InvalidRequest(
                f"Give exactly one of {kind}_url and {kind}_base64.",
                field=f"{kind}_url",
                suggestion=f"Send the {kind} as base64, or a public URL of it, not "
                + ("both." if url else "neither; an empty one counts as missing."),
            )
        if url:
            return await self.fetch(url, limit_bytes=limit_bytes)
        if len(data) > limit_bytes:
            raise _too_large(kind, limit_bytes)
        return data

    async def fetch(self, url: str, *, limit_bytes: int) -> bytes:
        """The body behind a public URL. Raises FetchFailed or PayloadTooLarge."""
        try:
            body = await self._fetch(url, limit_bytes)
        except errors.AffectMeshError as error:
            metrics.FETCHES.labels(error.code).inc()
            raise
        metrics.FETCHES.labels("OK").inc()
        return body

    async def close(self) -> None:
        """Ends every fetch."""
        if self._session:
            await self._session.close()

    async def _fetch(self, url: str, limit_bytes: int) -> bytes:
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
                return await _read(response, limit_bytes)
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
            if _is_private(error):
                raise errors.FetchFailed(
                    "The URL leads to an address that is not public.",
                    suggestion="Send the bytes as base64, or a public URL.",
                ) from None
            raise errors.FetchFailed(
                "The URL cannot be fetched.", suggestion="Check the address and that it is public."
            ) from None

    def _open_socket(self, address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, peer = address
        if not self._allow_private and not _is_public(peer[0]):
            raise _PrivateAddress
        opened = socket.socket(family, kind, protocol)
        opened.setblocking(False)
        return opened


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _is_public(host: str) -> bool:
    address = ipaddress.ip_address(host.split("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None:
            return address.is_global and address in _GLOBAL_UNICAST
        address = inner
    return address.is_global and not address.is_multicast


def _is_private(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, _PrivateAddress):
            return True
        if isinstance(error, BaseExceptionGroup):
            return any(_is_private(inner) for inner in error.exceptions)
        error = error.__cause__ or error.__context__
    return False


async def _read(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    if response.content_length is not None and response.content_length > limit_bytes:
        raise _too_large("media", limit_bytes)
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > limit_bytes:
            raise _too_large("media", limit_bytes)
    return bytes(body)


def _too_large(kind: str, limit_bytes: int) -> errors.PayloadTooLarge:
    limit = f"{limit_bytes / 1024 / 1024:g} MiB"
    return errors.PayloadTooLarge(
        f"The {kind} is larger than {limit}.", suggestion=f"Send at most {limit}.", limit=limit
    )
