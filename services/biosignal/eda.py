"""Skin conductance: its tonic level and its phasic responses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.biosignal.filters import (
    Samples,
    decimate,
    moving_mean,
    moving_median,
    moving_minimum,
    peaks,
)
from services.biosignal.nn import Mask

METHOD = "eda-trough-to-peak"
VERSION = "1.0.0"

LEAST_LEVEL_S = 10.0
LEAST_RESPONSES_S = 30.0
RANGE_S = 5.0

_RATE_HZ = 8.0
_SPIKE_US = 0.1
_RESPONSE_US = 0.03
_RISE_S = 6.0
_APART_S = 1.0
_TONIC_S = 10.0
_LOWEST_US, _HIGHEST_US = 0.05, 100.0
_STEEPEST_US_PER_S = 10.0


@dataclass(frozen=True, slots=True)
class SkinConductance:
    """A cleaned recording and what was found in it.

    rate_hz: rate of the arrays over samples.
    level_us: (n,) smoothed conductance. tonic_us: (n,) its level without responses.
    good: (n,) whether the sample is of a skin in contact.
    response_s, amplitude_us: (m,) peak times and trough-to-peak amplitudes of responses.
    range_us: (k,) range of the conductance in each 5 s.
    """

    rate_hz: float
    level_us: Samples
    tonic_us: Samples
    good: Mask
    response_s: Samples
    amplitude_us: Samples
    range_us: Samples


def decompose(conductance_us: Samples, rate_hz: float) -> SkinConductance:
    """Cleans and decomposes conductance (n,) in µS at 1 Hz or more.

    Good samples are 0.05 to 100 µS and change by less than 10 µS/s (Kleckner et al., IEEE Trans.
    Biomed. Eng. 65 (2018) 1460). A response rises by 0.03 µS or more from trough to peak within
    6 s (Boucsein et al., Psychophysiology 49 (2012) 1017); the threshold is absolute, so that a
    quiet skin has none. The tonic level is the smoothed running minimum.
    """
    factor = max(1, int(rate_hz // _RATE_HZ))
    values, rate_hz = decimate(conductance_us, factor), rate_hz / factor
    steep = np.abs(np.diff(values, prepend=values[0])) * rate_hz > _STEEPEST_US_PER_S
    good = (values >= _LOWEST_US) & (values <= _HIGHEST_US) & ~steep
    usual = moving_median(values, max(3, int(rate_hz) | 1))
    values = np.where(np.abs(values - usual) > _SPIKE_US, usual, values)
    level = moving_mean(values, max(1, round(rate_hz)))
    lowest = moving_minimum(level, int(_TONIC_S * rate_hz) | 1)
    tonic = np.minimum(moving_mean(lowest, round(_TONIC_S * rate_hz)), level)
    noise = 3 * float(np.std(np.diff(level))) if len(level) > 2 else 0.0
    noise = noise if _is_noise(level) else 0.0
    times, amplitudes = _responses(level, good, rate_hz, max(_RESPONSE_US, noise))
    width = max(2, round(RANGE_S * rate_hz))
    parts = values[: len(values) // width * width].reshape(-1, width)
    return SkinConductance(
        rate_hz, level, tonic, good, times, amplitudes, parts.max(axis=1) - parts.min(axis=1)
    )


def _is_noise(level: Samples) -> bool:
    """Whether successive changes are unrelated, as those of noise are and those of a skin not."""
    change = np.diff(level)
    power = float(change @ change)
    return power > 0 and float(change[1:] @ change[:-1]) / power < 0.2


def _responses(
    level: Samples, good: Mask, rate_hz: float, least_us: float
) -> tuple[Samples, Samples]:
    found = peaks(level, _APART_S * rate_hz)
    kept: list[int] = []
    amplitudes: list[float] = []
    for peak in found:
        start = max(kept[-1] if kept else 0, int(peak - _RISE_S * rate_hz), 0)
        rise = level[peak] - level[start : peak + 1].min()
        if rise >= least_us and good[start : peak + 1].all():
            kept.append(int(peak))
            amplitudes.append(float(rise))
    return np.array(kept) / rate_hz, np.array(amplitudes)
