"""Small real files of every kind that is kept."""

import io
import struct
import wave

import av
import numpy as np


def wav(seconds: float = 1.0, rate_hz: int = 8000) -> bytes:
    """A quiet tone in a WAV file."""
    samples = (1000 * np.sin(np.arange(round(seconds * rate_hz)) / 5)).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def film(
    container: str = "mp4", seconds: float = 1.0, codec: str = "mpeg4", rate_hz: int = 10
) -> bytes:
    """A grey film without sound, as FFmpeg writes it."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate_hz)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(round(seconds * rate_hz)):
            pixels = np.full((64, 64, 3), 40 + number % 100, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def sound(container: str, codec: str, seconds: float = 1.0, rate_hz: int = 16_000) -> bytes:
    """A tone, as FFmpeg writes it."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate_hz)
        assert isinstance(stream, av.AudioStream)
        stream.layout = "mono"
        size = stream.codec_context.frame_size or 1024
        tone = 0.1 * np.sin(np.arange(round(seconds * rate_hz)) / 5).astype("f4")
        resampler = av.AudioResampler(
            format=stream.codec_context.format, layout="mono", rate=rate_hz, frame_size=size
        )
        frame = av.AudioFrame.from_ndarray(tone[None], format="flt", layout="mono")
        frame.sample_rate = rate_hz
        for even in (*resampler.resample(frame), *resampler.resample(None)):
            out.mux(stream.encode(even))
        out.mux(stream.encode())
    return file.getvalue()


def picture(form: str = "PNG") -> bytes:
    """A grey picture."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (32, 32), (120, 120, 120)).save(file, form)
    return file.getvalue()


def padded(film_bytes: bytes, size: int) -> bytes:
    """The same MP4 with a free atom behind it, so that it has `size` bytes."""
    rest = size - len(film_bytes)
    return film_bytes + struct.pack(">I4s", rest, b"free") + bytes(rest - 8)
