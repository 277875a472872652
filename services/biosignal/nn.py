"""Intervals between beats, and which of them are between normal beats."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from services.biosignal.filters import Samples, moving_median

_SHORTEST_MS, _LONGEST_MS = 300.0, 2000.0
_MEDIAN_BEATS, _SPREAD_BEATS, _SPREADS = 11, 91, 5.2
_EARLY = (0.15, 0.3)
_LATE = (0.2, 0.5)
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
    def pairs(self) -> Mask:
        """Whether each interval and the next (n - 1,) are both normal and follow each other."""
        return self.normal[1:] & self.normal[:-1] & self.joined[1:]

    @property
    def pairs_ms(self) -> Samples:
        """Differences (m,) between successive intervals that are both normal."""
        return np.diff(self.length_ms)[self.pairs]

    def without(self, abnormal: Mask) -> Intervals:
        """The same with some (n,) that are not normal."""
        return replace(self, normal=self.normal & ~abnormal)

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


def between(
    times_s: Samples, match: Samples, usable: Mask, restless: Mask | None = None
) -> Intervals:
    """Intervals of beats at times_s (n,), from their match to the beats around and usability.

    restless (n - 1,) says of each interval whether the signal moves in it, so that it may hide a
    beat; None where nothing is known of that.

    An interval is normal-to-normal when it is 300 to 2000 ms, both its beats are normal, and none
    is missing in it (Task Force, Circulation 93 (1996) 1043: an ectopic beat gives neither the
    interval before it nor the one after it). A beat is normal that looks like its neighbours and
    is not early (see `_early`); one may be missing where an interval is 20 % longer than usual and
    restless. A pause in which nothing moves counts, however far from the median it is.
    """
    length_ms = np.diff(times_s) * 1000
    possible = usable[1:] & usable[:-1] & _plausible(length_ms)
    usual = float(np.median(match)) if len(match) else 0.0
    alike = match > min(_LEAST_MATCH, usual - _LESS_MATCH)
    normal = possible & alike[1:] & alike[:-1] & _in_rhythm(length_ms, possible, restless)
    joined = np.arange(len(length_ms)) > 0
    return Intervals(times_s[1:], length_ms, joined, possible, normal)


def given(length_ms: Samples) -> Intervals:
    """Intervals as a client gives them, one after the other; (n,) in ms."""
    possible = _plausible(length_ms)
    normal = possible & _in_rhythm(length_ms, possible, None)
    joined = np.arange(len(length_ms)) > 0
    return Intervals(np.cumsum(length_ms) / 1000, length_ms, joined, possible, normal)


def _plausible(length_ms: Samples) -> Mask:
    return (length_ms >= _SHORTEST_MS) & (length_ms <= _LONGEST_MS)


def _in_rhythm(length_ms: Samples, possible: Mask, restless: Mask | None) -> Mask:
    """Whether each interval (n,) is between beats that are not early, and none is missing in it.

    Without a signal to look at, one is taken to be missing in an interval 20 % longer than usual,
    more where the rhythm is irregular, at most 50 %.
    """
    early, late = np.zeros((2, len(length_ms)), bool)
    if possible.any():
        chosen = length_ms[possible]
        usual = moving_median(chosen, _MEDIAN_BEATS)
        off = chosen / usual - 1
        spread = _SPREADS * moving_median(np.abs(off), _SPREAD_BEATS)
        early[possible] = _early(chosen, usual, np.clip(spread, *_EARLY) * usual)
        late[possible] = off > (np.clip(spread, *_LATE) if restless is None else _LATE[0])
    if restless is not None:
        late &= restless
    after_early = np.concatenate(([False], early))[:-1]
    in_rhythm: Mask = ~(early | after_early | late)
    return in_rhythm


def _early(length_ms: Samples, usual_ms: Samples, limit_ms: Samples) -> Mask:
    """Whether the beat that ends each interval (n,) came early, as ectopic beats do.

    Its interval is shorter by the limit than the usual one (the median of the 11 around) or the
    one before, and than the next: the rhythm starts anew after it. Of a run of up to three such
    beats the last has that return. The limit is 5.2 times the median departure of the 91 intervals
    around from their medians, at least 15 % and at most 30 % (that it follows the rhythm, its
    factor, its length, and the pattern of a fall and a rise are of Lipponen and Tarvainen, J. Med.
    Eng. Technol. 43 (2019) 173).
    """
    before = np.concatenate((usual_ms[:1], length_ms[:-1]))
    padded = np.append(length_ms, np.full(3, length_ms[-1]))
    following, second, third = (padded[n : n + len(length_ms)] for n in (1, 2, 3))
    longer_ms = length_ms + limit_ms
    one = (np.maximum(before, usual_ms) > longer_ms) & (following > longer_ms)
    run = (usual_ms > longer_ms) & (np.maximum(second, third) > longer_ms)
    early: Mask = one | run
    return early
