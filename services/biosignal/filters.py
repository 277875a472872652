"""Zero-phase filters and running statistics over one evenly sampled signal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The spectrum of a signal, from which any band can be cut, at a lower rate where wanted.

    rate_hz: rate of what is cut from it.
    length: samples of what is cut from it.
    """

    rate_hz: float
    length: int
    _values: NDArray[np.complex128]
    _padded: int

    @classmethod
    def of(
        cls, signal: Samples, rate_hz: float, least_rate_hz: float, padding_s: float = 1.0
    ) -> Spectrum:
        """Spectrum of signal (n,) about its median, padded with padding_s of zeros or more.

        The rate of what is cut is rate_hz over the greatest whole number that leaves least_rate_hz.
        """
        step = max(1, int(rate_hz // least_rate_hz))
        padded = _fast_length(-(-(len(signal) + int(padding_s * rate_hz)) // step))
        values = np.fft.rfft(signal - np.median(signal), padded * step)
        length = -(-len(signal) // step)
        return cls(rate_hz / step, length, values[: padded // 2 + 1] / step, padded)

    def band(self, low_hz: float, high_hz: float, order: int) -> Samples:
        """The signal (length,) between two frequencies; Butterworth magnitude, no phase shift."""
        cut = self._values * _gain(self._padded, self.rate_hz, low_hz, high_hz, order)
        return np.fft.irfft(cut, self._padded)[: self.length]

    def envelope(self, low_hz: float, high_hz: float, order: int) -> Samples:
        """Magnitude (length,) of the analytic signal of the band."""
        whole = np.zeros(self._padded, complex)
        gain = _gain(self._padded, self.rate_hz, low_hz, high_hz, order)
        whole[: len(gain)] = self._values * (2 * gain)
        return np.abs(np.fft.ifft(whole)[: self.length])


@lru_cache(maxsize=32)
def _gain(padded: int, rate_hz: float, low_hz: float, high_hz: float, order: int) -> Samples:
    ratio = np.maximum(np.fft.rfftfreq(padded, 1 / rate_hz), 1e-9)
    power = (1 + (low_hz / ratio) ** (2 * order)) * (1 + (ratio / high_hz) ** (2 * order))
    return np.asarray(1 / np.sqrt(power))


def _fast_length(least: int) -> int:
    """Smallest even 2^a 3^b 5^c, b <= 2, c <= 1, of at least `least`: lengths FFTs are fast at."""
    lengths = []
    for odd in (1, 3, 5, 9, 15, 45):
        doublings = max(1, int(np.ceil(np.log2(max(least / odd, 1)))))
        lengths.append(odd << doublings)
    return min(lengths)


def moving_mean(values: Samples, width: int) -> Samples:
    """Centred mean (n,) over `width` samples; at the ends over those that exist."""
    width = max(1, min(width, len(values)))
    total = np.concatenate(([0.0], np.cumsum(values)))
    centre = np.arange(len(values))
    start = np.maximum(centre - (width - 1) // 2, 0)
    end = np.minimum(centre + width // 2 + 1, len(values))
    mean: Samples = (total[end] - total[start]) / (end - start)
    return mean


def middle(values: Samples, axis: int) -> Samples:
    """Median along an axis; of an even number the upper of the two in the middle."""
    half = values.shape[axis] // 2
    return np.asarray(np.partition(values, half, axis=axis).take(half, axis=axis))


def moving_median(values: Samples, width: int) -> Samples:
    """Centred median (n,) over an odd `width`, mirrored at the ends; short input is repeated."""
    half = width // 2
    if len(values) > half:
        ends = values[half:0:-1], values[-2 : -half - 2 : -1]
    else:
        ends = np.repeat(values[:1], half), np.repeat(values[-1:], half)
    padded = np.concatenate((ends[0], values, ends[1]))
    if not len(values):
        return values
    return middle(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)


def moving_minimum(values: Samples, width: int) -> Samples:
    """Centred minimum (n,) over an odd `width`; at the ends over those that exist."""
    half = min(width // 2, len(values) - 1)
    padded = np.pad(values, half, constant_values=np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    return np.asarray(windows.min(axis=1))


def decimate(values: Samples, factor: int) -> Samples:
    """Means (n // factor,) of blocks of `factor` samples: a low-pass with its own anti-alias."""
    if factor <= 1:
        return values
    blocks = len(values) // factor
    return np.asarray(values[: blocks * factor].reshape(blocks, factor).mean(axis=1))


def peaks(values: Samples, apart: float) -> Indices:
    """Indices of local maxima; of two closer than `apart` samples the lower goes."""
    found = (values[1:-1] > values[:-2]) & (values[1:-1] >= values[2:])
    indices = np.flatnonzero(found) + 1
    while len(indices) > 1:
        close = np.diff(indices) < apart
        if not close.any():
            break
        height = values[indices]
        lower = np.zeros(len(indices), bool)
        lower[1:] |= close & (height[1:] <= height[:-1])
        lower[:-1] |= close & (height[:-1] < height[1:])
        indices = indices[~lower]
    return indices


def around(values: Samples, centres: Indices, offsets: Indices) -> Samples:
    """Windows (len(centres), len(offsets)) of values; past the ends the end value repeats."""
    windows: Samples = values[np.clip(centres[:, None] + offsets, 0, len(values) - 1)]
    return windows
