"""Which of many candidates are heart beats: the likeliest sequence, found by dynamic programming.

A candidate speaks for itself by its height over the local noise and by its likeness to the beats
around it; the sequence speaks by its rhythm. Choosing the sequence as a whole fills gaps with weak
beats and drops waves between beats that a threshold alone would take.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import log

import numpy as np

from services.biosignal.filters import Indices, Samples, around, middle, moving_median, peaks
from services.biosignal.nn import Mask

BLOCK_S = 20.0
"""Length over which noise and the template of a beat are taken as steady."""

_REFRACTORY_S = 0.2
_SEGMENT_S = 2.0
_RHYTHM_BEATS = 11
_LEAST_SCORE = -1.2
_LEAST_SHARE = 0.001
_REACH_S = 7.5


@dataclass(frozen=True, slots=True)
class Beats:
    """Beats of one signal.

    times_s: (n,) increasing, from the start of the signal.
    match: (n,) correlation with the beats around, in [-1, 1].
    check_s: (m,) beats that a second, simpler detector found.
    clarity: (k,) for each second, in [0, 1]: 0 where interference drowns the signal.
    restless: (n - 1,) whether the signal moves between a beat and the next as if it hid another;
        None where that cannot be told.
    """

    times_s: Samples
    match: Samples
    check_s: Samples
    clarity: Samples
    restless: Mask | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each kind of evidence counts, in nats."""

    match: float = 0.5
    match_neutral: float = 0.45
    early: float = 1.2
    late: float = 2.0
    rhythm_most: float = 1.6
    irregular: float = 0.2


@dataclass(frozen=True, slots=True)
class Candidates:
    """Local maxima that may be beats; each array is (n,).

    position: sample index, increasing.
    height: relative to the typical beat nearby.
    threshold: height at which it is as likely a beat as not.
    """

    position: Indices
    height: Samples
    threshold: Samples

    @classmethod
    def of(cls, envelope: Samples, rate_hz: float, limits: tuple[float, float]) -> Candidates:
        """Candidates of an envelope (n,); the threshold follows the noise within `limits`."""
        position = peaks(envelope, _REFRACTORY_S * rate_hz)
        if not len(position):
            return cls(position, np.zeros(0), np.zeros(0))
        height = envelope[position] / _typical(envelope, position, rate_hz)
        threshold = np.empty(len(position))
        for block in blocks(position, len(envelope), rate_hz):
            low = height[block]
            low = low[low < 0.5]
            level = 1.6 * np.percentile(low, 80) if len(low) > 5 else 0.3
            threshold[block] = np.clip(level, *limits)
        kept = height > 0.4 * threshold
        return cls(position[kept], height[kept], threshold[kept])


def blocks(position: Indices, length: int, rate_hz: float) -> list[slice]:
    """The slices of `position` that fall in each block of about BLOCK_S of a signal."""
    count = max(1, round(length / rate_hz / BLOCK_S))
    edges = np.searchsorted(position, np.linspace(0, length, count + 1))
    edges[-1] = len(position)
    return [slice(a, b) for a, b in pairwise(edges.tolist()) if b > a]


def _typical(envelope: Samples, position: Indices, rate_hz: float) -> Samples:
    """Height (n,) of a typical beat near each position: median over 18 s of maxima over 2 s."""
    width = _SEGMENT_S * rate_hz
    count = max(1, int(np.ceil(len(envelope) / width)))
    segment = np.minimum((position / width).astype(int), count - 1)
    highest = np.zeros(count)
    np.maximum.at(highest, segment, envelope[position])
    level = moving_median(highest, 9)
    usual = float(np.median(highest[highest > 0])) if highest.any() else 0.0
    level = np.maximum(level, max(0.15 * usual, 1e-12))
    return np.interp(position, (np.arange(count) + 0.5) * width, level)


def match_of(windows: Samples, strong: Indices, parts: list[slice]) -> Samples:
    """Correlation (n,) of each window (n, w) with the median of the strong ones in its part."""
    windows = windows - windows.mean(axis=1, keepdims=True)
    windows /= np.maximum(np.linalg.norm(windows, axis=1, keepdims=True), 1e-12)
    match = np.zeros(len(windows))
    for part in parts:
        chosen = strong[np.searchsorted(strong, part.start) : np.searchsorted(strong, part.stop)]
        if len(chosen) < 3:
            chosen = strong
        if len(chosen):
            template = middle(windows[chosen], axis=0)
            template /= max(float(np.linalg.norm(template)), 1e-12)
            match[part] = windows[part] @ template
    return match


def clarity(
    signal: Samples, rate_hz: float, power: Samples, power_hz: float, centre_hz: float
) -> Samples:
    """Share (k,) of the power of the slope of a signal (n,) that beats can have, in each second,
    against 0.1 %: where no electrode holds, hum and hiss have nearly all of it.

    power: (m,) at power_hz, of the band of the beats, about centre_hz.
    """
    slope = np.diff(signal)
    whole = _per_second(slope * slope, rate_hz)
    wanted = _per_second(power, power_hz) * (2 * np.pi * centre_hz / rate_hz) ** 2
    count = min(len(whole), len(wanted))
    return np.minimum(1.0, wanted[:count] / np.maximum(_LEAST_SHARE * whole[:count], 1e-24))


