"""Jitter and shimmer of synthetic voices whose periods and amplitudes are known."""

import numpy as np
import pytest
import soxr

from services.voice.activity import Span
from services.voice.cycles import Cycles, cycles
from services.voice.prosody import HOP, Prosody, measure, pitch_track
from tests.voice.recordings import RATE_HZ, Floats, noise, silence

_FINE = 10 * RATE_HZ


def voice(
    pitch_hz: float, jitter: float, shimmer: float, seconds: float = 3.0
) -> tuple[Floats, float, float]:
    """Pulses through four formants, with the local jitter and shimmer that they really have.

    Made at ten times the rate, so that periods are no multiples of a sample.
    """
    rng = np.random.default_rng(3)
    count = round(seconds * pitch_hz)
    periods = (1 + jitter * rng.standard_normal(count)) / pitch_hz
    heights = 1 + shimmer * rng.standard_normal(count)
    places = np.round(np.cumsum(periods) * _FINE).astype(int)
    pulses = np.zeros(places[-1] + _FINE // 10)
    np.add.at(pulses, places, heights)
    times = np.arange(_FINE // 50) / _FINE
    formants = ((600, 200, 1.0), (1200, 200, 0.6), (2500, 250, 0.3), (3500, 300, 0.15))
    tract = np.zeros(times.size)
    for place, width, height in formants:
        tract += height * np.exp(-np.pi * width * times) * np.sin(2 * np.pi * place * times)
    size = pulses.size + tract.size
    made = np.fft.irfft(np.fft.rfft(pulses, size) * np.fft.rfft(tract, size), size)
    samples = soxr.resample(made, _FINE, RATE_HZ)
    samples = (0.5 * samples / np.abs(samples).max()).astype(np.float32)
    return (
        samples,
        float(np.abs(np.diff(periods)).mean() / periods.mean()),
        float(np.abs(np.diff(heights)).mean() / heights.mean()),
    )


def heard(samples: Floats) -> Cycles:
    pitch, _ = pitch_track(samples)
    return cycles(samples, pitch, HOP)


@pytest.mark.parametrize("pitch_hz", [90, 140, 220])
@pytest.mark.parametrize(("jitter", "shimmer"), [(0.004, 0.03), (0.01, 0.06), (0.02, 0.1)])
def test_finds_the_jitter_and_shimmer_of_a_voice(
    pitch_hz: float, jitter: float, shimmer: float
) -> None:
    samples, true_jitter, true_shimmer = voice(pitch_hz, jitter, shimmer)
    found = heard(samples)
    assert found.pairs > 2.5 * pitch_hz
    assert found.jitter == pytest.approx(true_jitter, rel=0.2)
    assert found.shimmer == pytest.approx(true_shimmer, rel=0.25)


@pytest.mark.parametrize("pitch_hz", [90, 140, 220])
def test_a_steady_voice_has_next_to_none(pitch_hz: float) -> None:
    found = heard(voice(pitch_hz, 0, 0)[0])
    assert found.jitter < 0.001
    assert found.shimmer < 0.005


def test_a_glide_is_no_jitter() -> None:
    pitch_hz = np.linspace(120, 240, 3 * RATE_HZ)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    buzz = sum(np.sin(n * phase) / n for n in range(1, 16))
    found = heard((0.3 * np.asarray(buzz)).astype(np.float32))
    assert found.jitter < 0.004


def of(samples: Floats, above_noise_db: float = float("inf")) -> Prosody:
    return measure(samples, [Span(0, samples.size)], words=3, above_noise_db=above_noise_db)


def test_prosody_tells_both() -> None:
    samples, jitter, shimmer = voice(140, 0.01, 0.05)
    found = of(samples)
    assert found.jitter == pytest.approx(jitter, rel=0.2)
    assert found.shimmer == pytest.approx(shimmer, rel=0.25)
    assert found.unsteady is None


def test_too_short_speech_has_neither_and_says_why() -> None:
    found = of(voice(140, 0.01, 0.05, seconds=0.3)[0])
    assert (found.jitter, found.shimmer) == (None, None)
    assert found.unsteady is not None
    assert "50 are needed" in found.unsteady


def test_speech_in_noise_has_neither_and_says_why() -> None:
    samples, *_ = voice(140, 0.01, 0.05)
    found = of(samples, above_noise_db=6.0)
    assert (found.jitter, found.shimmer) == (None, None)
    assert "background" in (found.unsteady or "")
    buried = of(samples + noise(samples.size / RATE_HZ, level=0.08)[: samples.size])
    assert (buried.jitter, buried.shimmer) == (None, None)
    assert "Harmonics" in (buried.unsteady or "")


def test_silence_and_noise_have_no_cycles() -> None:
    assert heard(silence(1)).pairs == 0
    assert heard(noise(2)).pairs < 10
