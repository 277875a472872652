"""Encoded videos in, sampled upright frames out, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from services.common.containers import video_format
from services.common.errors import InvalidImage, InvalidRequest, InvalidVideo
from services.face import image
from services.face.image import MAX_PIXELS, Pixels

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

MAX_ANALYSED = 5000
MAX_IMAGES = 500
DEFAULT_FRAME_RATE = 25.0
DECODER_THREADS = 2
"""Each keeps frames of its own in memory."""

T = TypeVar("T")


@dataclass(frozen=True)
class Span:
    """Which frames: every ``sample_rate``-th from ``start_ms`` up to, not including, ``end_ms``."""

    sample_rate: int = 5
    start_ms: int = 0
    end_ms: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.sample_rate <= 1000:
            raise InvalidRequest(
                f"sample_rate is {self.sample_rate}.",
                field="options.sample_rate",
                suggestion="Give sample_rate from 1 (every frame) to 1000.",
            )
        if self.start_ms < 0:
            raise InvalidRequest(
                "start_time_ms is negative.",
                field="options.start_time_ms",
                suggestion="Give start_time_ms in ms from the beginning of the video.",
            )
        if self.end_ms is not None and self.end_ms <= self.start_ms:
            raise InvalidRequest(
                f"end_time_ms {self.end_ms} is not after start_time_ms {self.start_ms}.",
                field="options.end_time_ms",
                suggestion="Give an end_time_ms after start_time_ms, or leave it out.",
            )


@dataclass(frozen=True)
class Sample:
    """One frame to analyse: its time since the beginning and its upright pixels."""

    timestamp_ms: int
    pixels: Pixels


class Footage(Protocol):
    """Frames to analyse. The counts are final once ``samples`` is exhausted."""

    frame_count: int
    duration_ms: int
    warnings: list[tuple[str, str]]

    def samples(self) -> Iterator[Sample]:
        """The sampled frames in order of time."""
        ...


class Images:
    """A list of encoded images taken as the frames of a video."""

    def __init__(self, images: Sequence[bytes], span: Span, frame_rate_hz: float) -> None:
        if not 0.1 <= frame_rate_hz <= 1000:
            raise InvalidRequest(
                f"frame_rate is {frame_rate_hz:g}.",
                field="options.frame_rate",
                suggestion="Give frame_rate in frames a second, between 0.1 and 1000.",
            )
        if len(images) > MAX_IMAGES:
            raise InvalidVideo(
                f"{len(images)} frames were sent.",
                reason=f"More than {MAX_IMAGES} frames",
                suggestion=f"Send at most {MAX_IMAGES} frames at once, or a video.",
            )
        self._images = images
        self._span = span
        self._interval_ms = 1000 / frame_rate_hz
        total = round(len(images) * self._interval_ms)
        end = total if span.end_ms is None else min(span.end_ms, total)
        self.duration_ms = max(end - span.start_ms, 0)
        self.frame_count = 0
        self.warnings: list[tuple[str, str]] = []

    def samples(self) -> Iterator[Sample]:
        """Raises InvalidVideo for a frame that is no image or of another size than the first."""
        size: tuple[int, ...] | None = None
        for index, data in enumerate(self._images):
            time_ms = round(index * self._interval_ms)
            if time_ms < self._span.start_ms:
                continue
            if self._span.end_ms is not None and time_ms >= self._span.end_ms:
                return
            self.frame_count += 1
            if (self.frame_count - 1) % self._span.sample_rate:
                continue
            try:
                pixels = image.decode(data)
            except InvalidImage as error:
                raise InvalidVideo(
                    f"Frame {index}: {error.message}", frame=str(index), **error.details
                ) from None
            size = size or pixels.shape
            if pixels.shape != size:
                raise InvalidVideo(
                    f"Frame {index} is {pixels.shape[1]} x {pixels.shape[0]} pixels, "
                    f"the first {size[1]} x {size[0]}.",
                    reason="Frames of differing sizes",
                    frame=str(index),
                    suggestion="Send frames of one video, all of the same size.",
                )
            yield Sample(time_ms, pixels)
        if not self.frame_count:
            raise _no_frames()


class EncodedVideo:
    """A video file of any container and codec that FFmpeg reads; decoded as it is iterated.

    At most `most` frames are analysed, however many where it is None.
    """

    def __init__(self, file: IO[bytes], span: Span, most: int | None = MAX_ANALYSED) -> None:
        self._file = file
        self._span = span
        self._most = most
        self._damaged = False
        self.frame_count = 0
        self.duration_ms = 0
        self.warnings: list[tuple[str, str]] = []

    def samples(self) -> Iterator[Sample]:
        """Raises InvalidVideo for bytes without a readable video stream or frames in the span."""
        import av

        head = self._file.read(16)
        self._file.seek(0)
        if not head:
            raise InvalidVideo(
                "The video is empty.",
                reason="Zero bytes of video data",
                suggestion="Send the bytes of a video file.",
            )
        kind = video_format(head)
        if not kind:
            raise _unreadable("it begins like no container that is read here")
        try:
            container = av.open(self._file, "r", format=kind, metadata_errors="ignore")
        except (av.FFmpegError, ValueError) as error:
            raise _unreadable(str(error)) from None
        with container:
            stream = next(iter(container.streams.video), None)
            if stream is None:
                raise InvalidVideo(
                    "The file has no video stream.",
                    reason="No video stream",
                    suggestion="Send a file with pictures; for sound alone use voice analysis.",
                )
            if stream.codec_context is None:
                raise InvalidVideo(
                    "The codec of the video is not known.",
                    reason="Unknown codec",
                    suggestion="Send H.264, H.265, VP8, VP9, AV1, MPEG-4 or another common codec.",
                )
            self._check(container, stream)
            yield from self._decode(container, stream)

    def _check(self, container: InputContainer, stream: VideoStream) -> None:
        _refuse_size(stream.width, stream.height)
        total_ms = _declared_ms(container, stream)
        if total_ms is None:
            return
        if self._span.start_ms >= total_ms:
            raise InvalidVideo(
                f"start_time_ms {self._span.start_ms} is past the end of the video.",
                reason=f"The video is {total_ms} ms long",
                suggestion=f"Give a start_time_ms below {total_ms}.",
            )
        end_ms = total_ms if self._span.end_ms is None else min(self._span.end_ms, total_ms)
        self.duration_ms = end_ms - self._span.start_ms
        rate = float(stream.average_rate or DEFAULT_FRAME_RATE)
        expected = self.duration_ms / 1000 * rate / self._span.sample_rate
        if self._most is not None and expected > self._most * 1.05:
            raise _too_many_frames(self._most)

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[Sample]:
        import av

        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = DECODER_THREADS
        origin_ms = float((stream.start_time or 0) * (stream.time_base or 0)) * 1000
        interval_ms = 1000 / float(stream.average_rate or DEFAULT_FRAME_RATE)
        if self._span.start_ms and container.duration is not None:
            with suppress(av.FFmpegError):  # without an index the frames before are decoded too
                container.seek(round((origin_ms + self._span.start_ms) * 1000))
        time_ms, analysed = -interval_ms, 0
        for frame in self._frames(container, stream):
            given = None if frame.time is None else frame.time * 1000 - origin_ms
            time_ms = time_ms + interval_ms if given is None else max(given, time_ms)
            if round(time_ms) < self._span.start_ms:
                continue
            if self._span.end_ms is not None and round(time_ms) >= self._span.end_ms:
                break
            self.frame_count += 1
            if (self.frame_count - 1) % self._span.sample_rate == 0:
                analysed += 1
                if self._most is not None and analysed > self._most:
                    raise _too_many_frames(self._most)
                yield Sample(max(round(time_ms), 0), _upright(frame))
        if self._damaged:
            self.warnings.append(
                ("VIDEO_DAMAGED", "The video is damaged; what could be read was analysed.")
            )
        if not self.frame_count:
            raise _no_frames()
        if not self.duration_ms:
            self.duration_ms = round(time_ms + interval_ms) - self._span.start_ms

    def _frames(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        """Every frame that can be decoded, those behind damage too."""
        packets = container.demux(stream)
        while (packet := self._attempt(lambda: next(packets, None))) is not None:
            yield from self._attempt(packet.decode) or ()

    def _attempt(self, read: Callable[[], T]) -> T | None:
        """What is read, None where it is damaged."""
        import av

        try:
            return read()
        except av.FFmpegError:
            self._damaged = True
            return None


def _declared_ms(container: InputContainer, stream: VideoStream) -> int | None:
    if stream.duration is not None and stream.time_base is not None:
        return round(float(stream.duration * stream.time_base) * 1000)
    if container.duration is not None:
        return round(container.duration / 1000)
    return None


def _refuse_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise InvalidVideo(
            f"The video is {width} x {height} pixels.",
            reason=f"More than {MAX_PIXELS // 1_000_000} megapixels",
            suggestion=f"Send at most {MAX_PIXELS // 1_000_000} megapixels.",
        )


def _upright(frame: VideoFrame) -> Pixels:
    """RGB pixels, turned as the container's display matrix says; frames may grow in mid-stream."""
    _refuse_size(frame.width, frame.height)
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))


def _too_many_frames(most: int) -> InvalidVideo:
    return InvalidVideo(
        f"More than {most} frames would be analysed.",
        reason="Too many frames",
        suggestion="Raise sample_rate, or give a shorter span with start_time_ms and end_time_ms.",
    )


def _no_frames() -> InvalidVideo:
    return InvalidVideo(
        "No frame could be read in the span asked for.",
        reason="No frames",
        suggestion="Check the video, and that start_time_ms and end_time_ms lie within it.",
    )


def _unreadable(reason: str) -> InvalidVideo:
    return InvalidVideo(
        "The data is not a video of a known format.",
        reason=f"Not a video: {reason}",
        suggestion="Send MP4, MOV, WebM, MKV, AVI or another common video.",
    )
