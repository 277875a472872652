"""Heart rate and heart-rate variability, each only from a window long enough for it.

Windows: Task Force of the ESC and NASPE, Circulation 93 (1996) 1043, for spectral measures, and
Munoz et al., PLoS ONE 10 (2015) e0138921, and Shaffer and Ginsberg, Front. Public Health 5 (2017)
258, for the short ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.biosignal.filters import Samples, moving_median
from services.biosignal.nn import Intervals

METHOD = "nn-variability"
VERSION = "1.3.0"

LEAST_S = {
    "heart_rate": 10.0,
    "rmssd_ms": 30.0,
    "pnn50": 30.0,
    "mean_nn_ms": 30.0,
    "sdnn_ms": 60.0,
    "hf_ms2": 60.0,
    "lf_ms2": 120.0,
    "lf_hf_ratio": 300.0,
}
"""Seconds of usable intervals that each value needs."""

_LF_HZ = (0.04, 0.15)
_HF_HZ = (0.15, 0.4)
_SEGMENT_S = 300.0
_LEAST_SHARE = 0.9
_LEAST_PAIRS = 10
_LEAST_BEATS = 5
_NORMAL_SPREAD, _FINEST_MS = 1.4826, 1.0


@dataclass(frozen=True, slots=True)
class HeartRate:
    """Beats a minute; None where the window is too short."""

    beat_count: int
    mean_bpm: float | None = None
    min_bpm: float | None = None
    max_bpm: float | None = None
    std_bpm: float | None = None


@dataclass(frozen=True, slots=True)
class HeartRateVariability:
    """Time and frequency measures of normal-to-normal intervals; None where not measured."""

    rmssd_ms: float | None = None
    sdnn_ms: float | None = None
    pnn50: float | None = None
    lf_ms2: float | None = None
    hf_ms2: float | None = None
    lf_hf_ratio: float | None = None
    mean_nn_ms: float | None = None
    excluded_ratio: float | None = None


def long_enough(value: str, seconds: float) -> bool:
    """Whether so many seconds of intervals suffice; a window loses up to a beat at each end."""
    return seconds >= _LEAST_SHARE * LEAST_S[value]


def mean_rate(intervals: Intervals, share: float = _LEAST_SHARE) -> float | None:
    """Beats a minute over the possible intervals; None where they are fewer than five, or cover
    less than that share of 10 s."""
    length_ms = intervals.length_ms[intervals.possible]
    total = float(length_ms.sum())
    if total / 1000 < share * LEAST_S["heart_rate"] or len(length_ms) < _LEAST_BEATS:
        return None
    return 60000 * len(length_ms) / total


def heart_rate(intervals: Intervals, beat_count: int) -> HeartRate:
    """Rate over the possible intervals; extremes of the median of five beats."""
    mean_bpm = mean_rate(intervals)
    if mean_bpm is None:
        return HeartRate(beat_count)
    length_ms = intervals.length_ms[intervals.possible]
    smooth = 60000 / moving_median(length_ms, 5)
    return HeartRate(
        beat_count,
        mean_bpm=mean_bpm,
        min_bpm=float(smooth.min()),
        max_bpm=float(smooth.max()),
        std_bpm=float(np.std(60000 / length_ms)),
    )


def rmssd(intervals: Intervals) -> float | None:
    """Root mean square in ms of differences of adjacent normal intervals; None where too few."""
    pairs = intervals.pairs_ms
    if len(pairs) < _LEAST_PAIRS or not long_enough("rmssd_ms", intervals.normal_s):
        return None
    return float(np.sqrt(np.mean(pairs**2)))


def unevenness(intervals: Intervals) -> float:
    """RMSSD over the same from the median difference: 1 of a normal distribution, more where a few
    differences, such as those of pauses, make most of it; 0 without pairs."""
    pairs = np.abs(intervals.pairs_ms)
    if not len(pairs):
        return 0.0
    typical = _NORMAL_SPREAD * max(float(np.median(pairs)), _FINEST_MS)
    return float(np.sqrt(np.mean(pairs**2))) / typical


def heart_rate_variability(intervals: Intervals) -> HeartRateVariability:
    """Every measure for which the normal intervals suffice.

    RMSSD and pNN50 are over pairs of adjacent normal intervals. LF and HF are from the
    Lomb-Scargle periodogram (Laguna, Moody and Mark, IEEE Trans. Biomed. Eng. 45 (1998) 698) of
    segments of five minutes, scaled so that power is in ms²; no interval is invented for those
    left out.
    """
    seconds = intervals.normal_s
    normal = intervals.length_ms[intervals.normal]
    measured: dict[str, float] = {}
    if intervals.possible.any():
        measured["excluded_ratio"] = 1 - float(intervals.normal.mean())
    root = rmssd(intervals)
    if root is not None:
        measured["rmssd_ms"] = root
        measured["pnn50"] = float(np.mean(np.abs(intervals.pairs_ms) > 50))
        measured["mean_nn_ms"] = float(normal.mean())
        if long_enough("sdnn_ms", seconds):
            measured["sdnn_ms"] = float(np.std(normal, ddof=1))
            measured |= _powers(intervals, seconds)
    return HeartRateVariability(**measured)


def _powers(intervals: Intervals, seconds: float) -> dict[str, float]:
    time, length = intervals.end_s[intervals.normal], intervals.length_ms[intervals.normal]
    parts = max(1, round((time[-1] - time[0]) / _SEGMENT_S))
    edges = np.searchsorted(time, np.linspace(time[0], time[-1], parts + 1)[1:-1])
    powers = [
        _band_powers(t, x)
        for t, x in zip(np.split(time, edges), np.split(length, edges), strict=True)
        if len(t) >= _LEAST_PAIRS
    ]
    if not powers:
        return {}
    low, high = np.mean(powers, axis=0).tolist()
    found = {"hf_ms2": high}
    if long_enough("lf_ms2", seconds):
        found["lf_ms2"] = low
    if long_enough("lf_hf_ratio", seconds) and high > 0:
        found["lf_hf_ratio"] = low / high
    return found


def _band_powers(time_s: Samples, length_ms: Samples) -> tuple[float, float]:
    """LF and HF power in ms² of intervals (n,) at uneven times, linear trend removed."""
    time = time_s - time_s.mean()
    slope = (time @ length_ms) / max(float(time @ time), 1e-12)
    centred = length_ms - length_ms.mean() - slope * time
    step = 1 / (time[-1] - time[0])
    frequency = np.arange(max(1, np.ceil(_LF_HZ[0] / step)), np.floor(_HF_HZ[1] / step) + 1) * step
    turn = np.exp(-2j * np.pi * np.outer(frequency, time))
    offset = np.angle((turn**2).sum(axis=1)) / 2
    turned = turn * np.exp(-1j * offset)[:, None]
    along, across = turned.real, turned.imag
    power = (along @ centred) ** 2 / np.maximum((along**2).sum(axis=1), 1e-12)
    power += (across @ centred) ** 2 / np.maximum((across**2).sum(axis=1), 1e-12)
    power /= len(time)
    low, high = ((frequency >= band[0]) & (frequency < band[1]) for band in (_LF_HZ, _HF_HZ))
    return float(power[low].sum()), float(power[high].sum())
