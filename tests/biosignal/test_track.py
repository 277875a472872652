"""The ring of one live signal: what it holds, what it misses, and when."""

import numpy as np
import pytest

from services.biosignal.signals import Signal
from services.biosignal.track import Track


def track(rate_hz: float = 10.0, hold_s: float = 20.0) -> Track:
    return Track("ecg", Signal(np.zeros(0), rate_hz, "mV"), hold_s)


def beats(hold_s: float = 20.0) -> Track:
    return Track("rr", Signal(np.zeros(0), 0.0, "ms"), hold_s)


def test_holds_the_latest_samples_at_their_times() -> None:
    one = track()
    for first in range(0, 1000, 7):
        one.append(np.arange(first, min(first + 7, 1000), dtype=float))
    assert one.clock_s == 100
    assert one.covers(82, 100)
    assert one.read(82, 100).data.tolist() == list(range(820, 1000))
    assert not one.covers(70, 100)
    assert not one.covers(90, 101)


def test_a_gap_is_covered_by_no_window() -> None:
    one = track()
    one.append(np.ones(50))
    one.miss(8.0)
    one.append(np.ones(50))
    assert one.clock_s == 13
    assert one.covers(0, 5)
    assert one.covers(8, 13)
    assert not one.covers(3, 7)
    assert not one.covers(6, 13)
    assert one.unbroken_s(13, 13) == 8


def test_a_gap_longer_than_what_is_held_costs_no_memory() -> None:
    one = track()
    one.miss(1e9)
    one.append(np.ones(100))
    assert one.clock_s == pytest.approx(1e9 + 10)
    assert one.unbroken_s(1e9 + 10, 20) == pytest.approx(1e9)


def test_intervals_stand_one_after_the_other() -> None:
    one = beats()
    one.append(np.array([800.0, 900.0, 1000.0]))
    one.append(np.array([700.0]))
    assert one.clock_s == pytest.approx(3.4)
    assert one.covers(0, 3)
    assert one.read(1, 3).data.tolist() == [900, 1000]


def test_a_gap_in_which_a_window_ends_is_in_it() -> None:
    one = beats()
    one.append(np.full(10, 1000.0))
    one.miss(14.0)
    one.append(np.full(5, 1000.0))
    assert one.covers(0, 10 - 0.5)
    assert not one.covers(0, 12)
    assert not one.covers(5, 19)
    assert one.covers(14, 19)


def test_intervals_too_short_for_a_heart_push_out_the_old_ones() -> None:
    one = beats()
    one.append(np.full(15, 1000.0))
    one.append(np.full(5000, 1.0))
    assert one.clock_s == pytest.approx(20)
    assert not one.covers(5, 20)
    assert one.covers(19.95, 20)
