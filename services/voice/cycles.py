"""Cycle-to-cycle variation of the voice: jitter and shimmer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.voice.features import SAMPLE_RATE_HZ, Samples

Floats = NDArray[np.float64]

#: A period is sought between these parts of the expected one.
_SHORTEST, _LONGEST = 0.8, 1.25
#: Below this likeness of two cycles the voice has stopped.
_LIKENESS = 0.5
#: Neighbours that differ by more are no cycles of one voice (Praat's limits).
_PERIOD_FACTOR, _AMPLITUDE_FACTOR = 1.3, 1.6


@dataclass(frozen=True)
class Cycles:
    """Sums over the cycles of a voice: pairs of neighbours, their periods in samples and
    amplitudes, and how these change from one to the next."""

    pairs: int = 0
    period: float = 0.0
    period_change: float = 0.0
    amplitude_pairs: int = 0
    amplitude_ratio: float = 0.0

    def __add__(self, other: Cycles) -> Cycles:
        return Cycles(
            self.pairs + other.pairs,
            self.period + other.period,
            self.period_change + other.period_change,
            self.amplitude_pairs + other.amplitude_pairs,
            self.amplitude_ratio + other.amplitude_ratio,
        )

    @property
    def jitter(self) -> float:
        """Mean change of the period over the mean period: "jitter (local)"."""
        return self.period_change / self.period

    @property
    def shimmer(self) -> float:
        """Mean change of the amplitude over the mean of both neighbours: "shimmer (local)"."""
        return self.amplitude_ratio / self.amplitude_pairs


def cycles(samples: Samples, pitch: Floats, hop: int) -> Cycles:
    """Return the cycles of the voiced runs of 16 kHz samples.

    pitch: in Hz every `hop` samples, 0 where unvoiced. Each cycle is the shift at which the
    waveform repeats best, found by cross-correlation and interpolated between samples: Boersma,
    "Should jitter be measured by peak picking or by waveform matching?", Folia Phoniatrica et
    Logopaedica 61 (2009). Amplitudes are those of one Hann-windowed cycle. Neighbours whose
    periods differ by a factor above 1.3, or amplitudes above 1.6, are left out.
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([False], pitch > 0, [False]))))
    total = Cycles()
    signal = samples.astype(np.float64)
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        total += _run(signal, pitch[start:end], start * hop, hop)
    return total


def _run(signal: Floats, pitch: Floats, begin: int, hop: int) -> Cycles:
    """Those of one voiced run, marked from its loudest peak to both ends."""
    end = min(begin + pitch.size * hop, signal.size)
    middle = int(begin + np.abs(signal[begin:end]).argmax())
    back = _march(signal, pitch, begin, end, middle, -1, hop)
    ahead = _march(signal, pitch, begin, end, middle, 1, hop)
    periods = np.array([*back[::-1], *ahead])
    if periods.size < 2:
        return Cycles()
    start = middle - float(np.sum(back))
    marks = start + np.concatenate(([0.0], np.cumsum(periods)))
    before, after = periods[:-1], periods[1:]
    alike = np.maximum(before, after) <= _PERIOD_FACTOR * np.minimum(before, after)
    levels = np.array(
        [_level(signal, mark, period) for mark, period in zip(marks, periods, strict=False)]
    )
    lower, higher = np.minimum(levels[:-1], levels[1:]), np.maximum(levels[:-1], levels[1:])
    kept = alike & (higher <= _AMPLITUDE_FACTOR * lower) & (lower > 0)
    ratios = 2 * (higher - lower)[kept] / (higher + lower)[kept]
    return Cycles(
        pairs=int(alike.sum()),
        period=float((before + after)[alike].sum() / 2),
        period_change=float(np.abs(after - before)[alike].sum()),
        amplitude_pairs=int(kept.sum()),
        amplitude_ratio=float(ratios.sum()),
    )


def _march(
    signal: Floats, pitch: Floats, begin: int, end: int, start: float, way: int, hop: int
) -> list[float]:
    """Periods one after the other from a mark, to the run's end or where the voice stops."""
    periods: list[float] = []
    mark = start
    while begin <= mark < end:
        expected = SAMPLE_RATE_HZ / pitch[min(int(mark - begin) // hop, pitch.size - 1)]
        found = _period(signal, round(mark), expected, way)
        if found is None or not begin <= mark + way * found <= end:
            break
        periods.append(found)
        mark += way * found
    return periods


def _period(signal: Floats, mark: int, expected: float, way: int) -> float | None:
    """The shift, in samples, at which the cycle around a mark repeats best; None where it hardly
    does."""
    half = round(expected / 2)
    low, high = int(expected * _SHORTEST) - 1, int(np.ceil(expected * _LONGEST)) + 1
    nearest, farthest = (low, high) if way > 0 else (-high, -low)
    if mark - half + min(0, nearest) < 0 or mark + half + max(0, farthest) >= signal.size:
        return None
    here = signal[mark - half : mark + half + 1]
    there = signal[mark - half + nearest : mark + half + 1 + farthest]
    products = np.correlate(there, here, "valid")
    squares = np.concatenate(([0.0], np.cumsum(there**2)))
    energies = squares[here.size :] - squares[: -here.size]
    likeness = products / np.sqrt(np.maximum(energies * float(here @ here), 1e-20))
    best = int(likeness[1:-1].argmax()) + 1
    left, middle, right = likeness[best - 1 : best + 2]
    if middle < _LIKENESS or middle < left or middle < right:
        return None
    bend = left - 2 * middle + right
    offset = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(abs(nearest + best + offset))


def _level(signal: Floats, mark: float, period: float) -> float:
    """Root mean square of one Hann-windowed cycle around a mark."""
    half = max(1, round(period / 2))
    first = round(mark) - half
    if first < 0 or first + 2 * half + 1 > signal.size:
        return 0.0
    window = np.hanning(2 * half + 3)[1:-1]
    part = signal[first : first + 2 * half + 1]
    return float(np.sqrt((window * part**2).sum() / window.sum()))
