"""The emotion of one speaker over the time of a stream, without flicker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MARGIN = 0.1
"""How far the new emotion must pass the old one's probability."""
HOLD = 2
"""Readings in a row in which it must."""
SUDDEN_MS = 2500
"""A change quicker than this is sudden."""


@dataclass(frozen=True)
class Change:
    """The primary emotion changed. duration_ms runs from the last reading that showed the old."""

    previous: str
    current: str
    duration_ms: int

    @property
    def sudden(self) -> bool:
        """Whether it came at once rather than gradually."""
        return self.duration_ms < SUDDEN_MS


class Course:
    """The primary emotion, which changes once another leads by MARGIN in HOLD readings."""

    def __init__(self) -> None:
        self.primary: str | None = None
        self._steady_ms = 0
        self._count = 0

    def begin(self, now_ms: int) -> None:
        """Speech begins; the silence before is no part of a change."""
        self._steady_ms = now_ms

    def update(self, emotions: Mapping[str, float], now_ms: int) -> Change | None:
        """Take the probabilities of one reading; the change where there is one."""
        leader = max(emotions, key=emotions.__getitem__)
        if self.primary is None or leader == self.primary:
            self.primary, self._steady_ms, self._count = leader, now_ms, 0
            return None
        if emotions[leader] < emotions[self.primary] + MARGIN:
            self._count = 0
            return None
        self._count += 1
        if self._count < HOLD:
            return None
        change = Change(self.primary, leader, now_ms - self._steady_ms)
        self.primary, self._steady_ms, self._count = leader, now_ms, 0
        return change
