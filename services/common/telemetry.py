"""Logs as JSON lines, joined by request id and trace id."""

import logging
import re
import secrets
import sys
from collections.abc import Iterable, MutableMapping
from contextvars import ContextVar
from typing import Any

import structlog

from services.common import tracing

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the request being served; travels between services as `x-request-id`."""

REQUEST_ID_KEY = "x-request-id"

_SAFE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


def new_request_id() -> str:
    """`req_` and 16 hexadecimal characters."""
    return "req_" + secrets.token_hex(8)


def client_request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The X-Request-ID that an HTTP client sent, where it is safe to repeat, or a new one."""
    for name, value in headers:
        if name == b"x-request-id":
            return accept_request_id(value)
    return new_request_id()


def accept_request_id(given: bytes) -> str:
    """The id given, where it is safe to repeat, or a new one."""
    return given.decode() if _SAFE_ID.fullmatch(given) else new_request_id()


def start(service: str, log_level: str) -> None:
    """Sets up the logs of this process."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _context_adder(service),
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(log_level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    _start_standard_logging(log_level)


def _context_adder(service: str) -> structlog.typing.Processor:
    def add_context(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event["service"] = service
        if identifier := request_id.get():
            event["request_id"] = identifier
        if trace_id := tracing.trace_id():
            event["trace_id"] = trace_id
        return event

    return add_context


class _ForwardToStructlog(logging.Handler):
    """Libraries log through `logging`; this makes their lines JSON too."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger()
        logger.log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info
        )


def _start_standard_logging(log_level: str) -> None:
    root = logging.getLogger()
    root.handlers = [_ForwardToStructlog()]
    root.setLevel(max(logging.WARNING, getattr(logging, log_level.upper())))
