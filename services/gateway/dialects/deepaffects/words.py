"""The words of DeepAffects."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from services.common import errors
from services.gateway.endpoint import Dialect

_FIELDS = MappingProxyType(
    {
        "audio_url": "url",
        "audio_base64": "content",
        "callback_url": "webhook",
        "input.url": "url",
        "options.encoding": "encoding",
        "options.language": "languageCode",
        "options.sample_rate": "sampleRate",
    }
)
"""DeepAffects' names of our fields."""


class DeepAffects(Dialect):
    """The document shows no error; this form takes up its request_id."""

    def error(self, error: errors.AffectMeshError, request_id: str) -> Mapping[str, Any]:
        """`request_id` and an `error` with code, message and details."""
        details: dict[str, Any] = dict(error.details)
        if "field" in details:
            details["field"] = _FIELDS.get(details["field"], details["field"])
        if "retry_after" in details:
            details["retry_after"] = int(details["retry_after"])
        return {
            "request_id": request_id,
            "error": {"code": error.code, "message": error.message, "details": details},
        }
