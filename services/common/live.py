"""What live streams of faces and of voices have in common."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from affectmesh.v1 import types_pb2
from services.common.errors import InvalidRequest


class Rate(Enum):
    """Which readings are answered with a result."""

    PER_FRAME = "per_frame"
    PER_SECOND = "per_second"
    ON_CHANGE = "on_change"
    THRESHOLD = "threshold"


class Happening(Enum):
    """What an event tells of."""

    FACE_DETECTED = "face_detected"
    FACE_LOST = "face_lost"
    SPEECH_STARTED = "speech_started"
    SPEECH_ENDED = "speech_ended"
    EMOTION_CHANGE = "emotion_change"
    HIGH_AROUSAL = "high_arousal"
    NEGATIVE_VALENCE = "negative_valence"
    INPUT_DROPPED = "input_dropped"


@dataclass(frozen=True)
class Event:
    """Something happened to the face `tracking_id`, to the speech, or to the input."""

    happening: Happening
    timestamp_ms: int
    tracking_id: int | None = None
    previous: str | None = None
    current: str | None = None
    duration_ms: int | None = None
    sudden: bool | None = None
    dropped: int | None = None


@dataclass(frozen=True)
class Problem:
    """Something is wrong with the input; the stream goes on where it is recoverable."""

    code: str
    message: str
    number: int | None = None
    recoverable: bool = True


@dataclass(frozen=True)
class Summary:
    """The whole session. distribution: share by primary emotion. Valence and arousal: means, None
    where nothing was read."""

    duration_ms: int
    processed: int
    dropped: int
    distribution: dict[str, float]
    valence: float | None
    arousal: float | None
    emotion_changes: int
    high_arousal_moments: int


def config(first: Any, then: str) -> Any:
    """The config of a stream, which its first message must be; `then` says what follows it.

    Raises InvalidRequest for another message, or None.
    """
    if first is None or first.WhichOneof("message") != "config":
        raise InvalidRequest(
            "The first message of a stream must be its config.",
            field="config",
            suggestion=f"Send config once, then {then}.",
        )
    return first.config


def rate(asked: types_pb2.StreamOutput, otherwise: Rate) -> Rate:
    """The rate asked for, or the other where none is. Raises InvalidRequest."""
    if asked.rate == types_pb2.OUTPUT_RATE_UNSPECIFIED:
        return otherwise
    if asked.rate not in types_pb2.OutputRate.values():
        raise InvalidRequest(
            f"output.rate {asked.rate} is unknown.",
            field="config.output.rate",
            suggestion="Give one of the rates of the contract.",
        )
    return Rate[types_pb2.OutputRate.Name(asked.rate).removeprefix("OUTPUT_RATE_")]


def event(found: Event) -> types_pb2.StreamEvent:
    """An event in the words of the contract."""
    return types_pb2.StreamEvent(
        type=types_pb2.StreamEventType.Value(f"STREAM_EVENT_TYPE_{found.happening.name}"),
        timestamp_ms=found.timestamp_ms,
        previous_emotion=found.previous,
        current_emotion=found.current,
        transition_duration_ms=found.duration_ms,
        trigger={None: None, True: "sudden", False: "gradual"}[found.sudden],
        tracking_id=found.tracking_id,
        dropped_count=found.dropped,
    )


def problem(found: Problem) -> types_pb2.StreamError:
    """A problem likewise."""
    return types_pb2.StreamError(
        code=found.code,
        message=found.message,
        frame_number=found.number,
        recoverable=found.recoverable,
    )


def summary(found: Summary) -> types_pb2.SessionSummary:
    """A summary likewise; dimensions are marked derived."""
    mean = None
    if found.valence is not None and found.arousal is not None:
        mean = types_pb2.Dimensions(
            valence=round(found.valence, 4), arousal=round(found.arousal, 4), derived=True
        )
    return types_pb2.SessionSummary(
        duration_ms=found.duration_ms,
        frames_processed=found.processed,
        frames_dropped=found.dropped,
        emotion_distribution={label: round(p, 4) for label, p in found.distribution.items()},
        average_dimensions=mean,
        emotion_changes=found.emotion_changes,
        high_arousal_moments=found.high_arousal_moments,
    )
