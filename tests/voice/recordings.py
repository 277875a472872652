"""Recordings for the tests: the human speech of samples/voice, and what is made of it."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

Floats = NDArray[np.float32]

RATE_HZ = 16_000
SAMPLES = Path(__file__).parents[2] / "samples" / "voice"


def bytes_of(number: str) -> bytes:
    """A sample file as it stands."""
    return (SAMPLES / f"austen-{number}.flac").read_bytes()


def speech(number: str = "0880") -> Floats:
    """A sample, decoded: 16 kHz, one channel."""
    samples, _ = soundfile.read(SAMPLES / f"austen-{number}.flac", dtype="float32")
    return np.asarray(samples, np.float32)


def noise(seconds: float, level: float = 0.05) -> Floats:
    rng = np.random.default_rng(7)
    return (level * rng.standard_normal(round(seconds * RATE_HZ))).astype(np.float32)


def silence(seconds: float) -> Floats:
    return np.zeros(round(seconds * RATE_HZ), np.float32)


def encoded(
    samples: Floats, kind: str = "WAV", subtype: str | None = None, rate_hz: int = RATE_HZ
) -> bytes:
    """[frames] or [frames, channels] as a file that libsndfile writes."""
    target = io.BytesIO()
    if rate_hz != RATE_HZ:
        samples = soxr.resample(samples, RATE_HZ, rate_hz)
    soundfile.write(target, samples, rate_hz, format=kind, subtype=subtype)
    return target.getvalue()


def contained(samples: Floats, kind: str, codec: str, rate_hz: int) -> bytes:
    """One channel as a file that FFmpeg writes."""
    target = io.BytesIO()
    with av.open(target, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate_hz)
        assert isinstance(stream, av.AudioStream)
        stream.layout = "mono"
        resampled = soxr.resample(samples, RATE_HZ, rate_hz).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(resampled[None], format="fltp", layout="mono")
        frame.sample_rate = rate_hz
        frame.time_base = Fraction(1, rate_hz)
        frame.pts = 0
        converter = av.AudioResampler(
            format=stream.codec_context.format,
            layout="mono",
            rate=rate_hz,
            frame_size=stream.codec_context.frame_size or 1024,
        )
        for part in [*converter.resample(frame), *converter.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return target.getvalue()
