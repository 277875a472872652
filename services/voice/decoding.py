"""Live audio: chunks of any size, decoded and resampled to 16 kHz without a seam."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, cast

import av
import numpy as np
import soxr
from numpy.typing import NDArray

from services.common.errors import InvalidAudio, UnsupportedMedia
from services.voice.features import SAMPLE_RATE_HZ, Samples
from services.voice.framing import FlacFrames, OggPackets

ENCODINGS = ("LINEAR16", "MULAW", "ALAW", "FLAC", "OGG_OPUS")
HEADED = ("FLAC", "OGG_OPUS")
"""Encodings that tell their sample rate themselves."""
RATES_HZ = (8000, 48_000)

_OPUS_RATE_HZ = 48_000
_MAX_CHANNELS = 8
_PIECE_BYTES = 1 << 16
#: What files begin with that clients send in place of bare samples.
_HEADS = {b"RIFF": "WAV", b"fLaC": "FLAC", b"OggS": "Ogg", b"\x1a\x45\xdf\xa3": "WebM"}

Table = NDArray[np.float32]


class _Decoder(Protocol):
    """From chunks to one channel of samples. rate_hz is known once samples come.

    damages: how often something could not be decoded and was left out.
    """

    rate_hz: int

    @property
    def damages(self) -> int: ...

    def feed(self, data: bytes) -> Iterator[Samples]: ...

    def finish(self) -> Iterator[Samples]: ...


class LiveDecoder:
    """Chunks in one of ENCODINGS to 16 kHz samples, full scale 1, one channel."""

    def __init__(self, encoding: str, rate_hz: int) -> None:
        self._decoder: _Decoder
        if encoding == "FLAC":
            self._decoder = _Flac()
        elif encoding == "OGG_OPUS":
            self._decoder = _Opus()
        else:
            self._decoder = _Bare(encoding, rate_hz)
        self._resampler: soxr.ResampleStream | None = None
        self._rate_hz = 0

    @property
    def damages(self) -> int:
        """How often something could not be decoded and was left out."""
        return self._decoder.damages

    def feed(self, data: bytes) -> Iterator[Samples]:
        """Give what a chunk holds, in pieces of bounded size.

        Raises UnsupportedMedia where the stream is not what it was declared to be, InvalidAudio
        where its header cannot be used.
        """
        for samples in self._decoder.feed(data):
            yield from self._resampled(samples)

    def finish(self) -> Iterator[Samples]:
        """Give what still waits in decoder and resampler."""
        for samples in self._decoder.finish():
            yield from self._resampled(samples)
        if self._resampler is not None:
            yield self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)

    def _resampled(self, samples: Samples) -> Iterator[Samples]:
        if self._decoder.rate_hz != self._rate_hz:
            if self._resampler is not None:
                yield self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)
            self._rate_hz = self._decoder.rate_hz
            self._resampler = None
            if self._rate_hz != SAMPLE_RATE_HZ:
                self._resampler = soxr.ResampleStream(
                    self._rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32"
                )
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(np.ascontiguousarray(samples))
        if samples.size:
            yield samples


class _Bare:
    """Samples without a header: 16-bit little-endian, or G.711 in 8 bits."""

    damages = 0

    def __init__(self, encoding: str, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._encoding = encoding
        self._table = {"MULAW": _mulaw, "ALAW": _alaw}.get(encoding, lambda: None)()
        self._rest = b""
        self._head = b""

    def feed(self, data: bytes) -> Iterator[Samples]:
        if len(self._head) < 4:
            self._head = (self._head + data)[:4]
            self._refuse_head()
        data = self._rest + data
        whole = len(data) if self._table is not None else len(data) // 2 * 2
        self._rest = data[whole:]
        for start in range(0, whole, _PIECE_BYTES):
            part = data[start : min(whole, start + _PIECE_BYTES)]
            if self._table is not None:
                yield self._table[np.frombuffer(part, np.uint8)]
            else:
                yield np.frombuffer(part, "<i2").astype(np.float32) / np.float32(32768)

    def finish(self) -> Iterator[Samples]:
        return iter(())

    def _refuse_head(self) -> None:
        if self._head in _HEADS:
            raise UnsupportedMedia(
                f"The stream is declared {self._encoding} and begins as {_HEADS[self._head]}.",
                suggestion="Send bare samples without a file header, or name its encoding.",
            )


class _Flac:
    """Native FLAC."""

    def __init__(self) -> None:
        self.rate_hz = 0
        self._frames = FlacFrames()
        self._codec: av.AudioCodecContext | None = None
        self._failures = 0

    @property
    def damages(self) -> int:
        return self._frames.damages + self._failures

    def feed(self, data: bytes) -> Iterator[Samples]:
        for frame in self._frames.feed(data):
            yield from self._decoded(frame)

    def finish(self) -> Iterator[Samples]:
        if rest := self._frames.finish():
            yield from self._decoded(rest)

    def _decoded(self, frame: bytes) -> Iterator[Samples]:
        if self._codec is None:
            info = self._frames.streaminfo
            self._codec = _codec("flac", info, err_detect="crccheck+explode")
            self.rate_hz = int.from_bytes(info[10:13]) >> 4
            low, high = RATES_HZ
            if not low <= self.rate_hz <= high:
                raise InvalidAudio(
                    f"The FLAC stream has {self.rate_hz} samples a second.",
                    suggestion=f"Send {low} to {high} Hz.",
                )
        try:
            for decoded in self._codec.decode(av.Packet(frame)):
                yield _mono(decoded)
        except av.FFmpegError:
            self._failures += 1


class _Opus:
    """Opus in Ogg (RFC 7845)."""

    rate_hz = _OPUS_RATE_HZ

    def __init__(self) -> None:
        self._packets = OggPackets()
        self._codec: av.AudioCodecContext | None = None
        self._failures = 0

    @property
    def damages(self) -> int:
        return self._packets.damages + self._failures

    def feed(self, data: bytes) -> Iterator[Samples]:
        for packet in self._packets.feed(data):
            if packet.startswith(b"OpusHead"):
                self._codec = _opus_codec(packet)
            elif self._codec is None:
                raise UnsupportedMedia(
                    "The Ogg stream does not hold Opus.",
                    suggestion="Send Opus in Ogg, or FLAC, or bare samples.",
                )
            elif not packet.startswith(b"OpusTags"):
                yield from self._decoded(self._codec, packet)

    def finish(self) -> Iterator[Samples]:
        return iter(())

    def _decoded(self, codec: av.AudioCodecContext, packet: bytes) -> Iterator[Samples]:
        try:
            for decoded in codec.decode(av.Packet(packet)):
                yield _mono(decoded)
        except av.FFmpegError:
            self._failures += 1


def _opus_codec(head: bytes) -> av.AudioCodecContext:
    channels = head[9] if len(head) >= 19 else 0
    if not 1 <= channels <= _MAX_CHANNELS:
        raise InvalidAudio(
            "The header of the Opus stream cannot be read.",
            suggestion=f"Send Opus of 1 to {_MAX_CHANNELS} channels as the encoder made it.",
        )
    return _codec("opus", head)


def _codec(name: str, head: bytes, **options: str) -> av.AudioCodecContext:
    codec = cast(av.AudioCodecContext, av.CodecContext.create(name, "r"))
    codec.extradata = head
    codec.options = options
    codec.thread_count = 1
    return codec


def _mono(frame: av.AudioFrame) -> Samples:
    """The mean of the channels, full scale 1."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    scale = 1 if samples.dtype.kind == "f" else 1 << 8 * samples.dtype.itemsize - 1
    mixed: Samples = samples.mean(axis=0, dtype=np.float32) / np.float32(scale)
    return mixed


def _mulaw() -> Table:
    """Sample by code (ITU-T G.711, µ-law)."""
    code = ~np.arange(256, dtype=np.uint8)
    magnitude = ((((code & 15).astype(np.int32) << 3) + 132) << (code >> 4 & 7)) - 132
    return (np.where(code & 128, -magnitude, magnitude) / 32768).astype(np.float32)


def _alaw() -> Table:
    """Sample by code (ITU-T G.711, A-law)."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent = (code >> 4 & 7).astype(np.int32)
    mantissa = (code & 15).astype(np.int32) << 4
    large = (mantissa + 264) << np.maximum(exponent - 1, 0)
    magnitude = np.where(exponent == 0, mantissa + 8, large)
    return (np.where(code & 128, magnitude, -magnitude) / 32768).astype(np.float32)
