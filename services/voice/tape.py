"""The last stretch of a stream's audio."""

from __future__ import annotations

import numpy as np

from services.voice.features import Samples


class Tape:
    """Samples from `start` to `end`, counted from the first of the stream."""

    def __init__(self) -> None:
        self.start = self.end = 0
        self._room = np.zeros(1 << 15, np.float32)

    def append(self, samples: Samples) -> None:
        """Record more; what is kept moves to twice the room where it no longer fits."""
        kept = self.end - self.start
        if kept + samples.size > self._room.size:
            grown = np.zeros(2 * (kept + samples.size), np.float32)
            grown[:kept] = self._room[:kept]
            self._room = grown
        self._room[kept : kept + samples.size] = samples
        self.end += samples.size

    def read(self, start: int, end: int) -> Samples:
        """Return a copy of what is kept of a stretch."""
        return self._room[max(0, start - self.start) : end - self.start].copy()

    def forget(self, before: int) -> None:
        """Drop what lies before a sample."""
        count = min(before, self.end) - self.start
        if count <= 0:
            return
        kept = self.end - self.start - count
        self._room[:kept] = self._room[count : count + kept].copy()
        self.start += count

    def skip(self, count: int) -> None:
        """Go on `count` samples later with nothing kept."""
        self.start = self.end = self.end + count
