"""R peaks of an electrocardiogram."""

from __future__ import annotations

import numpy as np

from services.biosignal.beats import Beats, Candidates, align, blocks, clarity, match_of, select
from services.biosignal.filters import (
    Indices,
    Samples,
    Spectrum,
    around,
    moving_mean,
    moving_median,
    peaks,
)

METHOD = "ecg-envelope-sequence"
VERSION = "1.0.0"

_RATE_HZ = 120.0
_QRS_HZ = (9.0, 22.0)
_SHAPE_HZ = (3.0, 30.0)
_THRESHOLDS = (0.2, 0.38)
_TEMPLATE_S = 0.09
_CENTRE_S = 0.1
_ALIGN_S = 0.08
_SHIFT_S = 0.02


def detect(ecg: Samples, rate_hz: float) -> Beats:
    """Beats of an ECG (n,) of any unit and polarity, at 50 Hz or more.

    The envelope of the QRS band gives candidates, `beats.select` the likeliest sequence among
    them; a beat's time is the centre of its QRS energy, refined to a fraction of a sample by
    aligning it with the beats around. The second detector is the squared slope over a moving
    window with a threshold (Pan and Tompkins, IEEE Trans. Biomed. Eng. 32 (1985) 230).
    """
    spectrum = Spectrum.of(ecg, rate_hz, _RATE_HZ)
    envelope = spectrum.envelope(*_QRS_HZ, order=4)
    shape = spectrum.band(*_SHAPE_HZ, order=2)
    clear = clarity(ecg, rate_hz, envelope**2 / 2, spectrum.rate_hz, np.sqrt(np.prod(_QRS_HZ)))
    rate_hz = spectrum.rate_hz
    found = Candidates.of(envelope, rate_hz, _THRESHOLDS)
    match = _match(shape, found.position, found.height, rate_hz)
    chosen = select(found, match, rate_hz)
    centre = _centres(envelope, found.position[chosen], rate_hz)
    time, match = align(shape, centre, rate_hz, _ALIGN_S, _SHIFT_S)
    check = _slope_peaks(shape, rate_hz)
    return Beats(time / rate_hz, match, check / rate_hz, clear)


def _match(shape: Samples, position: Indices, height: Samples, rate_hz: float) -> Samples:
    half, step = int(_TEMPLATE_S * rate_hz), max(1, int(rate_hz / 125))
    windows = around(shape, position, np.arange(-half, half + 1, step))
    strong = np.flatnonzero((height > 0.6) & (height < 2))
    return match_of(windows, strong, blocks(position, len(shape), rate_hz))


def _centres(envelope: Samples, position: Indices, rate_hz: float) -> Indices:
    """Centre of energy (n,) of the QRS about each position."""
    half = int(_CENTRE_S * rate_hz)
    offsets = np.arange(-half, half + 1)
    energy = around(envelope, position, offsets) ** 2
    shift = (energy @ offsets) / np.maximum(energy.sum(axis=1), 1e-12)
    centre = np.clip(position + np.rint(shift).astype(np.intp), 0, len(envelope) - 1)
    return np.unique(centre)


def _slope_peaks(shape: Samples, rate_hz: float) -> Indices:
    energy = moving_mean(np.gradient(shape) ** 2, int(0.12 * rate_hz))
    level = np.sqrt(energy)
    found = peaks(level, 0.25 * rate_hz)
    if not len(found):
        return found
    width = 2.0 * rate_hz
    segment = (found / width).astype(int)
    highest = np.zeros(segment[-1] + 1)
    np.maximum.at(highest, segment, level[found])
    typical = moving_median(highest, 5)[segment]
    kept: Indices = found[level[found] > 0.4 * typical]
    return kept
