"""What a live stream answers with."""

from __future__ import annotations

from dataclasses import dataclass

from services.common import live
from services.common.live import Event, Problem
from services.voice.analyze import Dimensions
from services.voice.trust import Warning


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
class Summary(live.Summary):
    """The whole session: shares of the time spoken, chunks processed, partials dropped.

    warnings: those of the stream and of its utterances, each once.
    """

    warnings: tuple[Warning, ...]


Output = Partial | Final | Event | Problem | Summary
