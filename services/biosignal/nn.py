"""Intervals between beats, and which of them are between normal beats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.biosignal.filters import Samples, moving_median

_SHORTEST_MS, _LONGEST_MS = 300.0, 2000.0
_OFF_LEAST, _OFF_MOST, _OFF_SPREADS = 0.2, 0.5, 5.2
_MEDIAN_BEATS, _SPREAD_BEATS = 11, 91
_LEAST_MATCH, _LESS_MATCH = 0.85, 0.1

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals between successive beats; each array is (n,).

    end_s: time of the beat that ends the interval.
    length_ms: its length.
    joined: whether it starts where the one before it ends.
    possible: whether it is between two beats of usable signal and of a length a heart can have.
    normal: whether it is also normal-to-normal.
    """

    end_s: Samples
    length_ms: Samples
    joined: Mask
    possible: Mask
    normal: Mask

    @property
    def usable_s(self) -> float:
        """Time that possible intervals cover."""
        return float(self.length_ms[self.possible].sum()) / 1000

    @property
    def normal_s(self) -> float:
        """Time that normal-to-normal intervals cover."""
        return float(self.length_ms[self.normal].sum()) / 1000

    @property
    def pairs_ms(self) -> Samples:
        """Differences (m,) between successive intervals that are both normal."""
        both = self.normal[1:] & self.normal[:-1] & self.joined[1:]
        return np.diff(self.length_ms)[both]

    def part(self, start_s: float, end_s: float) -> Intervals:
        """Those that end in [start_s, end_s)."""
        kept = slice(*np.searchsorted(self.end_s, (start_s, end_s)))
        return Intervals(
            self.end_s[kept],
            self.length_ms[kept],
            self.joined[kept],
            self.possible[kept],
            self.normal[kept],
        )


def between(times_s: Samples, match: Samples, usable: Mask) -> Intervals:
    """Intervals of beats at times_s (n,), from their match to the beats around and usability.

    An interval is normal when it is 300 to 2000 ms, near the median of the 11 around it, and both
    its beats look like their neighbours: an ectopic beat gives neither the interval before it nor
    the one after it (Task Force, Circulation 93 (1996) 1043). Near is 20 %, or 5.2 times the
    median departure of the 91 around it where the whole rhythm is irregular, at most 50 % (the
    threshold follows the rhythm as in Lipponen and Tarvainen, J. Med. Eng. Technol. 43 (2019) 173,
    whose factor and length these are).
    """
    length_ms = np.diff(times_s) * 1000
    possible = usable[1:] & usable[:-1] & _plausible(length_ms)
    usual = float(np.median(match)) if len(match) else 0.0
    alike = match > min(_LEAST_MATCH, usual - _LESS_MATCH)
    normal = possible & alike[1:] & alike[:-1] & _near_median(length_ms, possible)
    joined = np.arange(len(length_ms)) > 0
    return Intervals(times_s[1:], length_ms, joined, possible, normal)


def given(length_ms: Samples) -> Intervals:
    """Intervals as a client gives them, one after the other; (n,) in ms."""
    possible = _plausible(length_ms)
    normal = possible & _near_median(length_ms, possible)
    joined = np.arange(len(length_ms)) > 0
    return Intervals(np.cumsum(length_ms) / 1000, length_ms, joined, possible, normal)


def _plausible(length_ms: Samples) -> Mask:
    return (length_ms >= _SHORTEST_MS) & (length_ms <= _LONGEST_MS)


def _near_median(length_ms: Samples, possible: Mask) -> Mask:
    near = np.zeros(len(length_ms), bool)
    if possible.any():
        chosen = length_ms[possible]
        off = np.abs(chosen / moving_median(chosen, _MEDIAN_BEATS) - 1)
        spread = moving_median(off, _SPREAD_BEATS)
        near[possible] = off <= np.clip(_OFF_SPREADS * spread, _OFF_LEAST, _OFF_MOST)
    return near
