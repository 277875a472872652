"""What every kept resource has: an id, times, checked texts, and a place on a page."""

import base64
import binascii
import secrets
import string
import time

from google.protobuf.timestamp_pb2 import Timestamp

from services.common import errors

MAX_PAGE = 100
DEFAULT_PAGE = 20
MAX_SKIP = 1_000_000
"""Entries that may be skipped where pages are numbered."""

_ID_LETTERS = string.ascii_lowercase + "234567"


def new_id(kind: str) -> str:
    """Such as "key_" and 16 characters: 80 bits."""
    return f"{kind}_" + "".join(secrets.choice(_ID_LETTERS) for _ in range(16))


def now_ms() -> int:
    """Milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def timestamp(milliseconds: int | None) -> Timestamp | None:
    """A time from milliseconds since 1970; None from None."""
    if milliseconds is None:
        return None
    stamp = Timestamp()
    stamp.FromMilliseconds(milliseconds)
    return stamp


def invalid(field: str, message: str, suggestion: str) -> errors.InvalidRequest:
    """A refusal that names the field."""
    return errors.InvalidRequest(message, field=field, suggestion=suggestion)


def text(field: str, value: str, longest: int) -> str:
    """A printable text of 1 to `longest` characters, trimmed."""
    value = value.strip()
    if not 1 <= len(value) <= longest or not value.isprintable():
        raise invalid(
            field,
            f"{field} must have 1 to {longest} printable characters.",
            f"Send a {field} of that length.",
        )
    return value


def page_size(value: int) -> int:
    """Entries of a page: 20 where 0, at most 100."""
    if not 0 <= value <= MAX_PAGE:
        raise invalid(
            "page_size",
            f"A page holds 1 to {MAX_PAGE}.",
            f"Ask for as many, or for none in particular to get {DEFAULT_PAGE}.",
        )
    return value or DEFAULT_PAGE


def page_token(*position: str | int) -> str:
    """An opaque token for the position after which the next page starts."""
    return base64.urlsafe_b64encode("\n".join(map(str, position)).encode()).decode()


def page_position(token: str, parts: int) -> list[str] | None:
    """What `page_token` was made of; None for the first page."""
    if not token:
        return None
    try:
        position = base64.b64decode(token, b"-_", validate=True).decode().split("\n")
    except (binascii.Error, ValueError):
        position = []
    if len(position) != parts:
        raise invalid("page_token", "The page token is not one of ours.", "Start over without it.")
    return position


def page_number(token: str) -> int | None:
    """`page_position` where it is one number."""
    position = page_position(token, 1)
    if position is None:
        return None
    if not position[0].isdecimal() or len(position[0]) > 18:
        raise invalid("page_token", "The page token is not one of ours.", "Start over without it.")
    return int(position[0])
