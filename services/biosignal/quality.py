"""How good each signal is in every stretch of 10 s, and so which stretches are used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from services.biosignal.beats import Beats
from services.biosignal.filters import Samples
from services.biosignal.nn import Mask

STRETCH_S = 10.0
USABLE = 0.55

_SHORTEST_S = 5.0
_SAME_BEAT_S = 0.15
_LONGEST_GAP_S = 2.5


@dataclass(frozen=True, slots=True)
class Stretch:
    """Quality of one signal from start_s to end_s, from 0 (noise) to 1 (clean)."""

    start_s: float
    end_s: float
    score: float

    @property
    def usable(self) -> bool:
        return self.score >= USABLE


def stretches(duration_s: float, score: Callable[[float, float], float]) -> list[Stretch]:
    """Scores each 10 s; a last one shorter than 5 s is joined to the one before it."""
    edges = np.arange(0, duration_s, STRETCH_S).tolist()
    if len(edges) > 1 and duration_s - edges[-1] < _SHORTEST_S:
        edges.pop()
    edges.append(duration_s)
    return [
        Stretch(start, end, min(1.0, max(0.0, score(start, end)))) for start, end in pairwise(edges)
    ]


def of_beats(beats: Beats, damaged: Mask, rate_hz: float) -> list[Stretch]:
    """Quality of a signal of heart beats; damaged (n,) marks its saturated or dead samples.

    Score: how alike the beats are, times how far two detectors agree (F1 within 150 ms; after
    Clifford et al., Physiol. Meas. 33 (2012) 1419), times the share of the time that is neither
    damaged nor a gap no heart makes, times its clarity.
    """
    paired = _paired(beats.times_s, beats.check_s)
    checked = _paired(beats.check_s, beats.times_s)
    broken = np.concatenate(([0.0], np.cumsum(damaged))) / rate_hz

    def score(start: float, end: float) -> float:
        first, last = np.searchsorted(beats.times_s, (start, end))
        low, high = np.searchsorted(beats.check_s, (start, end))
        found, others = last - first, high - low
        if found < 2 or not others:
            return 0.0
        agreement = (paired[first:last].sum() + checked[low:high].sum()) / (found + others)
        times = beats.times_s[max(first - 1, 0) : last + 1]
        gaps = np.diff(np.clip(times, start, end))
        whole = gaps[gaps <= _LONGEST_GAP_S].sum() / (end - start)
        edges = np.clip(np.array((start, end)) * rate_hz, 0, len(damaged)).astype(int)
        intact = 1 - (broken[edges[1]] - broken[edges[0]]) / (end - start)
        likeness = max(0.0, float(np.mean(beats.match[first:last])))
        clear = beats.clarity[int(start) : max(int(end), int(start) + 1)]
        clearness = float(clear.mean()) if len(clear) else 1.0
        return float(likeness * agreement * min(1.0, whole / 0.8) * intact * clearness)

    return stretches(len(damaged) / rate_hz, score)


def of_samples(worth: Samples, rate_hz: float) -> list[Stretch]:
    """Quality of a slow signal: the mean of worth (n,), each in [0, 1]."""
    total = np.concatenate(([0.0], np.cumsum(worth, dtype=float)))

    def score(start: float, end: float) -> float:
        low, high = (min(int(at * rate_hz), len(worth)) for at in (start, end))
        return float(total[high] - total[low]) / max(high - low, 1)

    return stretches(len(worth) / rate_hz, score)


def of_events(times_s: Samples, possible: Mask, duration_s: float) -> list[Stretch]:
    """Quality of intervals given as such: the share of those that end in it and are possible."""

    def score(start: float, end: float) -> float:
        first, last = np.searchsorted(times_s, (start, end))
        return float(possible[first:last].mean()) if last > first else 0.0

    return stretches(duration_s, score)


def usable_at(times_s: Samples, parts: list[Stretch]) -> Mask:
    """Whether each time (n,) lies in a usable stretch."""
    if not parts:
        return np.zeros(len(times_s), bool)
    starts = np.array([part.start_s for part in parts])
    flags = np.array([part.usable for part in parts])
    return flags[np.clip(np.searchsorted(starts, times_s, side="right") - 1, 0, None)]


def _paired(times_s: Samples, others_s: Samples) -> Mask:
    if not len(others_s):
        return np.zeros(len(times_s), bool)
    after = np.clip(np.searchsorted(others_s, times_s), 1, max(len(others_s) - 1, 1))
    after = np.minimum(after, len(others_s) - 1)
    nearest = np.minimum(
        np.abs(others_s[after] - times_s), np.abs(others_s[np.maximum(after - 1, 0)] - times_s)
    )
    return nearest <= _SAME_BEAT_S
