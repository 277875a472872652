"""Decoders of recordings: which one reads what, block by block, from where it is asked to."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, Protocol

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from services.common.containers import HEAD_BYTES, audio_format
from services.common.errors import InvalidAudio, InvalidRequest, UnsupportedMedia

Block = NDArray[np.float32]
Media = bytes | IO[bytes]
"""An encoded recording; a file is left open."""

ENCODINGS = {"LINEAR16": "PCM_16", "MULAW": "ULAW", "ALAW": "ALAW"}
"""Encodings of headerless audio, and libsndfile's names of them."""

_READABLE = "WAV, FLAC, MP3, Ogg, Opus, AIFF, M4A, AAC, AMR or WebM"
_LIBSNDFILE = ("wav", "flac", "ogg", "mp3", "aiff", "au", "caf")
#: Containers that tell how long they are, and where in them a time is.
_INDEXED = ("mov", "matroska")
_BLOCK_S = 1
#: What a decoder needs to hear before it is right (RFC 7845, 4.6: 80 ms for Opus).
_PREROLL_S = 0.25


class Source(Protocol):
    """A decoder. duration_s: None where it is not known before the end. ended_early: whether the
    source ends before it says it does, known once its blocks are read."""

    rate_hz: int
    channels: int
    duration_s: float | None
    ended_early: bool

    def blocks(self, first: int) -> Iterator[tuple[int, Block]]:
        """Samples [frames, channels], full scale 1, and the place of the first of them.

        Begins at frame `first` or before it.
        """
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


def open_source(media: Media, encoding: str, rate_hz: int | None) -> Source:
    """Return the decoder of an encoded or headerless recording; its header wins over `encoding`.

    Raises UnsupportedMedia for what is no audio of a kind read here, InvalidAudio where it cannot
    be decoded, InvalidRequest for headerless audio without a rate.
    """
    file = io.BytesIO(media) if isinstance(media, bytes) else media
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    kind = audio_format(head)
    if kind in _LIBSNDFILE:
        try:
            return _SoundFile(soundfile.SoundFile(file), _bytes_missing(head, size))
        except soundfile.LibsndfileError:
            if kind != "wav":
                raise _unreadable() from None
            file.seek(0)
    if kind:
        return _Container(file, kind)
    if encoding:
        return _SoundFile(_headerless(file, encoding, rate_hz), bytes_missing=False)
    raise UnsupportedMedia(
        "The bytes are not audio of a kind that is read here.",
        suggestion=f"Send {_READABLE}; for headerless audio give encoding and sample_rate.",
    )


def _headerless(file: IO[bytes], encoding: str, rate_hz: int | None) -> soundfile.SoundFile:
    if rate_hz is None:
        raise InvalidRequest(
            "Headerless audio needs its sample rate.",
            field="options.sample_rate",
            suggestion="Give sample_rate in Hz beside encoding.",
        )
    return soundfile.SoundFile(
        file,
        format="RAW",
        subtype=ENCODINGS[encoding],
        samplerate=rate_hz,
        channels=1,
        endian="LITTLE",
    )


class _SoundFile:
    """Decodes with libsndfile."""

    def __init__(self, decoder: soundfile.SoundFile, bytes_missing: bool) -> None:
        self._decoder = decoder
        self.rate_hz = int(decoder.samplerate)
        self.channels = int(decoder.channels)
        self._frames = decoder.frames if 0 < decoder.frames < 1 << 48 else None
        self.duration_s = self._frames / self.rate_hz if self._frames else None
        self.ended_early = bytes_missing

    def blocks(self, first: int) -> Iterator[tuple[int, Block]]:
        position = self._seek(first)
        yield position, np.zeros((0, self.channels), np.float32)
        size = self.rate_hz * _BLOCK_S
        try:
            while len(block := self._decoder.read(size, dtype="float32", always_2d=True)):
                yield position, block
                position += len(block)
        except soundfile.LibsndfileError:
            self.ended_early = True
        if self._frames is not None and position < self._frames:
            self.ended_early = True

    def close(self) -> None:
        self._decoder.close()

    def _seek(self, first: int) -> int:
        if not first or self._frames is None:
            return 0
        try:
            return int(self._decoder.seek(min(first, self._frames)))
        except soundfile.LibsndfileError:
            return int(self._decoder.seek(0))


class _Container:
    """Decodes with FFmpeg, which is told the format and so opens nothing but the bytes given."""

    def __init__(self, file: IO[bytes], kind: str) -> None:
        self._indexed = kind in _INDEXED
        self.ended_early = False
        try:
            self._container = av.open(file, "r", format=kind, metadata_errors="ignore")
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
        length = self._container.duration if self._indexed else None
        self.duration_s = length / av.time_base if length and length > 0 else None

    def blocks(self, first: int) -> Iterator[tuple[int, Block]]:
        resampler = av.AudioResampler(
            format="flt", layout=self._stream.layout.name, rate=self.rate_hz
        )
        waiting: list[Block] = []
        count = 0
        position = None
        try:
            sought = self._seek(first)
            for frame in self._container.decode(self._stream):
                if position is None:
                    position = self._place(frame) if sought else 0
                for even in resampler.resample(frame):
                    samples = even.to_ndarray().astype(np.float32, copy=False)
                    waiting.append(samples.reshape(-1, self.channels))
                    count += len(waiting[-1])
                if count > self.rate_hz * _BLOCK_S:
                    yield position, np.concatenate(waiting)
                    position += count
                    waiting, count = [], 0
        except (av.error.FFmpegError, ValueError):
            self.ended_early = True
        if waiting:
            yield position or 0, np.concatenate(waiting)

    def close(self) -> None:
        self._container.close()

    def _seek(self, first: int) -> bool:
        """Whether decoding begins where the container's index says, not at its start."""
        target_s = first / self.rate_hz - _PREROLL_S
        base = self._stream.time_base
        if not self._indexed or target_s <= 0 or base is None:
            return False
        try:
            self._container.seek(self._begin() + int(target_s / base), stream=self._stream)
        except av.error.FFmpegError:
            return False
        return True

    def _place(self, frame: av.AudioFrame) -> int:
        if frame.pts is None or frame.time_base is None:
            raise ValueError("a frame without a time")
        base = self._stream.time_base or frame.time_base
        return max(
            0, round(float(frame.pts * frame.time_base - self._begin() * base) * self.rate_hz)
        )

    def _begin(self) -> int:
        return self._stream.start_time or 0


def _bytes_missing(head: bytes, size: int) -> bool:
    """Whether a RIFF file says that it is longer than it is; 0 and the largest mean unknown."""
    declared = int.from_bytes(head[4:8], "little")
    return head[:4] == b"RIFF" and 0 < declared < 0xFFFFFF00 and declared + 8 > size + 1


def _unreadable() -> InvalidAudio:
    return InvalidAudio(
        "The recording cannot be decoded.",
        reason="truncated, damaged, or not the format it begins as",
        suggestion=f"Check that the file plays, and send it whole as {_READABLE}.",
    )
