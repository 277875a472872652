"""What a client may ask of the analysis of a recording."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.errors import InvalidRequest
from services.voice import languages
from services.voice.audio import ENCODINGS, MAX_MS, MIN_MS, RATES_HZ, WHOLE, Selection
from services.voice.segmentation import KINDS, SPOKEN_KINDS

WINDOWS_MS = (1000, 60_000)
SPEECH_MS = (MIN_MS, MAX_MS)
CHANNEL_MODES = ("mix", "split")


@dataclass(frozen=True)
class Options:
    """What to compute; what is off costs nothing. Checked when made.

    language: a BCP 47 tag, "" to detect it. segment_by: one of segmentation.KINDS. window_ms:
    length of the pieces for "window". selection: which part of the recording. max_speech_ms: how
    much of the speech of each track is analysed, from its beginning; None for all.

    Raises InvalidRequest, naming the field, for anything else.
    """

    language: str = ""
    transcript: bool = True
    prosody: bool = True
    dimensions: bool = True
    segment_by: str = "utterance"
    window_ms: int = 3000
    selection: Selection = WHOLE
    max_speech_ms: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "language", languages.normalise(self.language))
        if self.transcript:
            languages.whisper_code(self.language)
        _one_of("segment_by", self.segment_by, KINDS)
        if self.segment_by in SPOKEN_KINDS and not self.transcript:
            raise InvalidRequest(
                f'Segments by "{self.segment_by}" need the transcript.',
                field="options.segment_by",
                suggestion='Leave return_transcript on, or segment by "utterance" or "window".',
            )
        _within("window_ms", self.window_ms, *WINDOWS_MS)
        if self.max_speech_ms is not None:
            _within("max_speech_ms", self.max_speech_ms, *SPEECH_MS)
        check_selection(self.selection)


def check_selection(selection: Selection) -> None:
    """Raise InvalidRequest, naming the field, unless the selection makes sense."""
    _one_of("channel_mode", selection.channel_mode, CHANNEL_MODES)
    if selection.encoding:
        _one_of("encoding", selection.encoding, tuple(ENCODINGS))
    if selection.rate_hz is not None:
        _within("sample_rate", selection.rate_hz, *RATES_HZ)
    if selection.start_ms < 0:
        raise InvalidRequest(
            "start_time_ms is negative.",
            field="options.start_time_ms",
            suggestion="Send 0 or more.",
        )
    if selection.end_ms is not None and selection.end_ms <= selection.start_ms:
        raise InvalidRequest(
            "end_time_ms does not lie after start_time_ms.",
            field="options.end_time_ms",
            suggestion="Send an end after the start, or leave it out.",
        )


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        words = ", ".join(f'"{one}"' for one in allowed)
        raise InvalidRequest(
            f'"{value[:40]}" is no {name}.',
            field=f"options.{name}",
            suggestion=f"Send one of {words}.",
        )


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidRequest(
            f"{name} is {value}.",
            field=f"options.{name}",
            suggestion=f"Send {low} to {high}.",
        )
