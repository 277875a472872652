"""Where an utterance begins and ends, while it is being spoken."""

from __future__ import annotations

from dataclasses import dataclass

from services.voice import activity
from services.voice.activity import FRAME, FRAME_MS

LONGEST_MS = 30_000
"""An utterance that goes on is cut here."""

_PAD = activity.PAD_MS * 16
_LONGEST = LONGEST_MS // FRAME_MS
_SHORTEST = -(-activity.MIN_SPEECH_MS // FRAME_MS)


@dataclass(frozen=True)
class Started:
    """Speech goes on since sample `start`."""

    start: int


@dataclass(frozen=True)
class Ended:
    """An utterance, in samples, end exclusive. cut: the speech goes on in the next one."""

    start: int
    end: int
    cut: bool


class Endpointer:
    """Makes the spans that activity.speech_spans makes, frame by frame, from sample `first` on.

    An utterance starts once 250 ms of speech are heard, and ends after `patience_ms` of silence or
    when it is 30 s long.
    """

    def __init__(self, first: int, patience_ms: int) -> None:
        self._first = first
        self._patience = max(1, patience_ms // FRAME_MS)
        self._frame = 0
        self._start = self._quiet = -1
        self._started = self._continues = False

    @property
    def start(self) -> int | None:
        """Where the speech that may be going on starts, in samples."""
        return None if self._start < 0 else self._begin()

    @property
    def speaking(self) -> bool:
        """Whether an utterance goes on."""
        return self._started

    def step(self, probability: float) -> Started | Ended | None:
        """Take the probability of speech of the next frame."""
        frame, self._frame = self._frame, self._frame + 1
        if probability >= activity.BEGIN:
            self._quiet = -1
            if self._start < 0:
                self._start = frame
        elif self._start >= 0 and probability < activity.END:
            if self._quiet < 0:
                self._quiet = frame
            if frame - self._quiet + 1 >= self._patience:
                return self._end()
        if self._start < 0:
            return None
        if self._frame - self._start >= _LONGEST:
            ended = Ended(self._begin(), self._first + self._frame * FRAME, cut=True)
            self._start, self._quiet, self._continues = self._frame, -1, True
            return ended
        if not self._started and self._quiet < 0 and self._frame - self._start >= _SHORTEST:
            self._started = True
            return Started(self._begin())
        return None

    def finish(self, total: int) -> Ended | None:
        """Take the end of the audio at sample `total`."""
        if self._quiet < 0:
            self._quiet = self._frame
        ended = self._end()
        return Ended(ended.start, min(ended.end, total), cut=False) if ended else None

    def _begin(self) -> int:
        pad = 0 if self._continues else _PAD
        return max(self._first, self._first + self._start * FRAME - pad)

    def _end(self) -> Ended | None:
        ended = Ended(self._begin(), self._first + self._quiet * FRAME + _PAD, cut=False)
        heard = self._started
        self._start = self._quiet = -1
        self._started = self._continues = False
        return ended if heard else None
