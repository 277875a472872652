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
from services.biosignal.nn import Mask

METHOD = "ecg-envelope-sequence"
VERSION = "1.1.0"

_RATE_HZ = 120.0
_QRS_HZ = (9.0, 22.0)
_SHAPE_HZ = (3.0, 30.0)
_THRESHOLDS = (0.2, 0.38)
_TEMPLATE_S = 0.09
_CENTRE_S = 0.1
_ALIGN_S = 0.08
_SHIFT_S = 0.02
_MONITOR_HZ = (0.5, 30.0)
_QRS_S, _AFTER_QRS_S, _BEFORE_QRS_S = 0.08, 0.4, 0.25
_RESTLESS = 1 / 3


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
    restless = _restless(spectrum.band(*_MONITOR_HZ, order=2), time, rate_hz)
    return Beats(time / rate_hz, match, check / rate_hz, clear, restless)


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


def _restless(ecg: Samples, time: Samples, rate_hz: float) -> Mask:
    """Whether the signal between each beat and the next (n - 1,), from 0.4 s after the one, when
    its T wave is over, to 0.25 s before the other, before its P wave, moves by over a third of a
    QRS: a beat too broad or too weak for the detector is there, or an artefact that may hide one.
    """
    half = int(_QRS_S * rate_hz)
    beat = np.rint(time).astype(np.intp)
    qrs = np.ptp(around(ecg, beat, np.arange(-half, half + 1)), axis=1)
    height = moving_median(qrs, 11)
    start, end = beat[:-1] + int(_AFTER_QRS_S * rate_hz), beat[1:] - int(_BEFORE_QRS_S * rate_hz)
    edges = np.clip(np.stack((start, end), axis=1).ravel(), 0, len(ecg) - 1)
    moves = np.maximum.reduceat(ecg, edges)[::2] - np.minimum.reduceat(ecg, edges)[::2]
    restless: Mask = moves > _RESTLESS * np.minimum(height[1:], height[:-1])
    return restless
