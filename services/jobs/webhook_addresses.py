"""Where webhooks may lead."""

import asyncio
import socket
from urllib.parse import urlsplit

from services.common import addresses, errors
from services.common.resources import invalid

LONGEST_URL = 2048

_RESOLVE_TIMEOUT_S = 5.0


async def check(url: str, allow_private: bool, *, field: str = "url", plain: bool = False) -> str:
    """The address of a webhook. Raises InvalidRequest for one that is not https (nor http, where
    `plain` allows it), and FetchFailed for one that does not lead to a public host, naming the
    field; for tests, `allow_private` takes any web address.

    Every connection is checked again when it is made.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _malformed(field) from None
    schemes = ("https", "http") if plain or allow_private else ("https",)
    fine = parts.scheme in schemes and host and not (parts.username or parts.password)
    if not fine or not url.isascii() or not url.isprintable() or " " in url:
        raise _malformed(field)
    if len(url) > LONGEST_URL or parts.fragment:
        raise _malformed(field)
    if not allow_private:
        await _check_host(host, port or 443, field)
    return url


async def _check_host(host: str, port: int, field: str) -> None:
    try:
        async with asyncio.timeout(_RESOLVE_TIMEOUT_S):
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
    except (OSError, UnicodeError, TimeoutError):
        raise errors.FetchFailed(
            "The host of the webhook is not known.",
            field=field,
            suggestion="Check the name, or try again.",
        ) from None
    if not all(addresses.is_public(str(address[0])) for *_, address in found):
        raise errors.FetchFailed(
            "The webhook leads to an address that is not public.",
            field=field,
            suggestion="Send a public https address.",
        )


def _malformed(field: str) -> errors.InvalidRequest:
    return invalid(
        field,
        "The URL is not an https address.",
        f"Send one of at most {LONGEST_URL} characters, without user, password or fragment.",
    )
