"""What a live stream answers with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from services.voice.analyze import Dimensions
from services.voice.trust import Warning


class Happening(Enum):
    """What an event tells of."""

    SPEECH_STARTED = "speech_started"
    SPEECH_ENDED = "speech_ended"
    EMOTION_CHANGE = "emotion_change"
    HIGH_AROUSAL = "high_arousal"
    NEGATIVE_VALENCE = "negative_valence"
    INPUT_DROPPED = "input_dropped"


@dataclass(frozen=True)
class Partial:
    """The emotion of the speech up to `timestamp_ms`; emotions: probability by label."""

    timestamp_ms: int
    emotions: dict[str, float]
    dimensions: Dimensions
    transcript: str | None


@dataclass(frozen=True)
class Final:
    """A finished utterance."""

    start_ms: int
    end_ms: int
    text: str
    emotions: dict[str, float]
    dimensions: Dimensions
    warnings: tuple[Warning, ...]


@dataclass(frozen=True)
class Event:
    """Something happened to the speech, or to the input."""

    happening: Happening
    timestamp_ms: int
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
    recoverable: bool = True


@dataclass(frozen=True)
class Summary:
    """The whole session. distribution: share of the time spoken, by primary emotion. warnings:
    those of the stream and of its utterances, each once."""

    duration_ms: int
    chunks: int
    dropped: int
    distribution: dict[str, float]
    dimensions: Dimensions | None
    emotion_changes: int
    high_arousal_moments: int
    warnings: tuple[Warning, ...]


Output = Partial | Final | Event | Problem | Summary
