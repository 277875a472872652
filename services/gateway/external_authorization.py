"""What Envoy asks before it lets a gRPC call through (ext_authz over HTTP).

Envoy sends the call's path and headers without its body; this is an ASGI application of its own, on
a port that clients do not reach. A call is admitted by the policy of REST, with its key, scope,
origin, use context, rate and day's allowance. The answer tells the service who is calling and what
the call owes; a refusal is the gRPC status that the client gets.
"""

import base64
import string
from urllib.parse import quote

import structlog
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.common import caller, errors, metering, telemetry
from services.gateway.methods import METHODS, Method
from services.gateway.policy import Policy

log = structlog.get_logger()

GRPC_HEADERS = ("grpc-status", "grpc-message", "grpc-status-details-bin")
_PLAIN = string.punctuation.replace("%", "") + " "
"""What a grpc-message shows as it is, beside letters and digits."""

TOLD_ADMITTED = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
"""Headers of an admission that go back to the client."""

READ_HEADERS = (
    "authorization",
    "cookie",
    "origin",
    "sec-fetch-site",
    "x-api-key",
    "x-consent-reference",
    "x-request-id",
    "x-wia-api-key",
)
"""Headers of the call that the decision depends on; Envoy sends no others.

Never content-type: Envoy then takes its question for gRPC, and a failure to ask it, which has
status 200 in gRPC, for a yes.
"""
TOLD_SERVICES = (caller.KEY, metering.KEY, telemetry.REQUEST_ID_KEY)
"""Headers of an admission that go on to the service."""
TOLD_REFUSED = (*GRPC_HEADERS, *TOLD_ADMITTED, "retry-after", telemetry.REQUEST_ID_KEY)
"""Headers of a refusal that go back to the client."""


class ExternalAuthorization:
    """Admits gRPC calls from outside; `health` answers /healthz."""

    def __init__(self, policy: Policy, health: ASGIApp) -> None:
        self._policy = policy
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/healthz":
            await self._health(scope, receive, send)
            return
        request_id = telemetry.client_request_id(scope["headers"])
        telemetry.request_id.set(request_id)
        try:
            method = _method(scope)
            admission = await self._policy.admit(HTTPConnection(scope), method.scope)
            response = Response(headers={**admission.headers, "x-request-id": request_id})
            response.headers[caller.KEY] = caller.required().encode()
            if method.item:
                entry_id = f"{request_id}.{admission.nonce}"
                meter = metering.Meter(method.item, entry_id, method.by_minute)
                response.headers[metering.KEY] = meter.encode()
        except errors.AffectMeshError as error:
            log.info("call refused", path=scope["path"], code=error.code)
            response = refusal(error, request_id)
        except Exception:
            log.exception("authorization failed", path=scope["path"])
            response = refusal(errors.Internal(), request_id)
        await response(scope, receive, send)


def refusal(error: errors.AffectMeshError, request_id: str) -> Response:
    """A refused call's status, which the client gets as its headers; it has no body."""
    headers = {"x-request-id": request_id, **grpc_headers(error)}
    if retry_after := error.details.get("retry_after"):
        headers["retry-after"] = retry_after
    if isinstance(error, errors.RateLimited):
        names = ("limit", "remaining", "reset")
        headers.update({f"x-ratelimit-{n}": error.details[n] for n in names if n in error.details})
    return Response(status_code=error.http_status, headers=headers)


def grpc_headers(error: errors.AffectMeshError) -> dict[str, str]:
    """Status, message and details of an error as a gRPC answer without messages has them."""
    status = errors.to_status(error)
    details = next(value for _, value in status.trailing_metadata if isinstance(value, bytes))
    return {
        "grpc-status": str(error.grpc_status.value[0]),
        "grpc-message": quote(error.message, safe=_PLAIN),
        "grpc-status-details-bin": base64.b64encode(details).rstrip(b"=").decode(),
    }


def _method(scope: Scope) -> Method:
    method = METHODS.get(scope["path"])
    if method is None or not method.public:
        raise errors.NotBuilt(
            "There is no such method.", suggestion="Call a method of the published contract."
        )
    return method
