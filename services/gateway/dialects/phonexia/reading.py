"""What Phonexia's clients send, checked."""

import math
import re
from typing import Any

from starlette.datastructures import QueryParams

from services.common import errors

MODES = ("split", "mix")
LONGEST_S = 1_000_000.0
"""Largest time that is understood."""
LEAST_SPEECH_MS, MOST_SPEECH_MS = 200, 4 * 3_600_000
"""Between these the voice service can be told how much speech to use; no recording has more."""

_CHANNELS = re.compile(r"[0-9]{1,3}(,[0-9]{1,3}){0,63}")


def options(query: QueryParams) -> dict[str, Any]:
    """Options of a voice job. Raises InvalidRequest, naming the parameter."""
    mode = _one(query, "channel_mode") or MODES[0]
    if mode not in MODES:
        raise _wrong("channel_mode", f"Input should be {' or '.join(map(repr, MODES))}.")
    found: dict[str, Any] = {
        "channel_mode": mode,
        "return_transcript": False,
        "return_prosody": False,
        "return_dimensions": False,
    }
    if channels := _one(query, "channels"):
        if not _CHANNELS.fullmatch(channels):
            raise _wrong("channels", "Input should be integers separated by commas.")
        found["channels"] = [int(channel) for channel in channels.split(",")]
    start_s, end_s = _seconds(query, "range_from"), _seconds(query, "range_to")
    if start_s:
        found["start_time_ms"] = round(start_s * 1000)
    if end_s is not None:
        found["end_time_ms"] = round(end_s * 1000)
        if found["end_time_ms"] <= found.get("start_time_ms", 0):
            raise _wrong("range_to", "Input should be greater than range_from.")
    speech_s = _seconds(query, "max_speech_length")
    if speech_s is not None:
        if not speech_s:
            raise _wrong("max_speech_length", "Input should be greater than 0.")
        speech_ms = max(round(speech_s * 1000), LEAST_SPEECH_MS)
        if speech_ms < MOST_SPEECH_MS:
            found["max_speech_ms"] = speech_ms
    return found


def _one(query: QueryParams, name: str) -> str:
    given = query.getlist(name)
    if len(given) > 1:
        raise _wrong(name, "Input is given twice.")
    return given[0] if given else ""


def _seconds(query: QueryParams, name: str) -> float | None:
    text = _one(query, name)
    if name not in query:
        return None
    try:
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        number = math.nan
    if not 0 <= number <= LONGEST_S:
        raise _wrong(name, f"Input should be a number of seconds from 0 to {LONGEST_S:.0f}.")
    return number


def _wrong(name: str, message: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(
        message, field=name, suggestion=f"Correct {name}, or leave it out."
    )
