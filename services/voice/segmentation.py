"""A recording in pieces: utterances, sentences, words or windows of one length."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from services.voice.activity import Span
from services.voice.features import SAMPLE_RATE_HZ
from services.voice.transcription import Word

KINDS = ("utterance", "sentence", "word", "window")
SPOKEN_KINDS = ("sentence", "word")
"""Those that need a transcript."""

_SENTENCE_END = (".", "!", "?", "…", "。", "！", "？", "।", "؟")
_CLOSING = "\"'”’»)]」』"
#: Full stops that end no sentence.
_SHORT = "mr. mrs. ms. dr. prof. st. sr. jr. vs. etc. e.g. i.e. no. hr. fr. bzw. z.b. m. mme."
_ABBREVIATIONS = frozenset(_SHORT.split())


@dataclass(frozen=True)
class Piece:
    """A stretch of the recording and what is said in it."""

    span: Span
    text: str


def segment(
    kind: str, speech: Sequence[Span], words: Sequence[Word], window_ms: int, total: int
) -> list[Piece]:
    """Return the pieces in order.

    kind is one of KINDS; speech are the utterances; total the length in samples. A word belongs
    to the piece its middle lies in or is nearest to. Windows without speech are left
    out.
    """
    if kind == "word":
        return [Piece(_span([word], total), word.text.strip()) for word in words]
    if kind == "sentence":
        return [Piece(_span(group, total), _text(group)) for group in sentences(words)]
    spans = list(speech) if kind == "utterance" else _fixed_windows(speech, window_ms, total)
    said: list[list[Word]] = [[] for _ in spans]
    halfway = [(before.end + after.start) // 2 for before, after in pairwise(spans)]
    for word in words:
        middle = (word.start_ms + word.end_ms) * SAMPLE_RATE_HZ // 2000
        said[bisect_right(halfway, middle)].append(word)
    return [Piece(span, _text(group)) for span, group in zip(spans, said, strict=True)]


def sentences(words: Sequence[Word]) -> list[list[Word]]:
    """Return the words of each sentence; the recogniser's punctuation ends them."""
    found: list[list[Word]] = []
    current: list[Word] = []
    for word in words:
        current.append(word)
        written = word.text.strip().rstrip(_CLOSING)
        if written.endswith(_SENTENCE_END) and written.lower() not in _ABBREVIATIONS:
            found.append(current)
            current = []
    return [*found, current] if current else found


def _fixed_windows(speech: Sequence[Span], window_ms: int, total: int) -> list[Span]:
    length = window_ms * SAMPLE_RATE_HZ // 1000
    windows = [Span(start, min(total, start + length)) for start in range(0, total, length)]
    return [
        window
        for window in windows
        if any(span.start < window.end and window.start < span.end for span in speech)
    ]


def _span(words: Sequence[Word], total: int) -> Span:
    start = min(words[0].start_ms * SAMPLE_RATE_HZ // 1000, total)
    end = min(words[-1].end_ms * SAMPLE_RATE_HZ // 1000, total)
    return Span(start, max(start, end))


def _text(words: Sequence[Word]) -> str:
    return "".join(word.text for word in words).strip()
