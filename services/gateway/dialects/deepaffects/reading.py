"""What DeepAffects' clients send, checked."""

import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.common import errors
from services.common.transcoding import parse_bytes
from services.jobs.content import HEAD_BYTES, sniff
from services.voice import languages

DEFAULT_LANGUAGE = "en-US"
LONGEST_REQUEST_ID = 128
RATES_HZ = (8000, 48000)
"""Of headerless audio."""

_WAVE_FORMATS = {
    "LINEAR16": (1, 16),
    "PCM": (1, 16),
    "L16": (1, 16),
    "MULAW": (7, 8),
    "ULAW": (7, 8),
    "ALAW": (6, 8),
}
"""Of headerless audio: tag and bits a sample in a WAV header (RFC 2361)."""


@dataclass(frozen=True)
class Audio:
    """One request's audio: `content` is empty where there is a `url`."""

    content: bytes
    url: str
    language: str


def audio(body: Any) -> Audio:
    """The audio of a body, headerless audio given a header. Raises InvalidRequest."""
    if not isinstance(body, dict):
        raise errors.InvalidRequest("The body is not an object.", suggestion="Send a JSON object.")
    encoding = _text(body, "encoding")
    rate_hz = _rate(body.get("sampleRate"))
    language = languages.normalise(_text(body, "languageCode") or DEFAULT_LANGUAGE)
    given, url = _text(body, "content"), _text(body, "url")
    if bool(given) == bool(url):
        raise errors.InvalidRequest(
            "Exactly one of url and content should be passed.",
            field="content",
            reason="Both are given." if url else "Neither is given.",
            suggestion="Pass the audio as base64 in content, or its public address in url.",
        )
    content = b""
    if given:
        content = parse_bytes(given, "content")
        if not content:
            raise _wrong("content", "content is empty.", "Pass the bytes of an audio file.")
        content = _headed(content, encoding.upper(), rate_hz)
    return Audio(content, url, language)


def webhook(parameters: Mapping[str, str]) -> str:
    """The address that the result is sent to; the job service checks where it leads.

    Raises InvalidRequest where there is none.
    """
    url = parameters.get("webhook", "")
    if not url:
        raise _wrong(
            "webhook", "webhook is missing.", "Pass the address for the result in the query."
        )
    return url


def request_id(parameters: Mapping[str, str], idempotency_key: str) -> str:
    """The client's request_id, or a new one, the same under the same key. Raises InvalidRequest."""
    given = parameters.get("request_id", "")
    if len(given) > LONGEST_REQUEST_ID or not given.isprintable():
        raise _wrong(
            "request_id",
            "request_id cannot be kept.",
            f"Pass at most {LONGEST_REQUEST_ID} printable characters, or none.",
        )
    if idempotency_key and not given:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, idempotency_key))
    return given or str(uuid.uuid4())


def _headed(content: bytes, encoding: str, rate_hz: int | None) -> bytes:
    """With a WAV header where the bytes have none and the encoding says what they are."""
    if encoding not in _WAVE_FORMATS or sniff(content[:HEAD_BYTES]) is not None:
        return content
    low, high = RATES_HZ
    if rate_hz is None or not low <= rate_hz <= high:
        raise _wrong(
            "sampleRate",
            "Headerless audio needs its sample rate.",
            f"Pass a sampleRate from {low} to {high}, or a file with a header.",
        )
    tag, bits = _WAVE_FORMATS[encoding]
    width = bits // 8
    samples = content[: len(content) // width * width]
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, tag, 1, rate_hz, rate_hz * width, width, bits)
    data = struct.pack("<4sI", b"data", len(samples))
    size = 4 + len(form) + len(data) + len(samples)
    return struct.pack("<4sI4s", b"RIFF", size, b"WAVE") + form + data + samples


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _wrong(name, f"{name} must be a string.", "Pass a JSON string.")
    return value


def _rate(value: Any) -> int | None:
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 1 <= value <= 384_000 or value != int(value):
        raise _wrong(
            "sampleRate", "sampleRate is no sample rate.", "Pass a number in Hz, such as 16000."
        )
    return int(value)


def _wrong(field: str, message: str, suggestion: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(message, field=field, suggestion=suggestion)
