"""Pitch, level, rate and pauses against signals whose values are known."""

import numpy as np
import pytest

from services.voice.activity import Span
from services.voice.prosody import measure, pitch_track, syllable_nuclei
from tests.voice.recordings import noise, silence

RATE_HZ = 16_000


def voice(pitch_hz: np.ndarray) -> np.ndarray:
    """A buzz of 20 harmonics with the given pitch at each sample, peak 0.5."""
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    harmonics = np.arange(1, 21)
    buzz = sum(np.sin(n * phase) / n * (n * pitch_hz < 7000) for n in harmonics)
    return np.asarray(0.5 * buzz / np.max(np.abs(buzz)), np.float32)


@pytest.mark.parametrize("pitch_hz", [75, 110, 220, 440])
def test_measures_a_steady_pitch(pitch_hz: float) -> None:
    samples = voice(np.full(RATE_HZ, float(pitch_hz)))
    found = measure(samples, [Span(0, samples.size)], words=3)
    assert found.pitch_mean_hz == pytest.approx(pitch_hz, rel=0.005)
    assert found.pitch_std_hz == pytest.approx(0, abs=2)
    assert found.hnr_db is not None
    assert found.hnr_db > 20


def test_measures_the_range_of_a_glide() -> None:
    samples = voice(np.linspace(100, 300, 2 * RATE_HZ))
    found = measure(samples, [Span(0, samples.size)], words=3)
    assert found.pitch_mean_hz == pytest.approx(200, rel=0.02)
    assert found.pitch_range_hz == pytest.approx(180, rel=0.03)


def test_noise_has_no_pitch() -> None:
    pitch, _ = pitch_track(noise(2))
    assert np.count_nonzero(pitch) < 10
    found = measure(noise(2), [Span(0, 2 * RATE_HZ)], words=0)
    assert found.speech_rate_wpm is None


def test_full_scale_is_94_db() -> None:
    square = np.ones(RATE_HZ, np.float32)
    square[::2] = -1
    found = measure(square, [Span(0, square.size)], words=1)
    assert found.intensity_db == pytest.approx(93.98, abs=0.01)
    softer = measure(square * 0.1, [Span(0, square.size)], words=1)
    assert softer.intensity_db == pytest.approx(73.98, abs=0.01)


def test_rate_and_pauses_count_from_first_to_last_speech() -> None:
    samples = voice(np.full(6 * RATE_HZ, 150.0))
    speech = [Span(RATE_HZ, 2 * RATE_HZ), Span(3 * RATE_HZ, 5 * RATE_HZ)]
    found = measure(samples, speech, words=8)
    assert found.speech_rate_wpm == pytest.approx(120)
    assert found.pause_ratio == pytest.approx(0.25)


def test_counts_syllable_nuclei() -> None:
    beat = np.concatenate((voice(np.full(2400, 150.0)), silence(0.1)))
    samples = np.tile(beat, 12)
    pitch, _ = pitch_track(samples)
    assert syllable_nuclei(samples, pitch > 0) == 12
    found = measure(samples, [Span(0, samples.size)], words=None)
    assert found.speech_rate_wpm == pytest.approx(12 / 1.5 / 3 * 60)
