"""A recording's length, frame rate and sound, from its file."""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np

from services.common.containers import video_format
from services.common.errors import InvalidVideo, PayloadTooLarge, UnsupportedMedia

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

MAX_BYTES = 4 * 1024 * 1024 * 1024
MAX_MS = 4 * 60 * 60 * 1000
"""Longest recording; the voice service takes no more."""
MAX_SOUND_BYTES = 60 * 1024 * 1024
"""Of the sound handed to the voice service, which takes no more than 64 MiB."""
SOUND_HZ = 16_000
"""Rate of the sound handed to the voice service, which reads no other."""
_BLOCK = 10 * SOUND_HZ
_SLACK = SOUND_HZ // 10
"""Samples by which timestamps may be off before silence is put in or sound left out."""
_MISSING, _MISSING_MS = 0.05, 1000
_USUAL_RATE = 25.0
_READABLE = "MP4, MOV, WebM, MKV, AVI, MPEG or FLV"


@dataclass(frozen=True)
class Footage:
    """What is known of a recording before it is analysed.

    pictures_ms: length of the pictures alone. frame_rate_hz: theirs, whatever the header says.
    sound: FLAC, or Ogg Opus where that is larger than MAX_SOUND_BYTES, of one channel at SOUND_HZ
    whose first sample is at the time of the first picture; None where there is none.
    damaged: part of the file cannot be read.
    """

    duration_ms: int
    pictures_ms: int
    frame_rate_hz: float
    sound: bytes | None
    damaged: bool


def read(file: IO[bytes]) -> Footage:
    """Reads every packet of a file once and decodes the sound piece by piece, but no picture.

    The length is that of what is there, whatever the header says. Raises UnsupportedMedia for what
    is no video of a kind read here, InvalidVideo for one without pictures or that cannot be read,
    and PayloadTooLarge for one longer than MAX_MS.
    """
    import av

    kind = video_format(file.read(16))
    file.seek(0)
    if not kind:
        raise UnsupportedMedia(
            "The bytes are not a video of a kind that is read here.",
            suggestion=f"Send {_READABLE}.",
        )
    try:
        container = av.open(file, "r", format=kind, metadata_errors="ignore")
    except (av.FFmpegError, ValueError):
        raise InvalidVideo(
            "The video cannot be opened.",
            reason="truncated, damaged, or not the format it begins as",
            suggestion=f"Check that the file plays, and send it whole as {_READABLE}.",
        ) from None
    with container:
        return _read(container)


def _read(container: InputContainer) -> Footage:
    import av

    pictures = _pictures(container)
    declared_ms = round((container.duration or 0) / 1000)
    _refuse_length(declared_ms)
    audio = next((one for one in container.streams.audio if one.codec_context is not None), None)
    origin_s = float((pictures.start_time or 0) * (pictures.time_base or 0))
    frames, ends_s = 0, 0.0
    damaged = False
    packets = container.demux([pictures, audio] if audio else [pictures])
    with _Sound(origin_s) as sound:
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                damaged = True
                break
            if packet is None:
                break
            if packet.stream is pictures:
                if packet.size:
                    frames += 1
                    ends_s = max(ends_s, _end_s(packet) - origin_s)
            else:
                damaged |= not _decode(packet, sound)
            _refuse_length(round(max(ends_s, sound.seconds) * 1000))
        heard = sound.finish()
    if not frames:
        raise InvalidVideo(
            "The video holds no pictures that can be read.",
            reason="No frames",
            suggestion=f"Check that the file plays, and send it whole as {_READABLE}.",
        )
    ends_s = ends_s or frames / float(pictures.average_rate or _USUAL_RATE)
    length_ms = max(1, round(max(ends_s, sound.seconds) * 1000))
    damaged |= declared_ms - length_ms > max(_MISSING_MS, _MISSING * declared_ms)
    pictures_ms = max(1, round(ends_s * 1000))
    return Footage(length_ms, pictures_ms, frames / ends_s, heard, damaged)


def _pictures(container: InputContainer) -> VideoStream:
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is not None:
                return stream
            raise InvalidVideo(
                "The codec of the video is not known.",
                reason="Unknown codec",
                suggestion="Send H.264, H.265, VP8, VP9, AV1, MPEG-4 or another common codec.",
            )
    raise InvalidVideo(
        "The file has no pictures.",
        reason="No video stream",
        suggestion="Send a video; for sound alone use voice analysis.",
    )


def _end_s(packet: Packet[Any]) -> float:
    """When a picture's time is over, in s of the file's clock; 0 where it has none."""
    if packet.pts is None or packet.time_base is None:
        return 0.0
    return float((packet.pts + (packet.duration or 0)) * packet.time_base)


def _decode(packet: Packet[Any], sound: _Sound) -> bool:
    """Whether the sound of the packet could be read."""
    import av

    try:
        for frame in packet.decode():
            sound.write(frame)  # type: ignore[arg-type]
    except (av.FFmpegError, ValueError):
        return False
    return True


def _refuse_length(length_ms: int) -> None:
    if length_ms > MAX_MS:
        raise PayloadTooLarge(
            f"The recording is longer than {MAX_MS // 3_600_000} hours.",
            limit=f"{MAX_MS} ms",
            suggestion="Send it in parts.",
        )


class _Sound:
    """FLAC written as it is decoded. Silence fills gaps; what comes before `origin_s`, or a second
    time, is left out."""

    def __init__(self, origin_s: float) -> None:
        import av
        import soundfile

        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SOUND_HZ)
        self._written = tempfile.TemporaryFile(prefix="affectmesh-")  # noqa: SIM115
        self._file = soundfile.SoundFile(
            self._written, "w", samplerate=SOUND_HZ, channels=1, format="FLAC", subtype="PCM_16"
        )
        self._origin_s = origin_s
        self._place = 0
        self._filled = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._written.close()

    @property
    def seconds(self) -> float:
        return self._filled / SOUND_HZ

    def write(self, frame: AudioFrame) -> None:
        if frame.time is not None:
            place = round((frame.time - self._origin_s) * SOUND_HZ)
            _refuse_length(round(place * 1000 / SOUND_HZ))
            if abs(place - self._place) > _SLACK:
                self._place = place
        for even in self._resampler.resample(frame):
            self._append(even.to_ndarray().reshape(-1))

    def finish(self) -> bytes | None:
        if self._filled:
            for even in self._resampler.resample(None):
                self._append(even.to_ndarray().reshape(-1))
        self._file.close()
        if not self._filled:
            return None
        size = self._written.seek(0, 2)
        self._written.seek(0)
        return _as_opus(self._written) if size > MAX_SOUND_BYTES else self._written.read()

    def _append(self, samples: np.ndarray) -> None:
        late = self._filled - self._place
        self._place += samples.size
        kept = samples[max(0, late) :]
        if kept.size:
            self._file.write(np.zeros(max(0, -late), np.int16))
            self._file.write(kept)
            self._filled = self._place


def _as_opus(flac: IO[bytes]) -> bytes:
    """The same sound, lossy, in far fewer bytes."""
    import soundfile

    opus = io.BytesIO()
    with (
        soundfile.SoundFile(flac) as source,
        soundfile.SoundFile(
            opus, "w", samplerate=SOUND_HZ, channels=1, format="OGG", subtype="OPUS"
        ) as smaller,
    ):
        for block in source.blocks(_BLOCK, dtype="int16"):
            smaller.write(block)
    return opus.getvalue()
