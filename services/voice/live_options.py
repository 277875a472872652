"""What a client may ask of a live stream."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.errors import InvalidRequest
from services.common.live import Rate
from services.voice import languages
from services.voice.decoding import ENCODINGS, HEADED, RATES_HZ


@dataclass(frozen=True)
class LiveOptions:
    """How to read a stream. Checked when made.

    encoding: one of decoding.ENCODINGS. rate_hz: of the samples; 0 where the encoding tells it.
    language: a BCP 47 tag, "" to detect it. threshold: probability in [0, 1] for Rate.THRESHOLD.

    Raises InvalidRequest, naming the field, for anything else.
    """

    encoding: str
    rate_hz: int
    language: str = ""
    transcript: bool = False
    rate: Rate = Rate.PER_SECOND
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise InvalidRequest(
                f'"{self.encoding[:40]}" is no encoding of a live stream.',
                field="config.encoding",
                suggestion=f"Send one of {', '.join(ENCODINGS)}.",
            )
        low, high = RATES_HZ
        told = self.encoding in HEADED and self.rate_hz == 0
        if not told and not low <= self.rate_hz <= high:
            raise InvalidRequest(
                f"sample_rate is {self.rate_hz}.",
                field="config.sample_rate",
                suggestion=f"Send {low} to {high} Hz.",
            )
        if not 0 <= self.threshold <= 1:
            raise InvalidRequest(
                f"output.threshold is {self.threshold:g}.",
                field="config.output.threshold",
                suggestion="Send a probability from 0 to 1.",
            )
        tag = languages.normalise(self.language, "config.language")
        object.__setattr__(self, "language", tag)
        if self.transcript:
            languages.whisper_code(tag, "config.language")
