"""What an event looks like on the wire: compact JSON, exactly as JavaScript would write it.

So `JSON.stringify(JSON.parse(body))` is the body again, and receivers may check the signature over
the bytes as over what they parsed.
"""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

_LARGEST_INDEX = 2**32 - 2
_LARGEST_PLAIN, _SMALLEST_PLAIN = 1e21, 1e-6
_EXACT = 2**53


def body(event: str, data: Mapping[str, Any], now_ms: int) -> bytes:
    """The body of an event: its name, the time in RFC 3339 and its data."""
    moment = datetime.fromtimestamp(now_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return dumps({"event": event, "timestamp": moment, "data": data}).encode(errors="replace")


def dumps(value: Any) -> str:
    """JSON as ECMAScript's JSON.stringify writes it (ECMA-262, 25.5.2 and 6.1.6.1.20).

    Of numbers without an exact double the nearest is written. Raises TypeError for what JSON does
    not have.
    """
    match value:
        case None | bool() | str():
            return json.dumps(value, ensure_ascii=False)
        case int() | float():
            return _number(value)
        case Mapping():
            members = sorted(value.items(), key=_place)
            return "{" + ",".join(f"{dumps(name)}:{dumps(item)}" for name, item in members) + "}"
        case Sequence():
            return "[" + ",".join(map(dumps, value)) + "]"
    raise TypeError(f"{type(value).__name__} is not JSON")


def _number(value: float) -> str:
    if isinstance(value, int) and abs(value) <= _EXACT:
        return str(value)
    value = float(value)
    if not math.isfinite(value):
        return "null"
    size = abs(value)
    if value.is_integer() and size <= _EXACT:
        return str(int(value))
    if _SMALLEST_PLAIN <= size < _LARGEST_PLAIN:
        return format(Decimal(repr(value)), "f").removesuffix(".0")
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent):+d}"


def _place(member: tuple[str, Any]) -> tuple[bool, int]:
    """Members named like an index of an array come first, in their order; the sort is stable."""
    name = member[0]
    index = name.isascii() and name.isdecimal() and str(int(name)) == name
    if index and int(name) <= _LARGEST_INDEX:
        return False, int(name)
    return True, 0
