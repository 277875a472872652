"""How Envoy words what it refuses itself: in the error envelope of WIA, or as a gRPC status."""

from collections.abc import Mapping

from services.common import errors
from services.gateway.dialects.wia import Wia
from services.gateway.envoy.parts import Config, headers_to_add
from services.gateway.envoy.routes import IS_GRPC
from services.gateway.external_authorization import grpc_headers

_AGAIN = "Try again in a few seconds."
_BUSY = errors.Unavailable(
    "No replica of this service can take the request.", suggestion=_AGAIN, retry_after="2"
)
_SLOW = errors.DeadlineExceeded(
    "The request took too long.",
    suggestion="Send less at once, or try again when the system is less busy.",
)

REPLIES: Mapping[int, errors.AffectMeshError] = {
    400: errors.InvalidRequest(
        "The request is not valid HTTP.", suggestion="Send HTTP/1.1 or HTTP/2 as its standard says."
    ),
    403: errors.Forbidden("Nobody has admitted this call.", suggestion="Send an API key."),
    404: errors.NotFound("There is no such method.", suggestion="Call a published method."),
    408: _SLOW,
    413: errors.PayloadTooLarge(
        "The request is larger than this installation takes.",
        suggestion="Send a smaller file, or a URL of it.",
    ),
    431: errors.InvalidRequest(
        "The headers of the request are too large.", suggestion="Send fewer or shorter headers."
    ),
    500: errors.Internal(),
    502: _BUSY,
    503: _BUSY,
    504: _SLOW,
}
"""The error behind each status that Envoy answers with by itself."""

_NO_METHOD = errors.NotBuilt("There is no such method.", suggestion="Call a published method.")
"""What gRPC says instead of 404."""

_ABSENT = "ADD_IF_ABSENT"

_NO_BODY = {
    "text_format_source": {"inline_string": ""},
    "content_type": "application/grpc",
}
"""Status and message are in the headers. Were it of another type, gRPC-Web would make its own."""

_OK = 200
"""The HTTP status of every gRPC answer."""


def local_replies() -> Config:
    """The mappers, the first that fits counts."""
    return {
        "mappers": [
            _authorization_refusal(),
            *(_grpc(status, error) for status, error in REPLIES.items()),
            *(_json(status, error) for status, error in REPLIES.items()),
        ]
    }


def _authorization_refusal() -> Config:
    """What the gateway said when it was asked; where it did not answer, that nobody could."""
    refused = {"response_flag_filter": {"flags": ["UAEX"]}}
    return {
        "filter": refused,
        "status_code": _OK,
        "body_format_override": _NO_BODY,
        "headers_to_add": headers_to_add(grpc_headers(_BUSY), _ABSENT),
    }


def _grpc(status: int, error: errors.AffectMeshError) -> Config:
    told = _NO_METHOD if status == 404 else error
    grpc_only = {"header_filter": {"header": IS_GRPC}}
    return {
        "filter": {"and_filter": {"filters": [grpc_only, _status(status)]}},
        "status_code": _OK,
        "body_format_override": _NO_BODY,
        "headers_to_add": headers_to_add({**grpc_headers(told), **_headers(told)}, _ABSENT),
    }


def _json(status: int, error: errors.AffectMeshError) -> Config:
    return {
        "filter": _status(status),
        "status_code": error.http_status,
        "body_format_override": {
            "json_format": Wia().error(error, "%REQ(X-REQUEST-ID)%"),
            "content_type": "application/json",
        },
        "headers_to_add": headers_to_add(_headers(error), _ABSENT),
    }


def _headers(error: errors.AffectMeshError) -> dict[str, str]:
    headers = {"x-request-id": "%REQ(X-REQUEST-ID)%"}
    if retry_after := error.details.get("retry_after"):
        headers["retry-after"] = retry_after
    return headers


def _status(status: int) -> Config:
    value = {"default_value": status, "runtime_key": f"local_reply.{status}"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}
