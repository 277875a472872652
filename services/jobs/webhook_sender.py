"""One try to deliver: a POST to a public address, within a time limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp

from services.common import addresses

USER_AGENT = "AffectMesh-Webhooks/1"

_CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Outcome:
    """How a try went: the status of the answer, None where none came, and why it failed."""

    status: int | None
    error: str

    @property
    def delivered(self) -> bool:
        return not self.error


class WebhookSender:
    """Sends to addresses of clients: no redirect is followed, no connection kept, nothing of an
    answer read but its head."""

    def __init__(self, allow_private: bool, timeout_s: float) -> None:
        connector = aiohttp.TCPConnector(
            socket_factory=addresses.opener(allow_private),
            force_close=True,
            use_dns_cache=False,
            limit=0,
        )
        self._timeout_s = timeout_s
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": USER_AGENT},
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Ends every try."""
        await self._session.close()

    async def send(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float | None = None
    ) -> Outcome:
        """Posts a body. Any answer of the 2xx class is a delivery."""
        limit_s = timeout_s or self._timeout_s
        timeout = aiohttp.ClientTimeout(
            total=limit_s, sock_connect=min(_CONNECT_TIMEOUT_S, limit_s)
        )
        try:
            async with self._session.post(
                url, data=body, headers=headers, allow_redirects=False, timeout=timeout
            ) as response:
                status = response.status
                response.close()
        except TimeoutError:
            return Outcome(None, f"No answer within {limit_s:g} s.")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Outcome(None, _explain(error))
        return Outcome(status, "" if 200 <= status < 300 else _explain_status(status))


def _explain(error: Exception) -> str:
    if addresses.leads_inside(error):
        return "The address is not public."
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return "The certificate of the host is not valid."
        case aiohttp.ClientConnectorDNSError():
            return "The host is not known."
        case aiohttp.ClientConnectorError():
            return "The host cannot be reached."
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return "The answer is not HTTP."
    return "The connection broke off."


def _explain_status(status: int) -> str:
    if 300 <= status < 400:
        return f"The answer is a redirect ({status}), which is not followed."
    try:
        return f"The answer is {status} {HTTPStatus(status).phrase}."
    except ValueError:
        return f"The answer is {status}."
