"""What was seen and heard of one speaker, on one clock: ms since the first picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.fusion.analyze import LOW_QUALITY, Opinion


@dataclass(frozen=True)
class Sighting:
    """The speaker's face in one analysed picture.

    head: pitch, yaw and roll in degrees. eyes: pitch and yaw in degrees relative to the head.
    eyes_closed: intensity of AU45 in [0, 1], None where it was not measured.
    """

    time_ms: int
    opinion: Opinion
    head: tuple[float, float, float]
    eyes: tuple[float, float]
    eyes_closed: float | None = None

    @property
    def clear(self) -> bool:
        """Whether the picture is good enough to measure angles and lids in."""
        return self.opinion.quality >= LOW_QUALITY


@dataclass(frozen=True)
class Saying:
    """Something said in one go: how it sounds, and what the words carry where they were read."""

    start_ms: int
    end_ms: int
    text: str
    voice: Opinion
    words: Opinion | None = None


@dataclass(frozen=True)
class Activation:
    """What the signals of the body say of a stretch of time."""

    start_ms: int
    end_ms: int
    opinion: Opinion


@dataclass(frozen=True)
class Word:
    """When a word was said."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class Observations:
    """A recording of `duration_ms`; every sequence is in order of time.

    interval_ms: between pictures analysed, None where none was.
    """

    duration_ms: int
    interval_ms: float | None = None
    sightings: Sequence[Sighting] = ()
    sayings: Sequence[Saying] = ()
    words: Sequence[Word] = ()
