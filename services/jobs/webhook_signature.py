"""How a receiver knows that an event comes from here, and that it is new."""

import hashlib
import hmac
from collections.abc import Mapping

SIGNATURE = "X-EmotionChat-Signature"
"""HMAC-SHA256 of the body under the webhook's secret, in hexadecimal."""
TIMED_SIGNATURE = "X-AffectMesh-Signature"
"""`t=SECONDS,v1=HEX`: the same of the seconds, a full stop and the body."""


def signatures(secret: str, body: bytes, now_s: int) -> Mapping[str, str]:
    """Both headers."""
    timed = _hmac(secret, f"{now_s}.".encode() + body)
    return {SIGNATURE: _hmac(secret, body), TIMED_SIGNATURE: f"t={now_s},v1={timed}"}


def _hmac(secret: str, signed: bytes) -> str:
    return hmac.digest(secret.encode(), signed, hashlib.sha256).hex()
