"""Makes images and videos, sound and broken, from the one photograph."""

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from PIL import Image, ImageDraw

from services.face.image import Pixels

PHOTOGRAPH = Path(__file__).parents[2] / "samples" / "face" / "astronaut.jpg"
FACE = (172, 68, 106, 106)
"""Where the face of the photograph is: x, y, width, height."""
BACKGROUND = (90, 100, 110)


def encoded(pixels: Pixels | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def head(portrait: Pixels, face_side: int) -> Pixels:
    """Head and shoulders with a face of the given size."""
    x, y, side, _ = FACE
    part = portrait[max(y - side // 2, 0) : y + 2 * side, x - side // 2 : x + 3 * side // 2]
    size = (round(part.shape[1] * face_side / side), round(part.shape[0] * face_side / side))
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)


def scene(
    portrait: Pixels, faces: Iterable[tuple[int, int, int]], size: tuple[int, int] = (1280, 720)
) -> tuple[Pixels, list[tuple[float, float]]]:
    """A picture with heads at (left, top, side of the face), and the centres of their faces."""
    picture = np.full((size[1], size[0], 3), BACKGROUND, np.uint8)
    centres = []
    for left, top, side in faces:
        part = head(portrait, side)
        picture[top : top + part.shape[0], left : left + part.shape[1]] = part
        centres.append((left + side * 1.0, top + side * 1.0))
    return picture, centres


def drawing() -> bytes:
    """A face as a child draws it."""
    picture = Image.new("RGB", (400, 400), "white")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((60, 60, 340, 340), outline="black", width=6)
    pen.ellipse((140, 150, 160, 170), fill="black")
    pen.ellipse((240, 150, 260, 170), fill="black")
    pen.arc((130, 180, 270, 280), 20, 160, fill="black", width=6)
    return encoded(picture)


def bomb(width: int = 20_000, height: int = 20_000) -> bytes:
    """A small PNG that would unpack to ``width x height`` pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = bytes(1 + width // 8)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def pan(portrait: Pixels, step: int = 4) -> Callable[[int], Pixels]:
    """Frames in which the photograph moves to the right over a 720 x 512 picture."""

    def frame(index: int) -> Pixels:
        picture = np.full((512, 720, 3), BACKGROUND, np.uint8)
        left = min(index * step, 720 - 512)
        picture[:, left : left + 512] = portrait
        return picture

    return frame


def movie(
    frames: Sequence[Pixels],
    codec: str = "libx264",
    container: str = "mp4",
    times_ms: Sequence[int] | None = None,
) -> bytes:
    """The frames at 25 a second, or at the given times."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = cast(VideoStream, output.add_stream(codec, rate=25))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[index], Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return buffer.getvalue()


def turned(video: bytes) -> bytes:
    """The MP4 with a display matrix that asks for a quarter turn clockwise."""
    plain = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    quarter = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    place = video.index(plain, video.index(b"tkhd"))
    return video[:place] + quarter + video[place + len(plain) :]


def sound() -> bytes:
    """An MP4 of one second of silence, without pictures."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=16000, layout="mono")
        for start in range(0, 16000, 1024):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = 16000, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return buffer.getvalue()
