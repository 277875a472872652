"""The words of Phonexia."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from services.common import errors
from services.gateway.endpoint import Dialect

UNPROCESSABLE = 422

_TYPES: Mapping[type[errors.AffectMeshError], tuple[int, str, str]] = MappingProxyType(
    {
        errors.Unauthorized: (403, "request.forbidden", "Request is forbidden."),
        errors.Forbidden: (403, "request.forbidden", "Request is forbidden."),
        errors.NotFound: (404, "resource.not-found", "Resource not found."),
        errors.MethodNotAllowed: (405, "method.invalid", "Invalid HTTP method."),
        errors.Conflict: (409, "request.conflict", "Request conflict."),
        errors.PayloadTooLarge: (
            413,
            "request.size-limit-exceeded",
            "Request size limit exceeded.",
        ),
        errors.UnsupportedMedia: (
            UNPROCESSABLE,
            "request.validation-error",
            "Request validation error.",
        ),
        errors.InvalidRequest: (400, "request.invalid", "Invalid request."),
        errors.RateLimited: (429, "request.rate-limit-exceeded", "Rate limit exceeded"),
        errors.StorageFull: (507, "storage.capacity-exceeded", "Storage capacity exceeded."),
    }
)
"""Status, type and message of each kind of error; the others are internal. There is no 401 in the
document: who cannot be told is forbidden."""

_VALIDATION = (UNPROCESSABLE, "request.validation-error", "Request validation error.")

_DETAILS: Mapping[type[errors.AffectMeshError], str] = MappingProxyType(
    {
        errors.Unauthorized: "authentication.invalid",
        errors.Forbidden: "authorization.refused",
        errors.PayloadTooLarge: "media.too-large",
        errors.UnsupportedMedia: "media.unsupported",
        errors.InvalidAudio: "media.invalid",
        errors.InvalidVideo: "media.invalid",
    }
)
"""Types of details; an error of another kind has its code, in Phonexia's spelling."""

QUERY = frozenset({"channel_mode", "channels", "range_from", "range_to", "max_speech_length"})

_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "options.channel_mode": "channel_mode",
        "options.channels": "channels",
        "options.start_time_ms": "range_from",
        "options.end_time_ms": "range_to",
        "options.max_speech_ms": "max_speech_length",
    }
)
"""Phonexia's names of our fields."""

_NUMBERS = ("file_size", "max_file_size", "retry_after")


class Phonexia(Dialect):
    """`type`, `message` and `detail`."""

    def error(self, error: errors.AffectMeshError, request_id: str) -> Mapping[str, Any]:
        """The form of the document."""
        return body(error)

    def status(self, error: errors.AffectMeshError) -> int:
        """The document's status, where it has one."""
        return _kind(error)[0]


def body(error: errors.AffectMeshError) -> dict[str, Any]:
    """An error as the document shows it."""
    _, kind, message = _kind(error)
    if isinstance(error, errors.RateLimited):
        return {"type": kind, "message": f"{message}: {error.details['reason']}", "detail": []}
    return {"type": kind, "message": message, "detail": [_detail(error)]}


def _kind(error: errors.AffectMeshError) -> tuple[int, str, str]:
    if isinstance(error, errors.InvalidRequest) and _location(error):
        return _VALIDATION
    for cls in type(error).__mro__:
        if cls in _TYPES:
            return _TYPES[cls]
    return error.http_status, "internal", error.message


def _detail(error: errors.AffectMeshError) -> dict[str, Any]:
    context = {name: text for name, text in error.details.items() if name != "field"}
    return {
        "location": _location(error),
        "message": error.message,
        "type": _detail_type(error),
        "context": {
            name: int(text) if name in _NUMBERS and text.isdecimal() else text
            for name, text in context.items()
        },
    }


def _detail_type(error: errors.AffectMeshError) -> str:
    if isinstance(error, errors.PayloadTooLarge) and "max_file_size" not in error.details:
        return "media.too-long"
    for cls in type(error).__mro__:
        if cls in _DETAILS:
            return _DETAILS[cls]
    return error.code.lower().replace("_", "-")


def _location(error: errors.AffectMeshError) -> list[str]:
    """Where in the request the fault lies; empty where it is nowhere in particular."""
    field = error.details.get("field", "")
    name = _FIELDS.get(field, field)
    if name in QUERY:
        return ["query", name]
    if name:
        return ["body", name]
    media = (
        errors.InvalidAudio,
        errors.InvalidVideo,
        errors.UnsupportedMedia,
        errors.PayloadTooLarge,
    )
    return ["body", "file"] if isinstance(error, media) else []
