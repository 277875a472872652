"""What can go wrong.

EmotionChatError
├── ConnectionFailed        no answer came
├── AuthenticationError     401
├── PermissionDenied        403
├── NotFound                404
├── InvalidRequest          400, 409 and other refusals
│   ├── InvalidVideo        422
│   └── PayloadTooLarge     413
├── RateLimited             429
├── ServerError             5xx
└── AnalysisFailed          the analysis ended without a result
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class EmotionChatError(Exception):
    """Base of all errors. status: of HTTP, 0 where there is none. code: for programs."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = dict(details or {})


class ConnectionFailed(EmotionChatError):
    """No answer came."""


class AuthenticationError(EmotionChatError):
    """The API key is missing, wrong or revoked."""


class PermissionDenied(EmotionChatError):
    """The key may not do this."""


class NotFound(EmotionChatError):
    """There is no such recording or webhook."""


class InvalidRequest(EmotionChatError):
    """What was sent is refused; the message says why."""


class InvalidVideo(InvalidRequest):
    """The file is no video that can be read."""


class PayloadTooLarge(InvalidRequest):
    """The file is larger than the plan allows."""


class RateLimited(EmotionChatError):
    """Too many requests."""

    @property
    def retry_after(self) -> int:
        """Seconds to wait."""
        return int(self.details["retry_after"])


class ServerError(EmotionChatError):
    """The service failed or is not there; try again later."""


class AnalysisFailed(EmotionChatError):
    """The analysis ended without a result."""


_BY_STATUS: Mapping[int, type[EmotionChatError]] = {
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    413: PayloadTooLarge,
    422: InvalidVideo,
    429: RateLimited,
}


def of_answer(status: int, body: Any, retry_after: str | None) -> EmotionChatError:
    """The error that an answer of status 400 or more stands for."""
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else InvalidRequest)
    known = body if isinstance(body, dict) else {}
    details = dict(known.get("details") or {})
    if status == 429:
        details["retry_after"] = known.get("retry_after", retry_after or 1)
    message = known.get("error") or f"The server answered {status}."
    return kind(str(message), status=status, code=str(known.get("code", "")), details=details)
