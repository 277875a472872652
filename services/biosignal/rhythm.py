"""Where the heart does not beat in sinus rhythm, as far as the intervals alone tell it.

Variability is of the sinus node: it has no meaning where that does not lead (Task Force of the ESC
and NASPE, Circulation 93 (1996) 1043, defines it over intervals that come from there).
"""

from __future__ import annotations

import numpy as np

from services.biosignal.nn import Intervals, Mask

MOST_SCATTER = 0.15
"""RMSSD over the mean interval. More is deep breathing, a few pauses, or no sinus rhythm."""

_STRETCH_S = 60.0
_LEAST_PAIRS = 10
_REACH_BEATS = 60
_ALIKE_MS = 30.0
_MOST_DISORDER = -0.9


def disorderly(intervals: Intervals) -> Mask:
    """Which intervals (n,) are in a minute as disorderly as atrial fibrillation and flutter of
    varying conduction: RMSSD over 15 % of the mean normal interval, and disorder over -0.9.

    On 14 records of MIT-BIH that are the minutes mostly in fibrillation or flutter and none without
    (models/training/biosignal/README.md). Flutter that conducts evenly is as regular as sinus
    rhythm and cannot be told from it by its intervals.
    """
    found = np.zeros(len(intervals.end_s), bool)
    if not len(found):
        return found
    for start_s in np.arange(0, intervals.end_s[-1] + _STRETCH_S, _STRETCH_S):
        low, high = np.searchsorted(intervals.end_s, (start_s, start_s + _STRETCH_S))
        found[low:high] = _is_disorderly(intervals.part(start_s, start_s + _STRETCH_S))
    return found


def _is_disorderly(intervals: Intervals) -> bool:
    pairs_ms = intervals.pairs_ms
    if len(pairs_ms) < _LEAST_PAIRS:
        return False
    mean_ms = float(intervals.length_ms[intervals.normal].mean())
    scatter = float(np.sqrt(np.mean(pairs_ms**2))) / mean_ms
    return scatter > MOST_SCATTER and disorder(intervals) > _MOST_DISORDER


def disorder(intervals: Intervals) -> float:
    """How little a normal interval tells of the next: their coefficient of sample entropy.

    Of the intervals that are alike within 30 ms and at most 60 beats apart, the share that is
    followed by such that are alike too, as its negative logarithm, plus that of the width of the
    match over the mean interval (Lake and Moorman, Am. J. Physiol. Heart Circ. Physiol. 300 (2011)
    H319, for templates of one interval).
    """
    both = intervals.pairs
    first, second = intervals.length_ms[:-1][both], intervals.length_ms[1:][both]
    alike = again = 0
    for lag in range(1, min(_REACH_BEATS, len(first) - 1) + 1):
        near = np.abs(first[lag:] - first[:-lag]) < _ALIKE_MS
        alike += int(near.sum())
        again += int((near & (np.abs(second[lag:] - second[:-lag]) < _ALIKE_MS)).sum())
    mean_ms = float(intervals.length_ms[intervals.normal].mean())
    return float(np.log(max(alike, 1) / max(again, 1) * 2 * _ALIKE_MS / mean_ms))
