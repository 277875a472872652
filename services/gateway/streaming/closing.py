"""Why and how a stream ends."""

from enum import IntEnum

from services.common import errors


class CloseCode(IntEnum):
    """Close codes of the WebSocket (RFC 6455, 7.4); 4000 and up are this product's.

    1009 (message over 16 MiB), 1011 (keep-alive timeout) and 1012 (the gateway restarts) also come
    from the server itself.
    """

    NORMAL = 1000
    SERVICE_FAILED = 1011
    TRY_LATER = 1013
    INVALID_CONFIG = 4400
    AUTH_EXPIRED = 4401
    FORBIDDEN = 4403
    NOT_FOUND = 4404
    TIMEOUT = 4408
    LIMIT = 4429


class Ended(Exception):
    """The server ends the stream, after a summary where one can be had."""

    def __init__(self, close_code: CloseCode, message: str, code: str = "") -> None:
        super().__init__(message)
        self.close_code = close_code
        self.message = message
        self.code = code
        """Code of the error sent before; empty sends none."""


class Gone(Exception):
    """The client went without a word, or the server's own shutdown closed the socket."""

    def __init__(self, close_code: int) -> None:
        super().__init__(f"gone with {close_code}")
        self.close_code = close_code


def stream_code(error: errors.AffectMeshError) -> str:
    """The error code of the streaming protocol: the client's own fault keeps its code."""
    return error.code if error.http_status in (400, 404, 409, 413, 415) else "SERVER_ERROR"


def ended_by(error: errors.AffectMeshError) -> Ended:
    """The end of a stream whose last service failed."""
    if stream_code(error) != "SERVER_ERROR":
        close_code = CloseCode.INVALID_CONFIG
    elif error.retriable:
        close_code = CloseCode.TRY_LATER
    else:
        close_code = CloseCode.SERVICE_FAILED
    return Ended(close_code, said(error), stream_code(error))


def close_code_of(code: str) -> CloseCode:
    """The close code after a service's own last error."""
    codes = {"STREAM_LIMIT": CloseCode.LIMIT, "SERVER_ERROR": CloseCode.SERVICE_FAILED}
    return codes.get(code, CloseCode.INVALID_CONFIG)


def said(error: errors.AffectMeshError) -> str:
    """The message of an error with what to do."""
    return " ".join(filter(None, (error.message, error.details.get("suggestion", ""))))
