"""Keeps one id for one face from frame to frame, through misses and crossings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.face.detection import Known
from services.face.geometry import Floats

KEPT_MS = 3000
"""How long a face that is not found is still expected back."""
REACH = 1.2
"""How far from its expected place a face may be, in sides of its box; grows with time unseen."""
REACH_PER_SECOND = 1.5
LOOKS_WEIGHT = 1.5
LONG_GAP_MS = 600
ALIKE = 0.4
"""Likeness (cosine) that a face must have to the track it rejoins after a long gap."""
ROUND_MS = 2500
"""Time in which the whole frame is gone over for small faces that are not followed yet."""
MEMORY = 0.8
"""Share of the old looks kept at each sighting."""


@dataclass
class Track:
    """One face followed: its last ``box [4]``, speed of its centre in pixels a ms, and looks."""

    id: int
    box: Floats
    speed: Floats
    looks: Floats
    seen_ms: int

    def expected(self, now_ms: int) -> Floats:
        """The box moved on at the face's speed."""
        return self.box + np.tile(self.speed * (now_ms - self.seen_ms), 2)


class Tracker:
    """Gives faces their ids. Pairs the likeliest first by place, size and looks."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._next_id = 0
        self._now_ms: int | None = None

    @property
    def count(self) -> int:
        """Number of faces seen so far."""
        return self._next_id

    def known(self, now_ms: int) -> Known | None:
        """What is known of a frame before it is searched; nothing of the first one."""
        if self._now_ms is None:
            return None
        self._forget(now_ms)
        boxes = [track.expected(now_ms) for track in self.tracks]
        return Known(boxes, (self._now_ms / ROUND_MS, now_ms / ROUND_MS))

    def update(self, boxes: Sequence[Floats], crops: Sequence[Floats], now_ms: int) -> list[int]:
        """The id of each face of a frame. ``boxes [4]``, aligned ``crops [48, 48]``."""
        self._now_ms = now_ms
        self._forget(now_ms)
        looks = [_looks(crop) for crop in crops]
        pairs = sorted(
            (cost, t, f)
            for t, track in enumerate(self.tracks)
            for f, box in enumerate(boxes)
            if (cost := _cost(track, box, looks[f], now_ms)) is not None
        )
        ids: dict[int, int] = {}
        taken: set[int] = set()
        for _, t, f in pairs:
            if t not in taken and f not in ids:
                taken.add(t)
                ids[f] = self.tracks[t].id
                _follow(self.tracks[t], boxes[f], looks[f], now_ms)
        for f, box in enumerate(boxes):
            if f not in ids:
                ids[f] = self._next_id
                still = np.zeros(2, np.float32)
                self.tracks.append(Track(self._next_id, box, still, looks[f], now_ms))
                self._next_id += 1
        return [ids[f] for f in range(len(boxes))]

    def _forget(self, now_ms: int) -> None:
        self.tracks = [track for track in self.tracks if now_ms - track.seen_ms <= KEPT_MS]


def _cost(track: Track, box: Floats, looks: Floats, now_ms: int) -> float | None:
    """How unlike the track a face is, or None where it cannot be the same."""
    expected = track.expected(now_ms)
    side = float((track.box[2:] - track.box[:2]).mean())
    growth = abs(float(np.log(max(float((box[2:] - box[:2]).mean()), 1.0) / max(side, 1.0))))
    distance = float(np.linalg.norm((box[:2] + box[2:] - expected[:2] - expected[2:]) / 2)) / side
    reach = REACH + REACH_PER_SECOND * (now_ms - track.seen_ms) / 1000
    likeness = float(looks @ track.looks)
    gap = now_ms - track.seen_ms
    if distance > reach or growth > 0.8 or (gap > LONG_GAP_MS and likeness < ALIKE):
        return None
    return distance + growth + LOOKS_WEIGHT * (1 - likeness)


def _follow(track: Track, box: Floats, looks: Floats, now_ms: int) -> None:
    elapsed = now_ms - track.seen_ms
    if elapsed > 0:
        moved = (box[:2] + box[2:] - track.box[:2] - track.box[2:]) / 2
        track.speed = np.asarray((track.speed + moved / elapsed) / 2, np.float32)
    track.box, track.seen_ms = box, now_ms
    mixed = MEMORY * track.looks + (1 - MEMORY) * looks
    track.looks = np.asarray(mixed / max(float(np.linalg.norm(mixed)), 1e-6), np.float32)


def _looks(crop: Floats) -> Floats:
    """A unit vector of the coarse grey pattern of a face."""
    coarse = crop.reshape(12, 4, 12, 4).mean((1, 3)).reshape(-1)
    coarse = coarse - coarse.mean()
    return np.asarray(coarse / max(float(np.linalg.norm(coarse)), 1e-6), np.float32)
