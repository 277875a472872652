"""Breaths of a chest or belly movement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.biosignal.filters import Samples, Spectrum, moving_mean, moving_median, peaks

METHOD = "respiration-band-peaks"
VERSION = "1.0.0"

LEAST_S = 30.0

_RATE_HZ = 8.0
_BREATH_HZ = (0.08, 0.7)
_DRIFT_HZ = 0.05
_APART_S = 1.3
_LEAST_HEIGHT = 0.3
_SHORTEST_S, _LONGEST_S = 1.3, 15.0
_SHARE_S = 20.0


@dataclass(frozen=True, slots=True)
class Breaths:
    """times_s: (n,) ends of inhalation. share: (m,) at share_hz, part of the signal's power,
    drift apart, that is breathing."""

    times_s: Samples
    share: Samples
    share_hz: float


def detect(movement: Samples, rate_hz: float) -> Breaths:
    """Breaths of a movement (n,) of any unit, at 4 Hz or more, 5 to 42 a minute.

    Peaks of the breathing band at least 0.3 times as high as the median peak (after Khodadad et
    al., Physiol. Meas. 39 (2018) 094001).
    """
    whole = Spectrum.of(movement, rate_hz, rate_hz, padding_s=20)
    spectrum = Spectrum.of(movement, rate_hz, min(rate_hz, _RATE_HZ), padding_s=20)
    breath = spectrum.band(*_BREATH_HZ, order=3)
    step = spectrum.rate_hz
    found = peaks(breath, _APART_S * step)
    found = found[breath[found] > 0]
    if len(found):
        typical = moving_median(breath[found], 9)
        found = found[breath[found] > _LEAST_HEIGHT * typical]
    rest = whole.band(_DRIFT_HZ, rate_hz, order=3)
    skip = round(rate_hz / step)
    width = round(_SHARE_S * step)
    total = moving_mean(moving_mean(rest**2, skip)[::skip][: len(breath)], width)
    share = moving_mean(breath**2, width) / np.maximum(total, 1e-12)
    return Breaths(found / step, np.clip(share, 0, 1), step)


def rates(times_s: Samples) -> tuple[Samples, Samples]:
    """End times in s and rates in breaths a minute (m,) of the breaths that can be ones."""
    length = np.diff(times_s)
    possible = (length >= _SHORTEST_S) & (length <= _LONGEST_S)
    return times_s[1:][possible], 60 / length[possible]
