"""Pulse, skin, breath and warmth."""

import numpy as np
import pytest

from services.biosignal import eda, ppg, respiration, temperature
from tests.biosignal import synthetic


@pytest.mark.parametrize("rate_hz", [25.0, 64.0, 100.0, 500.0])
def test_finds_every_pulse_and_no_notch(rate_hz: float) -> None:
    times = synthetic.beat_times(60)
    found = ppg.detect(synthetic.ppg(times, 60, rate_hz), rate_hz)
    assert len(found.times_s) == len(times)
    off = found.times_s - times
    assert np.std(off[1:-1]) < 0.012


def test_finds_the_pulses_of_a_real_recording() -> None:
    signal = synthetic.sample("pulse")["ppg"]
    found = ppg.detect(signal.data, signal.rate_hz)
    assert len(found.times_s) == 69


@pytest.mark.parametrize("rate_hz", [4.0, 8.0, 32.0, 1000.0])
def test_counts_skin_conductance_responses(rate_hz: float) -> None:
    starts = np.array([8.0, 20.0, 31.0, 50.0, 70.0])
    found = eda.decompose(synthetic.conductance(starts, 90, rate_hz), rate_hz)
    assert len(found.response_s) == len(starts)
    assert np.all(np.abs(found.response_s - starts - 1.8) < 1.2)
    assert found.amplitude_us.mean() == pytest.approx(0.3, abs=0.1)
    assert found.tonic_us.mean() == pytest.approx(3.1, abs=0.15)
    assert found.good.all()


def test_a_quiet_skin_has_no_responses() -> None:
    found = eda.decompose(synthetic.conductance(np.zeros(0), 90, 4), 4)
    assert len(found.response_s) == 0


def test_a_spike_is_no_response() -> None:
    level = synthetic.conductance(np.zeros(0), 90, 4)
    level[100] += 2
    assert len(eda.decompose(level, 4).response_s) == 0


def test_a_sensor_without_contact_is_not_good() -> None:
    level = synthetic.conductance(np.zeros(0), 90, 4)
    level[120:240] = 0.01
    assert eda.decompose(level, 4).good[122:238].sum() == 0


@pytest.mark.parametrize("rate_hz", [4.0, 10.0, 250.0])
@pytest.mark.parametrize("breaths_per_min", [6.0, 15.0, 30.0])
def test_measures_the_rate_of_breath(rate_hz: float, breaths_per_min: float) -> None:
    at = np.arange(int(90 * rate_hz)) / rate_hz
    noise = np.random.default_rng(3).normal(0, 0.1, len(at))
    movement = np.sin(2 * np.pi * breaths_per_min / 60 * at) + 0.02 * at + noise
    breaths = respiration.detect(movement, rate_hz)
    _, rates = respiration.rates(breaths.times_s)
    assert rates.mean() == pytest.approx(breaths_per_min, rel=0.06)
    assert breaths.share.mean() > 0.6


def test_finds_the_breaths_of_a_real_recording() -> None:
    signal = synthetic.sample("pulse")["respiration"]
    breaths = respiration.detect(signal.data, signal.rate_hz)
    assert len(breaths.times_s) == 14


def test_measures_the_trend_of_temperature() -> None:
    assert temperature.trend(np.linspace(32, 33, 481), 4) == pytest.approx(0.5)
