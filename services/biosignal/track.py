"""One live signal: its latest samples, and its clock."""

from __future__ import annotations

from math import ceil

import numpy as np

from services.biosignal import validation
from services.biosignal.filters import Indices, Samples
from services.biosignal.signals import Signal

_MOST_BEATS_PER_S = 5.0
_NEAR_S = 1e-6


class Track:
    """The last `hold_s` of a signal on the clock of its stream, what is missing among them marked.

    Sample n stands n / rate_hz after the start of the stream; intervals between beats stand one
    after the other. Memory is fixed when it is made.
    """

    def __init__(self, name: str, configured: Signal, hold_s: float) -> None:
        self.name = name
        self.configured = configured
        self.present = True
        self._rate_hz = _MOST_BEATS_PER_S if name == "rr" else configured.rate_hz
        self._values = np.empty(ceil(hold_s * self._rate_hz) + 1)
        self._ends_s = np.empty(len(self._values) if name == "rr" else 0)
        self._count = 0
        self._beats_end_s = 0.0

    @property
    def clock_s(self) -> float:
        """The end of the last sample."""
        return self._beats_end_s if self.name == "rr" else self._count / self._rate_hz

    def append(self, values: Samples) -> None:
        """Adds the next samples (n,), in the unit configured."""
        if self.name == "rr":
            self._put(values, self._beats_end_s + np.cumsum(values) * self.duration_s(np.ones(1)))
        else:
            self._put(values)

    def miss(self, until_s: float) -> None:
        """Marks what comes before that time as missing, one sample at least."""
        if self.name == "rr":
            self._put(np.full(1, np.nan), np.full(1, max(until_s, self._beats_end_s)))
            return
        count = max(1, round((until_s - self.clock_s) * self._rate_hz))
        held = min(count, len(self._values))
        self._count += count - held
        self._put(np.full(held, np.nan))

    def duration_s(self, values: Samples) -> float:
        """How long so many samples last."""
        given = Signal(values, self.configured.rate_hz, self.configured.unit)
        return validation.duration_s(self.name, given)

    def unbroken_s(self, end_s: float, longest_s: float) -> float:
        """Since when nothing is missing before end_s, looking back over longest_s."""
        last = self._index(end_s)
        if self.name == "rr" and self.clock_s > end_s + _NEAR_S:
            last += 1
        first = max(self._index(end_s - longest_s), self._count - len(self._values) + 1, 0)
        gaps = np.flatnonzero(np.isnan(self._values[_places(first, last, len(self._values))]))
        start = first + int(gaps[-1]) + 1 if len(gaps) else first
        if self.name != "rr":
            return start / self._rate_hz
        return float(self._ends_s[(start - 1) % len(self._ends_s)]) if start else 0.0

    def covers(self, start_s: float, end_s: float) -> bool:
        """Whether nothing is missing from start_s to end_s."""
        if self.clock_s < end_s - _NEAR_S:
            return False
        slack_s = _NEAR_S if self.name == "rr" else 1 / self._rate_hz
        return self.unbroken_s(end_s, end_s - start_s) <= start_s + slack_s

    def read(self, start_s: float, end_s: float) -> Signal:
        """The samples from start_s to end_s, which it must cover; of rr those that end there."""
        places = _places(self._index(start_s), self._index(end_s), len(self._values))
        given = self.configured
        return Signal(self._values[places], given.rate_hz, given.unit, given.adc_gain)

    def _put(self, values: Samples, ends_s: Samples | None = None) -> None:
        places = _places(self._count, self._count + len(values), len(self._values))
        self._values[places] = values
        self._count += len(values)
        if ends_s is not None:
            self._ends_s[places] = ends_s
            self._beats_end_s = float(ends_s[-1])

    def _index(self, at_s: float) -> int:
        """How many samples came before that time."""
        if self.name != "rr":
            return round(at_s * self._rate_hz)
        first = max(0, self._count - len(self._values))
        ends = self._ends_s[_places(first, self._count, len(self._ends_s))]
        return first + int(np.searchsorted(ends, at_s + _NEAR_S, side="right"))


def _places(first: int, last: int, length: int) -> Indices:
    """Where the samples of those numbers are held; of two in one place the later one stays."""
    return np.arange(first, last) % length
