"""How EmoVision words its errors."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from services.common import errors
from services.gateway.endpoint import Dialect

_STATUS = MappingProxyType({415: 400, 504: 503, 507: 503})
"""The document's status for those of ours that it does not know."""

FORMATS = ("mp4", "avi", "mov", "webm")
"""The document's `supported_formats`."""


class EmoVision(Dialect):
    """The words of EmoVision."""

    def error(self, error: errors.AffectMeshError, request_id: str) -> Mapping[str, Any]:
        """The error form of the document; 429 has one of its own."""
        if isinstance(error, errors.RateLimited):
            return {
                "error": "Rate limit exceeded",
                "retry_after": int(error.details.get("retry_after", "1")),
            }
        return {"error": error.message, "code": error.code, "details": dict(error.details)}

    def status(self, error: errors.AffectMeshError) -> int:
        """Of the document's table of codes."""
        return _STATUS.get(error.http_status, error.http_status)


class VideoWords(EmoVision):
    """The words of what is said of a video: 422 where it cannot be read."""

    def error(self, error: errors.AffectMeshError, request_id: str) -> Mapping[str, Any]:
        """Of another format: INVALID_VIDEO_FORMAT, with the formats that are read."""
        body = super().error(error, request_id)
        if not isinstance(error, errors.UnsupportedMedia):
            return body
        return {
            "error": error.message,
            "code": "INVALID_VIDEO_FORMAT",
            "details": {"supported_formats": FORMATS, **error.details},
        }

    def status(self, error: errors.AffectMeshError) -> int:
        """Unprocessable is what is no video, or a broken one."""
        unprocessable = isinstance(
            error, errors.UnsupportedMedia | errors.InvalidVideo | errors.InvalidAudio
        )
        return 422 if unprocessable else super().status(error)
