"""Which results of one modality are sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Rate = Literal["per_frame", "per_second", "on_change", "threshold"]


@dataclass
class Rating:
    """The output rate that a client asked for, applied to one modality."""

    rate: Rate
    threshold: float
    _sent_ms: int | None = None

    def due(self, epoch_ms: int, confidence: float, changed: bool) -> bool:
        """Whether this result is sent; the first is at every rate but threshold."""
        due = {
            "per_frame": True,
            "per_second": self._sent_ms is None or epoch_ms - self._sent_ms >= 1000,
            "on_change": self._sent_ms is None or changed,
            "threshold": confidence >= self.threshold,
        }[self.rate]
        if due:
            self._sent_ms = epoch_ms
        return due


class Throttle:
    """Lets a repeated message through once in a while, with how often it was due since."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._count = 0
        self._told_s = float("-inf")

    def count(self, now_s: float, times: int = 1) -> int:
        """Adds to the count; gives it, and begins anew, where it is time to tell, else 0."""
        self._count += times
        if now_s - self._told_s < self._every_s:
            return 0
        count, self._count, self._told_s = self._count, 0, now_s
        return count


class Bucket:
    """At most so many a second, after a burst of one second's."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._tokens = max(1.0, per_second)
        self._refilled_s: float | None = None

    def take(self, now_s: float) -> bool:
        """Whether one more may pass."""
        if self._refilled_s is not None:
            gained = (now_s - self._refilled_s) * self._per_second
            self._tokens = min(max(1.0, self._per_second), self._tokens + gained)
        self._refilled_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
