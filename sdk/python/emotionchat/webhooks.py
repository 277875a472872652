"""Whether a webhook delivery comes from the service."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable

TOLERANCE_S = 300.0
"""How old a timestamped delivery may be."""


def verify_webhook(payload: str | bytes, signature: str, secret: str) -> bool:
    """Checks X-EmotionChat-Signature: HMAC-SHA256 of the raw body, in hexadecimal."""
    return _equal(_sign(_bytes(payload), secret), signature)


def verify_timestamped(
    payload: str | bytes,
    signature: str,
    secret: str,
    tolerance_s: float = TOLERANCE_S,
    clock: Callable[[], float] = time.time,
) -> bool:
    """Checks X-AffectMesh-Signature, "t=UNIX_TIME,v1=HEX", and refuses what is too old.

    The signature is of the time, a point and the raw body.
    """
    parts = dict(part.strip().partition("=")[::2] for part in signature.split(","))
    sent, given = parts.get("t", ""), parts.get("v1", "")
    if not sent.isdecimal() or abs(clock() - int(sent)) > tolerance_s:
        return False
    return _equal(_sign(f"{sent}.".encode() + _bytes(payload), secret), given)


def _bytes(payload: str | bytes) -> bytes:
    return payload.encode() if isinstance(payload, str) else payload


def _sign(content: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()


def _equal(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode())