def _per_second(power: Samples, rate_hz: float) -> Samples:
    starts = np.arange(0, len(power) - rate_hz / 2, rate_hz).astype(int)
    mean: Samples = np.add.reduceat(power, starts) / rate_hz
    return mean


def align(
    shape: Samples, centre: Indices, rate_hz: float, half_s: float, shift_s: float
) -> tuple[Samples, Samples]:
    """Time (n,) in samples where each beat best matches the median beat around, and that match.

    Beats are compared over half_s to each side and moved by at most shift_s.
    """
    half, most = int(half_s * rate_hz), max(2, int(shift_s * rate_hz))
    time, match = centre.astype(float), np.zeros(len(centre))
    width = 2 * half + 1
    for part in blocks(centre, len(shape), rate_hz):
        windows = around(shape, centre[part], np.arange(-half - most, half + most + 1))
        template = middle(windows[:, most:-most], axis=0)
        template -= template.mean()
        template /= max(float(np.linalg.norm(template)), 1e-12)
        views = np.lib.stride_tricks.sliding_window_view(windows, width, axis=1)
        sums, squares = np.zeros((2, len(windows), windows.shape[1] + 1))
        np.cumsum(windows, axis=1, out=sums[:, 1:])
        np.cumsum(windows**2, axis=1, out=squares[:, 1:])
        mean = (sums[:, width:] - sums[:, :-width]) / width
        power = squares[:, width:] - squares[:, :-width] - width * mean**2
        likeness = (views @ template) / np.sqrt(np.maximum(power, 1e-24))
        rows = np.arange(len(windows))
        top = np.argmax(likeness, axis=1)
        inner = np.clip(top, 1, 2 * most - 1)
        left, peak, right = (likeness[rows, inner + k] for k in (-1, 0, 1))
        bend = left - 2 * peak + right
        fraction = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, 1), 0)
        match[part] = likeness[rows, top]
        sure = (match[part] > 0.8) & (top == inner)
        time[part] += np.where(sure, inner - most + fraction, 0)
    return time, match


def select(
    found: Candidates, match: Samples, rate_hz: float, weights: Weights | None = None
) -> Indices:
    """Indices into `found` of the likeliest sequence of beats.

    Score of a beat: log(height / threshold) + weighted match. Cost of an interval: the squared log
    of its ratio to the local median interval, capped, and less where the rhythm is irregular. A
    certain beat is always taken; gaps longer than 7.5 s all cost the same, so time is linear.
    """
    if not len(found.position):
        return np.zeros(0, np.intp)
    weights = weights or Weights()
    evidence = np.maximum(match, 0) - weights.match_neutral
    score = np.log(found.height / found.threshold) + weights.match * evidence
    interval_s, regularity = _rhythm(found, match, rate_hz, weights.irregular)
    certain = ((found.height > 0.7) & (match > 0.75)).tolist()
    time = (found.position / rate_hz).tolist()
    own, trust, log_usual = score.tolist(), regularity.tolist(), np.log(interval_s).tolist()
    best = [-np.inf] * len(time)
    before = [-1] * len(time)
    anchor = past = -1
    near = 0
    for i, now in enumerate(time):
        if own[i] < _LEAST_SCORE:
            continue
        while time[near] < now - _REACH_S:
            if past < 0 or best[near] > best[past]:
                past = near
            near += 1
        if anchor < 0:
            best[i] = own[i]
        if past >= 0:
            total = best[past] + own[i] - trust[i] * weights.rhythm_most
            if total > best[i]:
                best[i], before[i] = total, past
        for j in range(i - 1, near - 1, -1):
            gap = now - time[j]
            if gap >= _REFRACTORY_S and best[j] > -np.inf:
                change = log(gap) - log_usual[i]
                cost = (weights.early if change < 0 else weights.late) * change * change
                total = best[j] + own[i] - trust[i] * min(cost, weights.rhythm_most)
                if total > best[i]:
                    best[i], before[i] = total, j
        if certain[i] and best[i] > -np.inf:
            anchor = near = i
            past = -1
    last = max(range(max(anchor, 0), len(time)), key=best.__getitem__)
    chosen = []
    while last >= 0:
        chosen.append(last)
        last = before[last]
    return np.array(chosen[::-1], np.intp)


def _rhythm(
    found: Candidates, match: Samples, rate_hz: float, irregular: float
) -> tuple[Samples, Samples]:
    """Local median interval in s and regularity in (0, 1], both (n,), from the clear candidates."""
    clear = found.position[(found.height > 0.5) & (match > 0.6)]
    intervals = np.diff(clear) / rate_hz
    if len(intervals) < 3:
        return np.full(len(match), 0.8), np.full(len(match), 0.7)
    median = moving_median(intervals, _RHYTHM_BEATS)
    spread = moving_median(np.abs(np.log(intervals / median)), _RHYTHM_BEATS)
    usual = np.clip(np.interp(found.position, clear[1:], median), 0.3, 1.6)
    scatter = np.interp(found.position, clear[1:], spread)
    return usual, 1 / (1 + (scatter / irregular) ** 2)
