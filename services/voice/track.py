"""The samples of one channel of a recording, however many they are."""

from __future__ import annotations

import os
import tempfile
from typing import IO

import numpy as np
import soxr

from services.voice.features import SAMPLE_RATE_HZ, Samples

IN_MEMORY = 2 * 60 * SAMPLE_RATE_HZ
"""Most samples that are kept in memory; more go to an unnamed temporary file, 4 bytes each."""

_WIDTH = np.dtype(np.float32).itemsize


class Track:
    """16 kHz samples, full scale 1, sliced as an array is; what is sliced is read anew each time.

    `source_hz` is the rate of what is written.
    """

    def __init__(self, source_hz: int) -> None:
        self.size = 0
        self._resampler = (
            soxr.ResampleStream(source_hz, SAMPLE_RATE_HZ, 1, dtype="float32")
            if source_hz != SAMPLE_RATE_HZ
            else None
        )
        self._pieces: list[Samples] = []
        self._waiting = 0
        self._file: IO[bytes] | None = None

    def write(self, samples: Samples, *, last: bool = False) -> None:
        """Add samples of the source; `last` adds what the resampler holds back."""
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(np.ascontiguousarray(samples), last=last)
        self._pieces.append(np.array(samples, np.float32))
        self.size += samples.size
        self._waiting += samples.size
        if self._waiting > IN_MEMORY or (last and self._file is not None):
            self._spill()
        elif last:
            self._pieces = [np.concatenate(self._pieces)]

    @property
    def in_memory(self) -> bool:
        """Whether no file holds any of it."""
        return self._file is None

    def __getitem__(self, stretch: slice, /) -> Samples:
        """The samples of a stretch, once the last are written."""
        if self._file is None:
            return self._pieces[0][stretch]
        start, end, _ = stretch.indices(self.size)
        data = os.pread(self._file.fileno(), max(0, end - start) * _WIDTH, start * _WIDTH)
        return np.frombuffer(data, np.float32)

    def close(self) -> None:
        """Give back what it holds."""
        self._pieces = []
        if self._file is not None:
            self._file.close()

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="affectmesh-voice-")  # noqa: SIM115
        for piece in self._pieces:
            self._file.write(piece.tobytes())
        self._file.flush()
        self._pieces, self._waiting = [], 0
