"""Audio that waits to be analysed: bounded, in order, none of it dropped."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

import numpy as np

from services.voice.features import SAMPLE_RATE_HZ, Samples

BUFFER_S = 10
"""Whoever sends more than this ahead of the analysis waits."""

_BUFFER = BUFFER_S * SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Stretch:
    """Samples without a gap; `arrived_s` is when the last of them came."""

    samples: Samples
    arrived_s: float


@dataclass(frozen=True)
class Gap:
    """Audio that is not to be analysed, `samples` long; speech does not go on across it."""

    samples: int


class Inbox:
    """A queue of audio between one sender and one analysis."""

    def __init__(self) -> None:
        self._waiting: deque[Stretch | Gap] = deque()
        self._count = 0
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def full(self) -> bool:
        return self._count >= _BUFFER

    @property
    def eased(self) -> bool:
        """Whether it is less than half full."""
        return self._count < _BUFFER // 2

    async def put(self, item: Stretch | Gap) -> None:
        """Add an item once there is room."""
        while self.full and not self._closed:
            await self._change()
        self._waiting.append(item)
        if isinstance(item, Stretch):
            self._count += item.samples.size
        self._changed.set()

    def close(self) -> None:
        """Nothing more comes."""
        self._closed = True
        self._changed.set()

    async def get(self, least: int, most: int) -> Stretch | Gap | None:
        """Return `least` to `most` samples, fewer before a gap or the end; None after the end."""
        while not (self._count >= least or self._closed or self._has_gap()):
            await self._change()
        if not self._waiting:
            return None
        self._changed.set()
        if isinstance(first := self._waiting[0], Gap):
            self._waiting.popleft()
            return first
        return self._stretch(most)

    def _stretch(self, most: int) -> Stretch:
        parts: list[Samples] = []
        arrived_s = 0.0
        while most and self._waiting and isinstance(item := self._waiting[0], Stretch):
            part, rest = item.samples[:most], item.samples[most:]
            self._waiting.popleft()
            if rest.size:
                self._waiting.appendleft(Stretch(rest, item.arrived_s))
            parts.append(part)
            most -= part.size
            arrived_s = item.arrived_s
        joined = np.concatenate(parts)
        self._count -= joined.size
        return Stretch(joined, arrived_s)

    def _has_gap(self) -> bool:
        return any(isinstance(item, Gap) for item in self._waiting)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
