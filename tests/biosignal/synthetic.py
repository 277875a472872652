"""Signals whose truth is known, and the recordings in samples/."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.biosignal.signals import Recording, Signal

SAMPLES = Path(__file__).parents[2] / "samples" / "biosignal"
Samples = NDArray[np.float64]

#: Offset in s, width in s and height in mV of the waves of a beat.
_WAVES = (
    (-0.18, 0.025, 0.12),
    (-0.03, 0.010, -0.1),
    (0.0, 0.011, 1.0),
    (0.03, 0.010, -0.2),
    (0.28, 0.05, 0.25),
)


def sample(name: str) -> Recording:
    """A recording of samples/biosignal."""
    body = json.loads((SAMPLES / f"{name}.json").read_text())
    return {
        signal: Signal(np.array(given["data"], float), given["sample_rate"], given["unit"])
        for signal, given in body["signals"].items()
    }


def beat_times(seconds: float, bpm: float = 66.0, breath_s: float = 0.03) -> Samples:
    """Beats whose intervals swing with a breath of 4 s by so many seconds."""
    times = [0.4]
    while times[-1] < seconds - 1:
        times.append(times[-1] + 60 / bpm + breath_s * np.sin(2 * np.pi * times[-1] / 4))
    return np.array([time for time in times if time < seconds - 0.8])


def ecg(times: Samples, seconds: float, rate_hz: float, noise_mv: float = 0.01) -> Samples:
    """An electrocardiogram in mV with R peaks at those times, noise and a wandering baseline."""
    at = np.arange(int(seconds * rate_hz)) / rate_hz
    wave = 0.2 * np.sin(2 * np.pi * 0.2 * at)
    wave += np.random.default_rng(1).normal(0, noise_mv, len(at))
    for time in times:
        near = slice(max(0, int((time - 0.5) * rate_hz)), int((time + 0.7) * rate_hz))
        for offset, width, height in _WAVES:
            wave[near] += height * np.exp(-0.5 * ((at[near] - time - offset) / width) ** 2)
    return wave


def ppg(times: Samples, seconds: float, rate_hz: float) -> Samples:
    """A pulse wave with a dicrotic notch after each time."""
    at = np.arange(int(seconds * rate_hz)) / rate_hz
    wave = 0.3 * np.sin(2 * np.pi * 0.1 * at)
    for time in times:
        wave += np.exp(-0.5 * ((at - time - 0.25) / 0.09) ** 2)
        wave += 0.35 * np.exp(-0.5 * ((at - time - 0.55) / 0.09) ** 2)
    return wave


def conductance(
    starts: Samples, seconds: float, rate_hz: float, amplitude_us: float = 0.3
) -> Samples:
    """Skin conductance in µS of 3 with a slow drift and a response after each start."""
    at = np.arange(int(seconds * rate_hz)) / rate_hz
    level = 3 + 0.2 * np.sin(2 * np.pi * at / 200)
    for start in starts:
        since = np.maximum(at - start, 0)
        level += amplitude_us * 1.9 * np.exp(-since / 4) * (1 - np.exp(-since / 1.2))
    return level + np.random.default_rng(2).normal(0, 0.001, len(at))
