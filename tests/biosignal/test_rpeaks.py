import numpy as np
import pytest

from services.biosignal import rpeaks
from tests.biosignal import synthetic


@pytest.mark.parametrize("rate_hz", [64.0, 128.0, 250.0, 256.0, 360.0, 500.0, 1000.0, 2000.0])
def test_finds_every_beat_where_it_is_at_any_sample_rate(rate_hz: float) -> None:
    times = synthetic.beat_times(60)
    found = rpeaks.detect(synthetic.ecg(times, 60, rate_hz), rate_hz).times_s
    assert len(found) == len(times)
    off = found - times
    assert np.abs(off).max() < 0.025
    assert np.std(off) < (0.002 if rate_hz > 100 else 0.003)


@pytest.mark.parametrize("bpm", [35.0, 50.0, 90.0, 150.0, 190.0])
def test_finds_slow_and_fast_hearts(bpm: float) -> None:
    times = synthetic.beat_times(60, bpm, breath_s=0.0)
    found = rpeaks.detect(synthetic.ecg(times, 60, 250), 250).times_s
    assert len(found) == len(times)


def test_does_not_mind_scale_or_polarity() -> None:
    times = synthetic.beat_times(60)
    wave = synthetic.ecg(times, 60, 256)
    for changed in (wave * 1e-3, -wave, wave + 100):
        assert len(rpeaks.detect(changed, 256).times_s) == len(times)


def test_finds_beats_in_noise() -> None:
    times = synthetic.beat_times(120)
    found = rpeaks.detect(synthetic.ecg(times, 120, 256, noise_mv=0.15), 256).times_s
    assert len(found) == len(times)
    assert np.abs(found - times).max() < 0.05


def test_a_missing_beat_is_not_invented() -> None:
    times = np.delete(synthetic.beat_times(60), 30)
    found = rpeaks.detect(synthetic.ecg(times, 60, 256), 256).times_s
    assert len(found) == len(times)


def test_a_pause_is_still_unless_something_moves_in_it() -> None:
    times = synthetic.beat_times(60)
    missing, paused = times[30], np.delete(times, 30)
    wave = synthetic.ecg(paused, 60, 256)
    still = rpeaks.detect(wave, 256).restless
    assert still is not None
    assert not still.any()
    at = np.arange(len(wave)) / 256
    broad = wave + 0.8 * np.exp(-0.5 * ((at - missing) / 0.1) ** 2)
    found = rpeaks.detect(broad, 256)
    assert len(found.times_s) == len(paused)
    assert found.restless is not None
    assert np.flatnonzero(found.restless).tolist() == [29]


def test_a_beat_of_a_quarter_of_the_height_is_found() -> None:
    times = synthetic.beat_times(60)
    strong, weak = np.delete(times, 30), times[30:31]
    wave = synthetic.ecg(strong, 60, 256) + 0.25 * synthetic.ecg(weak, 60, 256, noise_mv=0)
    found = rpeaks.detect(wave, 256).times_s
    assert len(found) == len(times)


def test_a_real_recording_gives_the_same_beats_at_half_its_rate() -> None:
    ecg = synthetic.sample("rest")["ecg"]
    whole = rpeaks.detect(ecg.data, ecg.rate_hz)
    half = rpeaks.detect(ecg.data[::2], ecg.rate_hz / 2)
    assert len(whole.times_s) == len(half.times_s) == 59
    assert np.abs(whole.times_s - half.times_s).max() < 0.004
    assert whole.match.min() > 0.9
