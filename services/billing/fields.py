"""Checks of what clients send."""

import re
import time
from collections.abc import Sequence

from services.common.resources import (
    invalid,
    now_ms,
    page_number,
    page_position,
    page_size,
    page_token,
    text,
)

__all__ = [
    "SCOPES",
    "invalid",
    "month",
    "now_ms",
    "page_number",
    "page_position",
    "page_size",
    "page_token",
    "scopes",
    "text",
]

SCOPES = ("emotion:read", "emotion:analyze", "emotion:stream")
"""What a key, client or user may be granted."""

_MONTH = re.compile(r"[1-9][0-9]{3}-(0[1-9]|1[0-2])")


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
