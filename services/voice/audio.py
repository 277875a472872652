"""Recordings of any kind, decoded piece by piece to 16 kHz tracks."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Protocol

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from services.common.errors import InvalidAudio, InvalidRequest, PayloadTooLarge, UnsupportedMedia
from services.voice.features import SAMPLE_RATE_HZ, Samples

MAX_BYTES = 64 * 1024 * 1024
MAX_MS = 60 * 60 * 1000
MAX_CHANNELS = 8
MIN_MS = 200
ENCODINGS = {"LINEAR16": "PCM_16", "MULAW": "ULAW", "ALAW": "ALAW"}
RATES_HZ = (8000, 48000)
"""Lowest and highest sample rate of headerless audio."""

_READABLE = "WAV, FLAC, MP3, Ogg, Opus, AIFF, M4A, AAC, AMR or WebM"
_READABLE_HZ = (4000, 384_000)
_BLOCK_S = 1
#: Tracks longer than this go to an unnamed temporary file, so that memory stays bounded.
_IN_MEMORY = 10 * 60 * SAMPLE_RATE_HZ
_FULL_SCALE = 0.999

Block = NDArray[np.float32]


@dataclass(frozen=True)
class Selection:
    """Which part of a recording is analysed.

    channel_mode: "mix" takes the mean of the channels, "split" each apart. channels: from 0, none
    means all. Times in ms; end exclusive, None is the end. encoding (a key of ENCODINGS) and
    rate_hz describe headerless audio of one channel.
    """

    channel_mode: str = "mix"
    channels: tuple[int, ...] = ()
    start_ms: int = 0
    end_ms: int | None = None
    encoding: str = ""
    rate_hz: int | None = None


WHOLE = Selection()


@dataclass(frozen=True)
class Recording:
    """Decoded audio.

    tracks: 16 kHz samples, full scale 1, one track a channel analysed. channels: the number of
    each track's channel, or 0 for the mix. rate_hz: of the source. clipped: share of samples at
    full scale. truncated: the source ends before it says it does.
    """

    tracks: tuple[Samples, ...]
    channels: tuple[int, ...]
    rate_hz: int
    clipped: float
    truncated: bool

    @property
    def duration_ms(self) -> int:
        return round(self.tracks[0].size * 1000 / SAMPLE_RATE_HZ)


class _Source(Protocol):
    """A decoder. `ended_early` is known once its blocks are read."""

    rate_hz: int
    channels: int
    duration_s: float | None
    ended_early: bool

    def blocks(self) -> Iterator[Block]:
        """Samples [frames, channels], full scale 1."""
        ...


def decode(data: bytes, selection: Selection) -> Recording:
    """Read the selected part of an encoded or headerless recording.

    Raises UnsupportedMedia for what is no audio of a kind read here; InvalidAudio where it cannot
    be decoded, is too short, or has samples that are not numbers; PayloadTooLarge where the part
    is longer than an hour; InvalidRequest for channels or times it does not have.
    """
    source = _open(data, selection)
    if not 1 <= source.channels <= MAX_CHANNELS:
        raise InvalidAudio(
            f"The recording has {source.channels} channels.",
            suggestion=f"Send 1 to {MAX_CHANNELS} channels.",
        )
    low, high = _READABLE_HZ
    if not low <= source.rate_hz <= high:
        raise InvalidAudio(
            f"The recording has {source.rate_hz} samples a second.",
            suggestion=f"Send {low} to {high} Hz; 16000 is enough.",
        )
    _refuse_length(source.duration_s, selection)
    chosen = _chosen_channels(source.channels, selection)
    split = selection.channel_mode == "split"
    tracks = [_Track(source.rate_hz) for _ in (chosen if split else (0,))]
    first = selection.start_ms * source.rate_hz // 1000
    last = None if selection.end_ms is None else selection.end_ms * source.rate_hz // 1000
    position = clipped = 0
    for block in source.blocks():
        if not np.isfinite(block).all():
            raise InvalidAudio(
                "The recording has samples that are not numbers.",
                reason="NaN or infinite samples",
                suggestion="Export it again as 16-bit PCM.",
            )
        part = block[max(0, first - position) : None if last is None else max(0, last - position)]
        position += len(block)
        _refuse_length((min(position, last or position) - first) / source.rate_hz, WHOLE)
        part = part[:, chosen]
        clipped += int(np.count_nonzero(np.abs(part) >= _FULL_SCALE))
        heard = part.T if split else (part.mean(axis=1),)
        for track, samples in zip(tracks, heard, strict=True):
            track.write(samples)
        if last is not None and position >= last:
            break
    _refuse_empty(position, first, source, selection)
    finished = tuple(track.finish() for track in tracks)
    total = max(1, finished[0].size * source.rate_hz // SAMPLE_RATE_HZ * len(chosen))
    return Recording(
        tracks=finished,
        channels=chosen if split else (0,),
        rate_hz=source.rate_hz,
        clipped=clipped / total,
        truncated=source.ended_early,
    )


def _refuse_length(duration_s: float | None, selection: Selection) -> None:
    if duration_s is None:
        return
    end_ms = duration_s * 1000
    if selection.end_ms is not None:
        end_ms = min(end_ms, selection.end_ms)
    if end_ms - selection.start_ms > MAX_MS:
        raise PayloadTooLarge(
            f"The recording is longer than {MAX_MS // 60_000} minutes.",
            limit=f"{MAX_MS} ms",
            suggestion="Send it in parts, or choose one with start_time_ms and end_time_ms.",
        )


def _refuse_empty(position: int, first: int, source: _Source, selection: Selection) -> None:
    if not position:
        raise InvalidAudio(
            "The recording holds no audio that can be decoded.",
            reason="truncated or damaged" if source.ended_early else "no samples",
            suggestion="Check that the file plays, and send all of it.",
        )
    if first >= position:
        raise InvalidRequest(
            f"The recording ends at {position * 1000 // source.rate_hz} ms.",
            field="options.start_time_ms",
            suggestion="Let start_time_ms lie before the end.",
        )
    end = position
    if selection.end_ms is not None:
        end = min(end, selection.end_ms * source.rate_hz // 1000)
    length_ms = (end - first) * 1000 // source.rate_hz
    if length_ms < MIN_MS:
        raise InvalidAudio(
            f"{length_ms} ms of audio are too short.",
            suggestion=f"Send at least {MIN_MS} ms; one second or more gives better results.",
        )


def _chosen_channels(count: int, selection: Selection) -> tuple[int, ...]:
    for channel in selection.channels:
        if not 0 <= channel < count:
            raise InvalidRequest(
                f"The recording has no channel {channel}; it has {count}.",
                field="options.channels",
                suggestion="Count channels from 0.",
            )
    return tuple(dict.fromkeys(selection.channels)) or tuple(range(count))


class _Track:
    """Samples of one track as they are decoded, resampled to 16 kHz."""

    def __init__(self, rate_hz: int) -> None:
        self._resampler = (
            soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32")
            if rate_hz != SAMPLE_RATE_HZ
            else None
        )
        self._pieces: list[Samples] = []
        self._waiting = 0
        self._file: IO[bytes] | None = None

    def write(self, samples: Samples, last: bool = False) -> None:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(np.ascontiguousarray(samples), last=last)
        self._pieces.append(np.array(samples, np.float32))
        self._waiting += samples.size
        if self._waiting > _IN_MEMORY or self._file is not None:
            self._spill()

    def finish(self) -> Samples:
        self.write(np.zeros(0, np.float32), last=True)
        if self._file is None:
            return np.concatenate(self._pieces)
        with self._file:
            return np.memmap(self._file, np.float32, "r")

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="affectmesh-voice-")  # noqa: SIM115
        for piece in self._pieces:
            self._file.write(piece.tobytes())
        self._pieces, self._waiting = [], 0


class _SoundFile:
    """Decodes with libsndfile."""

    def __init__(self, file: soundfile.SoundFile, declared_bytes_missing: bool) -> None:
        self._file = file
        self.rate_hz = int(file.samplerate)
        self.channels = int(file.channels)
        known = 0 < file.frames < 1 << 48
        self.duration_s = file.frames / self.rate_hz if known else None
        self._frames = file.frames if known else None
        self.ended_early = declared_bytes_missing

    def blocks(self) -> Iterator[Block]:
        count = 0
        try:
            while len(
                block := self._file.read(self.rate_hz * _BLOCK_S, dtype="float32", always_2d=True)
            ):
                count += len(block)
                yield block
        except soundfile.LibsndfileError:
            self.ended_early = True
        if self._frames is not None and count < self._frames:
            self.ended_early = True


class _Container:
    """Decodes with FFmpeg, which is told the format and so opens nothing but the bytes given."""

    def __init__(self, data: bytes, kind: str) -> None:
        self.ended_early = False
        try:
            self._container = av.open(io.BytesIO(data), "r", format=kind, metadata_errors="ignore")
            streams = self._container.streams.audio
        except av.error.FFmpegError:
            raise _unreadable() from None
        if not streams:
            raise InvalidAudio(
                "The file has no sound.", suggestion="Send a file with an audio track."
            )
        self._stream = streams[0]
        if self._stream.codec_context is None:
            raise _unreadable()
        self.rate_hz = int(self._stream.rate or 0)
        self.channels = int(self._stream.channels or 0)
        if not self.rate_hz:
            raise _unreadable()
        length = self._container.duration
        self.duration_s = length / av.time_base if length and length > 0 else None

    def blocks(self) -> Iterator[Block]:
        resampler = av.AudioResampler(
            format="flt", layout=self._stream.layout.name, rate=self.rate_hz
        )
        waiting: list[Block] = []
        count = 0
        try:
            for frame in self._container.decode(self._stream):
                for even in resampler.resample(frame):
                    samples = even.to_ndarray().astype(np.float32, copy=False)
                    waiting.append(samples.reshape(-1, self.channels))
                    count += len(waiting[-1])
                if count > self.rate_hz * _BLOCK_S:
                    yield np.concatenate(waiting)
                    waiting, count = [], 0
        except (av.error.FFmpegError, ValueError):
            self.ended_early = True
        if waiting:
            yield np.concatenate(waiting)


def _open(data: bytes, selection: Selection) -> _Source:
    kind = _kind(data)
    if kind == "soundfile":
        try:
            return _SoundFile(soundfile.SoundFile(io.BytesIO(data)), _bytes_missing(data))
        except soundfile.LibsndfileError:
            if data[:4] != b"RIFF":
                raise _unreadable() from None
            kind = "wav"
    if kind:
        return _Container(data, kind)
    if selection.encoding:
        return _open_raw(data, selection)
    raise UnsupportedMedia(
        "The bytes are not audio of a kind that is read here.",
        suggestion=f"Send {_READABLE}; for headerless audio give encoding and sample_rate.",
    )


def _open_raw(data: bytes, selection: Selection) -> _Source:
    if selection.rate_hz is None:
        raise InvalidRequest(
            "Headerless audio needs its sample rate.",
            field="options.sample_rate",
            suggestion="Give sample_rate in Hz beside encoding.",
        )
    width = 2 if selection.encoding == "LINEAR16" else 1
    file = soundfile.SoundFile(
        io.BytesIO(data[: len(data) // width * width]),
        format="RAW",
        subtype=ENCODINGS[selection.encoding],
        samplerate=selection.rate_hz,
        channels=1,
        endian="LITTLE",
    )
    return _SoundFile(file, declared_bytes_missing=False)


def _kind(data: bytes) -> str:
    """The decoder of the bytes, "soundfile" or an FFmpeg format; "" where they are unknown."""
    head = data[:12]
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] in (b"WAVE", b""):
        return "soundfile"
    if head[:4] in (b"fLaC", b"OggS", b"FORM", b".snd", b"caff") or head[:3] == b"ID3":
        return "soundfile"
    if head[4:8] == b"ftyp":
        return "mp4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[:5] == b"#!AMR":
        return "amr"
    if len(head) > 2 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "aac"
    if len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[2] & 0xF0 != 0xF0:
        return "soundfile"
    return ""


def _bytes_missing(data: bytes) -> bool:
    """Whether a RIFF file says that it is longer than it is; 0 and the largest mean unknown."""
    declared = int.from_bytes(data[4:8], "little")
    return data[:4] == b"RIFF" and 0 < declared < 0xFFFFFF00 and declared + 8 > len(data) + 1


def _unreadable() -> InvalidAudio:
    return InvalidAudio(
        "The recording cannot be decoded.",
        reason="truncated, damaged, or not the format it begins as",
        suggestion=f"Check that the file plays, and send it whole as {_READABLE}.",
    )
