"""The client's clock: from the services' times back to the timestamps of the frames."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime

_MOST_IMAGES = 4096
_MOST_CHUNKS = 4096
_BYTES_A_SAMPLE = {"LINEAR16": 2, "MULAW": 1, "ALAW": 1}


@dataclass(frozen=True)
class Moment:
    """A frame and when it was."""

    number: int
    epoch_ms: int
    arrived_s: float = field(default_factory=time.perf_counter)

    @property
    def latency_ms(self) -> int:
        """Time since it came."""
        return round((time.perf_counter() - self.arrived_s) * 1000)


class ImageClock:
    """Times of images: the service counts from the first one that it analysed."""

    def __init__(self) -> None:
        self._moments: OrderedDict[int, Moment] = OrderedDict()
        self._sent_zero_ms: int | None = None
        self._known_zero_ms: int | None = None

    def add(self, moment: Moment) -> int:
        """Notes an image that is sent; gives its time in ms since the first, 0 where before it."""
        if self._sent_zero_ms is None:
            self._sent_zero_ms = moment.epoch_ms
        self._moments[moment.number] = moment
        if len(self._moments) > _MOST_IMAGES:
            self._moments.popitem(last=False)
        return max(0, moment.epoch_ms - self._sent_zero_ms)

    def of(self, number: int, service_ms: int) -> Moment:
        """The image of a result; those before it are forgotten."""
        moment = self._moments.get(number) or Moment(number, self.epoch_ms(service_ms))
        if self._known_zero_ms is None:
            self._known_zero_ms = moment.epoch_ms - service_ms
        while self._moments and next(iter(self._moments)) < number:
            self._moments.popitem(last=False)
        return moment

    def epoch_ms(self, service_ms: int) -> int:
        """The client's time of a service's."""
        zero_ms = self._known_zero_ms if self._known_zero_ms is not None else self._sent_zero_ms
        return (zero_ms or 0) + service_ms


class AudioClock:
    """Times of audio: the service counts samples, and each chunk has a timestamp of its own."""

    def __init__(self, encoding: str, sample_rate_hz: int) -> None:
        self._bytes_a_ms = _BYTES_A_SAMPLE.get(encoding, 0) * sample_rate_hz / 1000
        self._chunks: deque[tuple[float, Moment]] = deque(maxlen=_MOST_CHUNKS)
        self._begin_ms = 0
        self._first_ms: int | None = None
        self._sent_bytes = 0

    def go_on(self, earlier: AudioClock, received_ms: int) -> None:
        """Continues another clock, of which the service received so much.

        What was added to this one follows it.
        """
        kept = [chunk for chunk in earlier._chunks if chunk[0] < received_ms]
        shift_ms, self._begin_ms = received_ms - self._begin_ms, received_ms
        added = [(place_ms + shift_ms, moment) for place_ms, moment in self._chunks]
        self._chunks = deque([*kept, *added], maxlen=_MOST_CHUNKS)

    def add(self, moment: Moment, size_bytes: int) -> None:
        """Notes a chunk that is sent."""
        if self._first_ms is None:
            self._first_ms = moment.epoch_ms
        if self._bytes_a_ms:
            position_ms = self._sent_bytes / self._bytes_a_ms
        else:
            position_ms = moment.epoch_ms - self._first_ms
        self._sent_bytes += size_bytes
        self._chunks.append((self._begin_ms + position_ms, moment))

    def at(self, service_ms: int) -> tuple[Moment, int]:
        """The last chunk that begins before this time of the service's, and the client's time."""
        for position_ms, moment in reversed(self._chunks):
            if position_ms < service_ms:
                return moment, round(moment.epoch_ms + service_ms - position_ms)
        position_ms, moment = self._chunks[0] if self._chunks else (0.0, Moment(0, 0))
        return moment, max(0, round(moment.epoch_ms + service_ms - position_ms))


class SentAudio:
    """How much audio was sent: told by its bytes, or by what the service answered to."""

    def __init__(self, encoding: str, sample_rate_hz: int) -> None:
        self.begin_ms = 0
        """What the service had before."""
        self._bytes_a_ms = _BYTES_A_SAMPLE.get(encoding, 0) * sample_rate_hz / 1000
        self._bytes = self._heard_ms = 0

    def add(self, size_bytes: int) -> None:
        """Notes a chunk."""
        self._bytes += size_bytes

    def heard(self, service_ms: int) -> None:
        """Notes a time of the service's."""
        self._heard_ms = max(self._heard_ms, service_ms)

    @property
    def ms(self) -> int:
        """Up to now, by the service's clock."""
        sent_ms = round(self._bytes / self._bytes_a_ms) if self._bytes_a_ms else 0
        return max(self._heard_ms, self.begin_ms + sent_ms)


def iso(epoch_ms: int) -> str:
    """ISO 8601 in UTC with milliseconds."""
    seconds, ms = divmod(epoch_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"
