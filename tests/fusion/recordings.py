"""Recordings made of the sample photograph and the sample voices.

`python -m tests.fusion.recordings FILE SECONDS` writes one of 512 x 512 pixels.
"""

import io
import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import soundfile
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

SAMPLES = Path(__file__).parents[2] / "samples"
SOUND_HZ = 16_000

Pixels = NDArray[np.uint8]
Sound = NDArray[np.int16]
Scene = Callable[[float], Pixels]
"""The picture at a time in seconds, `[height, width, 3]` in RGB."""


def photograph() -> Pixels:
    """The sample photograph, 512 x 512."""
    with av.open(str(SAMPLES / "face" / "astronaut.jpg")) as file:
        return next(file.decode(video=0)).to_ndarray(format="rgb24").astype(np.uint8)


def portrait(size: int = 512) -> Scene:
    """The photograph, slowly panned and zoomed."""
    picture = photograph()

    def at(time_s: float) -> Pixels:
        side = round(420 + 40 * np.sin(0.7 * time_s))
        x = round((512 - side) * (0.5 + 0.4 * np.sin(0.5 * time_s)))
        return _scaled(picture[0:side, x : x + side], size, size)

    return at


def pair() -> Scene:
    """The portrait beside a smaller one of the same photograph that does not move."""
    large, picture = portrait(360), photograph()

    def at(time_s: float) -> Pixels:
        frame = np.full((360, 640, 3), 60, np.uint8)
        frame[:, :360] = large(time_s)
        frame[140:340, 400:600] = _scaled(picture[:420, 40:460], 200, 200)
        return frame

    return at


def empty(time_s: float) -> Pixels:
    """A wall that grows brighter."""
    return np.full((240, 320, 3), 80 + int(time_s) % 40, np.uint8)


def speech(*names: str, gap_s: float = 1.0) -> Sound:
    """Sample voices one after another, each followed by a silence."""
    parts: list[Sound] = []
    for name in names:
        samples, rate = soundfile.read(SAMPLES / "voice" / f"austen-{name}.flac", dtype="int16")
        assert rate == SOUND_HZ
        parts += [samples, np.zeros(round(gap_s * SOUND_HZ), np.int16)]
    return np.concatenate(parts)


def film(
    seconds: float,
    scene: Scene,
    sound: Sound | None = None,
    *,
    frame_rate: int = 25,
    kind: str = "mp4",
    sound_from_s: int = 0,
    options: dict[str, str] | None = None,
) -> bytes:
    """A video of that length; the sound is cut or ends before it, and may begin later."""
    codecs = {
        "mp4": ("mpeg4", "aac"),
        "mov": ("mpeg4", "aac"),
        "avi": ("mpeg4", "mp3"),
        "webm": ("libvpx", "libopus"),
    }
    pictures_codec, sound_codec = codecs[kind]
    height, width, _ = scene(0).shape
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"film.{kind}"
        with av.open(str(file), "w", format=kind, options=options or {}) as container:
            quick = {"deadline": "realtime", "cpu-used": "8"} if kind == "webm" else {}
            stream = container.add_stream(pictures_codec, rate=frame_rate, options=quick)
            video = cast(VideoStream, stream)
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            video.bit_rate = 1_500_000
            track = None if sound is None else _Track(container, sound_codec, sound)
            for index in range(round(seconds * frame_rate)):
                frame = av.VideoFrame.from_ndarray(scene(index / frame_rate), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, frame_rate)
                container.mux(video.encode(frame))
                if track and index % frame_rate == 0 and index >= sound_from_s * frame_rate:
                    track.write(index // frame_rate)
            container.mux(video.encode(None))
            if track:
                track.finish()
        return file.read_bytes()


def slides(scene: Scene, *times_s: float) -> bytes:
    """A video with a picture at each of these times, and no sound."""
    file = io.BytesIO()
    height, width, _ = scene(0).shape
    with av.open(file, "w", format="matroska") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        for time_s in times_s:
            frame = av.VideoFrame.from_ndarray(scene(time_s), format="rgb24")
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return file.getvalue()


class _Track:
    """Sound that is written a second at a time, between the pictures of that second."""

    def __init__(self, container: OutputContainer, codec: str, sound: Sound) -> None:
        self._container = container
        self._stream = cast(AudioStream, container.add_stream(codec, rate=48_000))
        self._stream.layout = "mono"
        form = self._stream.format.name
        self._resampler = av.AudioResampler(format=form, layout="mono", rate=48_000)
        self._sound = sound

    def write(self, second: int) -> None:
        part = self._sound[second * SOUND_HZ : (second + 1) * SOUND_HZ]
        if part.size:
            frame = av.AudioFrame.from_ndarray(part[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = SOUND_HZ, second * SOUND_HZ
            frame.time_base = Fraction(1, SOUND_HZ)
            self._encode(frame)

    def finish(self) -> None:
        self._encode(None)
        self._container.mux(self._stream.encode(None))

    def _encode(self, frame: av.AudioFrame | None) -> None:
        for even in self._resampler.resample(frame):
            self._container.mux(self._stream.encode(even))


def _scaled(pixels: Pixels, width: int, height: int) -> Pixels:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    scaled = frame.reformat(width=width, height=height)
    return scaled.to_ndarray(format="rgb24").astype(np.uint8)


if __name__ == "__main__":
    length_s = int(sys.argv[2])
    reading = speech("0870", "0880", "0890", "0920", "0930", gap_s=0.6)
    spoken = np.tile(reading, -(-length_s * SOUND_HZ // reading.size))
    Path(sys.argv[1]).write_bytes(film(length_s, portrait(), spoken))
