"""Recordings of any kind, decoded piece by piece to 16 kHz tracks."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

import numpy as np

from services.common.errors import InvalidAudio, InvalidRequest, PayloadTooLarge
from services.voice.features import SAMPLE_RATE_HZ
from services.voice.sources import ENCODINGS, Block, Media, Source, open_source
from services.voice.track import Track

__all__ = ["ENCODINGS", "Decoding", "Media", "Recording", "Selection", "decode"]

MAX_BYTES = 3 * 1024 * 1024 * 1024
"""Somewhat more than 4 hours of uncompressed stereo."""
MAX_MS = 4 * 60 * 60 * 1000
MAX_CHANNELS = 8
MIN_MS = 200
RATES_HZ = (8000, 48000)
"""Lowest and highest sample rate of headerless audio."""

_READABLE_HZ = (4000, 384_000)
_FULL_SCALE = 0.999
_STEP_BLOCKS = 20


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

    tracks: one a channel analysed; whoever gets them closes them. channels: the number of each
    track's channel, or 0 for the mix. rate_hz: of the source. clipped: share of samples at full
    scale. truncated: the source ends before it says it does.
    """

    tracks: tuple[Track, ...]
    channels: tuple[int, ...]
    rate_hz: int
    clipped: float
    truncated: bool

    @property
    def duration_ms(self) -> int:
        return round(self.tracks[0].size * 1000 / SAMPLE_RATE_HZ)

    def close(self) -> None:
        """Give back what the tracks hold."""
        for track in self.tracks:
            track.close()


def decode(media: Media, selection: Selection) -> Recording:
    """Read the selected part of a recording at once; raises what Decoding raises."""
    with Decoding(media, selection) as decoding:
        while decoding.step():
            pass
        return decoding.finish()


class Decoding:
    """The selected part of an encoded or headerless recording, read step by step.

    Made, it has seen the header only. Raises UnsupportedMedia for what is no audio of a kind read
    here; InvalidAudio where it cannot be decoded, is too short, or has samples that are not
    numbers; PayloadTooLarge where the part is longer than 4 hours, before any of it is decoded
    where the header tells; InvalidRequest for channels or times it does not have.
    """

    def __init__(self, media: Media, selection: Selection) -> None:
        self._selection = selection
        self._source = open_source(media, selection.encoding, selection.rate_hz)
        try:
            _check(self._source, selection)
            self._chosen = _chosen_channels(self._source.channels, selection)
        except BaseException:
            self._source.close()
            raise
        rate_hz = self._source.rate_hz
        self._split = selection.channel_mode == "split"
        self._first = selection.start_ms * rate_hz // 1000
        end_ms = selection.end_ms
        self._last = None if end_ms is None else end_ms * rate_hz // 1000
        self._tracks = [Track(rate_hz) for _ in (self._chosen if self._split else (0,))]
        self._blocks = self._source.blocks(self._first)
        self._position = self._clipped = 0

    def __enter__(self) -> Decoding:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if error is not None:
            self.discard()

    def step(self) -> bool:
        """Decode some seconds; False once there is nothing left to decode."""
        for _ in range(_STEP_BLOCKS):
            found = next(self._blocks, None)
            if found is None or not self._take(*found):
                return False
        return True

    def finish(self) -> Recording:
        """Return what was decoded."""
        source, chosen = self._source, self._chosen
        _refuse_empty(self._position, self._first, source, self._selection)
        for track in self._tracks:
            track.write(np.zeros(0, np.float32), last=True)
        total = self._tracks[0].size * source.rate_hz // SAMPLE_RATE_HZ * len(chosen)
        return Recording(
            tracks=tuple(self._tracks),
            channels=chosen if self._split else (0,),
            rate_hz=source.rate_hz,
            clipped=self._clipped / max(1, total),
            truncated=source.ended_early,
        )

    def close(self) -> None:
        """Give back the decoder."""
        self._source.close()

    def discard(self) -> None:
        """Give back what was decoded."""
        for track in self._tracks:
            track.close()

    def _take(self, place: int, block: Block) -> bool:
        """Whether more is wanted."""
        if not np.isfinite(block).all():
            raise InvalidAudio(
                "The recording has samples that are not numbers.",
                reason="NaN or infinite samples",
                suggestion="Export it again as 16-bit PCM.",
            )
        first, last = self._first, self._last
        part = block[max(0, first - place) : None if last is None else max(0, last - place)]
        self._position = place + len(block)
        _refuse_length((min(self._position, last or self._position) - first) / self._source.rate_hz)
        part = part[:, self._chosen]
        self._clipped += int(np.count_nonzero(np.abs(part) >= _FULL_SCALE))
        heard = part.T if self._split else (part.mean(axis=1),)
        for track, samples in zip(self._tracks, heard, strict=True):
            track.write(samples)
        return last is None or self._position < last


def _check(source: Source, selection: Selection) -> None:
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
    if source.duration_s is not None:
        end_ms = source.duration_s * 1000
        if selection.end_ms is not None:
            end_ms = min(end_ms, selection.end_ms)
        _refuse_length((end_ms - selection.start_ms) / 1000)


def _refuse_length(length_s: float) -> None:
    if length_s * 1000 > MAX_MS:
        raise PayloadTooLarge(
            f"The recording is longer than {MAX_MS // 3_600_000} hours.",
            limit=f"{MAX_MS} ms",
            suggestion="Send it in parts, or choose one with start_time_ms and end_time_ms.",
        )


def _refuse_empty(position: int, first: int, source: Source, selection: Selection) -> None:
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
