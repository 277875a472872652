"""Speech to text with word times: Whisper base on CTranslate2, loaded when first needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from services.common import metrics
from services.common.inference.observed import observed
from services.voice import weights
from services.voice.activity import Span
from services.voice.features import SAMPLE_RATE_HZ, Samples, Sound

if TYPE_CHECKING:
    from services.voice.whisper import OnceEncoding

T = TypeVar("T")

#: Whisper reads at most 30 s at once.
_LONGEST = 28 * SAMPLE_RATE_HZ
#: Speech with more silence between than this is read apart.
_LONGEST_GAP = 2 * SAMPLE_RATE_HZ
#: Probability from which the language heard contradicts the one given.
_SURE = 0.9
_BEAM = 2
_WRITTEN_TOGETHER = frozenset(("bo", "ja", "km", "lo", "my", "th", "zh"))
#: Tried in turn while a result is repetitive (zlib ratio) or doubtful (mean log probability).
_TEMPERATURES = (0.0, 0.4)
_REPETITIVE, _DOUBTFUL = 2.4, -1.0
_TAIL_S = 0.5


@dataclass(frozen=True)
class Word:
    """One word, with the space before it, and when it was said.

    confidence: the recogniser's probability in [0, 1].
    """

    text: str
    start_ms: int
    end_ms: int
    confidence: float


@dataclass(frozen=True)
class Transcript:
    """What was said. `language` is Whisper's code; `heard` the code it was sure of itself, where
    it was told another."""

    words: tuple[Word, ...]
    language: str
    heard: str | None

    @property
    def text(self) -> str:
        """The words as a text; spaces are part of them, where the language writes spaces."""
        return "".join(word.text for word in self.words).strip()


class Transcriber:
    """Recognises speech, one recording at a time, on a thread of its own."""

    def __init__(self, data_dir: Path, threads: int) -> None:
        self._data_dir = data_dir
        self._threads = threads
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="transcription")
        self._asked = 0

    @property
    def busy(self) -> bool:
        """Whether speech is being recognised, so that more has to wait."""
        return self._asked > 0

    async def prepare(self) -> None:
        """Put the weights together, without loading them. Raises Unavailable."""
        await self._on_thread(weights.assemble, self._data_dir)

    async def load(self) -> None:
        """Load the weights, so that nobody waits for them. Raises Unavailable."""
        await self._on_thread(lambda: self._model)

    async def transcribe(
        self, samples: Sound, spans: Sequence[Span], language: str | None
    ) -> Transcript:
        """Return what is said within `spans` of 16 kHz samples; only they are ever read.

        `language` is a code of languages.RECOGNISED; None detects it from the first stretch of
        speech and keeps it. Raises Unavailable where the weights are missing.
        """
        self._asked += 1
        try:
            with observed(weights.NAME, weights.VERSION):
                return await self._transcribe(samples, _stretches(spans), language)
        finally:
            self._asked -= 1

    async def _transcribe(
        self, samples: Sound, stretches: Sequence[Span], language: str | None
    ) -> Transcript:
        words: list[Word] = []
        heard: str | None = None
        if stretches:
            first = samples[stretches[0].start : stretches[0].end]
            detected, probability = await self._on_thread(self._detect, first)
            if language is None:
                language = detected
            elif detected != language and probability >= _SURE:
                heard = detected
        for stretch in stretches:
            part = samples[stretch.start : stretch.end]
            with metrics.MODEL_SECONDS.labels(weights.NAME).time():
                words += await self._on_thread(self._read, part, stretch.start_ms, language)
        await self._on_thread(self._model.forget)
        return Transcript(tuple(words), language or "", heard)

    async def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)

    async def _on_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, work, *arguments)

    @cached_property
    def _model(self) -> OnceEncoding:
        from services.voice.whisper import OnceEncoding

        folder = weights.assemble(self._data_dir)
        return OnceEncoding(
            str(folder), device="cpu", compute_type="int8", cpu_threads=self._threads
        )

    def _detect(self, samples: Samples) -> tuple[str, float]:
        # Without the last frame, as recognition reads it: both then share one encoding.
        features = self._model.feature_extractor(samples)[:, :-1]
        code, probability, _ = self._model.detect_language(features=features)
        return code, probability

    def _read(self, samples: Samples, offset_ms: int, language: str) -> list[Word]:
        """The words of at most 30 s, their times from the start of the recording.

        Whisper goes on where its last word ended and makes words up in what silence is left:
        it is stopped there, and what it repeats or hardly believes is dropped.
        """
        segments, _ = self._model.transcribe(
            samples,
            language=language,
            beam_size=_BEAM,
            temperature=_TEMPERATURES,
            compression_ratio_threshold=_REPETITIVE,
            log_prob_threshold=_DOUBTFUL,
            condition_on_previous_text=False,
            word_timestamps=True,
        )
        found: list[Word] = []
        spaced = language not in _WRITTEN_TOGETHER
        for segment in segments:
            if segment.compression_ratio > _REPETITIVE or segment.avg_logprob < _DOUBTFUL:
                continue
            for part in segment.words or ():
                start_ms = offset_ms + round(part.start * 1000)
                word = Word(
                    part.word, start_ms, offset_ms + round(part.end * 1000), part.probability
                )
                if spaced and found and not part.word.startswith(" "):
                    word = _joined(found.pop(), word)
                found.append(word)
            if samples.size / SAMPLE_RATE_HZ - segment.end < _TAIL_S:
                break
        return found


def _joined(first: Word, second: Word) -> Word:
    """Two halves of one word, such as "ill" and "-disposed"."""
    confidence = min(first.confidence, second.confidence)
    return Word(first.text + second.text, first.start_ms, second.end_ms, confidence)


def _stretches(spans: Sequence[Span]) -> list[Span]:
    """Neighbouring speech joined, and long speech cut, to at most 28 s each."""
    joined: list[Span] = []
    for span in spans:
        for start in range(span.start, span.end, _LONGEST):
            end = min(span.end, start + _LONGEST)
            last = joined[-1] if joined else None
            if last and start - last.end <= _LONGEST_GAP and end - last.start <= _LONGEST:
                joined[-1] = Span(last.start, end)
            else:
                joined.append(Span(start, end))
    return joined
