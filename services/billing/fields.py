"""Checks of what clients send."""

import base64
import binascii
import re
import time
from collections.abc import Sequence

from services.common import errors

SCOPES = ("emotion:read", "emotion:analyze", "emotion:stream")
"""What a key, client or user may be granted."""

MAX_PAGE = 100
DEFAULT_PAGE = 20

_MONTH = re.compile(r"[1-9][0-9]{3}-(0[1-9]|1[0-2])")


def now_ms() -> int:
    """Milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


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


def scopes(asked: Sequence[str], granted: Sequence[str] = SCOPES) -> tuple[str, ...]:
    """The scopes asked for, all of `granted` where none is; each must be among them."""
    for scope in asked:
        if scope not in granted:
            raise invalid(
                "scopes",
                f"The scope {scope[:64]!r} cannot be granted.",
                f"Ask for some of {', '.join(granted)}.",
            )
    return tuple(scope for scope in granted if scope in asked or not asked)


def month(value: str) -> str:
    """A month as "YYYY-MM"; the current one (UTC) where empty."""
    if not value:
        return time.strftime("%Y-%m", time.gmtime(now_ms() / 1000))
    if not _MONTH.fullmatch(value):
        raise invalid("month", f"{value[:16]!r} is not a month.", 'Send it as "2025-01".')
    return value


def page_size(value: int) -> int:
    """Entries of a page: 20 where 0, at most 100."""
    if not 0 <= value <= MAX_PAGE:
        raise invalid("page_size", f"A page holds 1 to {MAX_PAGE}.", "Ask for fewer.")
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
