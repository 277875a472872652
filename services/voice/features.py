"""Log-mel spectrum and what the emotion heads read from it."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


class Sound(Protocol):
    """16 kHz samples, full scale 1, of which stretches are taken; an array is one."""

    @property
    def size(self) -> int: ...

    def __getitem__(self, stretch: slice, /) -> Samples: ...


SAMPLE_RATE_HZ = 16_000
WINDOW = 400
HOP = 160
BANDS = 80
#: So few that BLAS multiplies them on one thread: more threads cost more than they help here.
_ROWS = 20


@lru_cache(maxsize=1)
def _mel_filters() -> NDArray[np.float32]:
    """Slaney mel filters, [201, 80], equal area (Auditory Toolbox, Slaney 1998)."""
    step_hz, knee_hz, log_step = 200.0 / 3, 1000.0, np.log(6.4) / 27.0
    knee = knee_hz / step_hz
    top = knee + np.log(SAMPLE_RATE_HZ / 2 / knee_hz) / log_step
    mels = np.linspace(0.0, top, BANDS + 2)
    edges = np.where(mels < knee, mels * step_hz, knee_hz * np.exp(log_step * (mels - knee)))
    bins = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE_HZ)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    filters *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return np.ascontiguousarray(filters.T.astype(np.float32))


@lru_cache(maxsize=1)
def _hann() -> NDArray[np.float32]:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


def log_mel(samples: Samples) -> NDArray[np.float32]:
    """Return the log10 mel power of 16 kHz samples in [-1, 1]: [frames, 80].

    Windows of 25 ms every 10 ms, reflected at both ends; power below 1e-10 is floored. The
    same front end as Whisper (Radford et al. 2022), before its scaling.
    """
    padded = np.pad(samples, WINDOW // 2, mode="reflect" if samples.size > WINDOW else "constant")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:-1]
    spectrum = np.fft.rfft(frames * _hann(), axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    filters = _mel_filters()
    parts = [power[place : place + _ROWS] @ filters for place in range(0, len(power), _ROWS)]
    bands: Samples = np.log10(np.maximum(np.concatenate([power[:0] @ filters, *parts]), 1e-10))
    return bands
