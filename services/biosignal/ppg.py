"""Pulse beats of a photoplethysmogram."""

from __future__ import annotations

import numpy as np

from services.biosignal.beats import Beats, Candidates, align, blocks, clarity, match_of, select
from services.biosignal.filters import Indices, Samples, Spectrum, around, peaks

METHOD = "ppg-band-sequence"
VERSION = "1.0.0"

_RATE_HZ = 60.0
_PULSE_HZ = (0.6, 4.0)
_SHAPE_HZ = (0.5, 8.0)
_THRESHOLDS = (0.25, 0.45)
_TEMPLATE_S = 0.35
_SHIFT_S = 0.05


def detect(ppg: Samples, rate_hz: float) -> Beats:
    """Beats of a photoplethysmogram (n,) of any unit, at 20 Hz or more, pulses upward.

    Maxima of the pulse band (Elgendi et al., PLoS ONE 8 (2013) e76585) are candidates, and
    `beats.select` takes the likeliest sequence; times are refined by alignment of the whole pulse.
    The second detector is the steepest rise of each pulse.
    """
    spectrum = Spectrum.of(ppg, rate_hz, _RATE_HZ, padding_s=5)
    band = spectrum.band(*_PULSE_HZ, order=3)
    pulse = np.maximum(band, 0)
    shape = spectrum.band(*_SHAPE_HZ, order=2)
    clear = clarity(ppg, rate_hz, band**2, spectrum.rate_hz, np.sqrt(np.prod(_PULSE_HZ)))
    rate_hz = spectrum.rate_hz
    found = Candidates.of(pulse, rate_hz, _THRESHOLDS)
    half = int(_TEMPLATE_S * rate_hz)
    windows = around(shape, found.position, np.arange(-half, half + 1))
    strong = np.flatnonzero((found.height > 0.6) & (found.height < 2))
    match = match_of(windows, strong, blocks(found.position, len(shape), rate_hz))
    chosen = select(found, match, rate_hz)
    time, match = align(shape, found.position[chosen], rate_hz, _TEMPLATE_S, _SHIFT_S)
    return Beats(time / rate_hz, match, _rises(shape, time, rate_hz) / rate_hz, clear)


def _rises(shape: Samples, time: Samples, rate_hz: float) -> Samples:
    """Steepest rises (m,), in samples, moved by their usual distance to the beats."""
    slope = np.maximum(np.gradient(shape), 0)
    found: Indices = peaks(slope, 0.3 * rate_hz)
    found = found[slope[found] > 0.4 * np.median(np.sort(slope[found])[len(found) // 2 :])]
    if not len(found) or not len(time):
        return found.astype(float)
    after = np.minimum(np.searchsorted(time, found), len(time) - 1)
    shifted: Samples = found + np.median(time[after] - found)
    return shifted
