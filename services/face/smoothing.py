"""The emotion a face shows over time, without flicker."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp

TIME_CONSTANT_MS = 400.0
"""Time constant of the exponential mean of the confidences."""
MARGIN = 0.1
"""How far the new emotion's mean must pass the old one's."""
HOLD_FRAMES = 2
"""Analysed frames in a row in which it must."""
SUDDEN_MS = 700
"""A change quicker than this is sudden."""


@dataclass(frozen=True)
class Change:
    """The smoothed primary emotion changed. ``duration_ms`` runs from the first sign of it."""

    previous: str
    current: str
    duration_ms: int

    @property
    def sudden(self) -> bool:
        """Whether it came at once rather than gradually."""
        return self.duration_ms < SUDDEN_MS


class EmotionState:
    """The smoothed emotion of one face: its ``primary`` and the ``mean`` confidences."""

    def __init__(self) -> None:
        self.primary: str | None = None
        self.mean: dict[str, float] = {}
        self._time_ms = 0
        self._steady_ms = 0
        self._frames = 0

    def update(self, confidences: Mapping[str, float], now_ms: int) -> Change | None:
        """Takes the confidences of one frame; the change where there is one."""
        if self.primary is None:
            self.mean = dict(confidences)
            self.primary = max(self.mean, key=self.mean.__getitem__)
            self._time_ms = self._steady_ms = now_ms
            return None
        kept = exp(-max(now_ms - self._time_ms, 0) / TIME_CONSTANT_MS)
        self.mean = {
            label: kept * self.mean.get(label, 0.0) + (1 - kept) * value
            for label, value in confidences.items()
        }
        self._time_ms = now_ms
        leader = max(self.mean, key=self.mean.__getitem__)
        if leader == self.primary or self.mean[leader] < self.mean[self.primary] + MARGIN:
            self._frames = 0
            if confidences[self.primary] == max(confidences.values()):
                self._steady_ms = now_ms
            return None
        self._frames += 1
        if self._frames < HOLD_FRAMES:
            return None
        change = Change(self.primary, leader, now_ms - self._steady_ms)
        self.primary, self._frames, self._steady_ms = leader, 0, now_ms
        return change
