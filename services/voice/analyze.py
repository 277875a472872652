"""From a recording to what was said, how, and which emotion it carries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.common import labels
from services.common.errors import InvalidAudio
from services.common.inference import Inference, ModelInfo
from services.voice import activity, languages, prosody, segmentation
from services.voice.activity import Span, SpeechDetector, first, speech_spans, until
from services.voice.audio import Decoding, Media, Recording
from services.voice.emotion import EmotionReader, Floats
from services.voice.features import SAMPLE_RATE_HZ, Sound
from services.voice.options import Options
from services.voice.prosody import Prosody
from services.voice.segmentation import Piece
from services.voice.transcription import Transcriber, Transcript
from services.voice.trust import (
    NARROWBAND_HZ,
    TRAINED_LANGUAGES,
    Power,
    Warning,
    narrowband,
    trust,
)

#: Silence that ends an utterance.
UTTERANCE_GAP_MS = 500
#: Silence that counts as a pause (Goldman-Eisler's 250 ms keeps stop consonants out).
PAUSE_MS = 250

CLIPPED_SHARE = 0.001

T = TypeVar("T")

#: Few, since each thread keeps memory of its own for large arrays.
_THREADS = 2
_BLOCK = 60 * SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Dimensions:
    """Valence and arousal in [-1, 1], expected from the probabilities of the categories."""

    valence: float
    arousal: float


@dataclass(frozen=True)
class Segment:
    """A piece of the recording and its most probable emotion."""

    piece: Piece
    emotion: str
    confidence: float
    dimensions: Dimensions | None


@dataclass(frozen=True)
class Finding:
    """What one track carries. emotions: probability by label, summing to 1; empty, as all that
    follows from speech, where there is none."""

    channel: int
    speech_ms: int
    emotions: dict[str, float]
    dimensions: Dimensions | None
    prosody: Prosody | None
    transcript: Transcript | None
    language: str | None
    segments: tuple[Segment, ...]
    warnings: tuple[Warning, ...]


@dataclass(frozen=True)
class Analysis:
    """findings: one a track, at least one with speech. warnings: of the recording as a whole.

    start_ms: where the tracks begin in the recording; times in the findings count from there.
    """

    start_ms: int
    duration_ms: int
    findings: tuple[Finding, ...]
    warnings: tuple[Warning, ...]
    models: tuple[ModelInfo, ...]


class VoiceAnalyzer:
    """Analyses recordings with the models of one pack."""

    def __init__(self, inference: Inference, transcriber: Transcriber, pack: str) -> None:
        self.inference = inference
        self.transcriber = transcriber
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="voice")
        self.emotions = EmotionReader(inference, pack, self._pool)
        self.trained_languages = TRAINED_LANGUAGES[pack]

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that every analysis needs."""
        return (activity.MODEL, *self.emotions.models)

    @property
    def infos(self) -> tuple[ModelInfo, ...]:
        """The same with version and digest."""
        return tuple(map(self.inference.info, self.models))

    async def analyze(self, media: Media, options: Options) -> Analysis:
        """Analyse a recording: its bytes, or an open file.

        Raises what audio.Decoding raises, and InvalidAudio where no track has speech.
        """
        recording = await self._decode(media, options)
        try:
            findings = [
                await self._analyze_track(track, channel, options)
                for track, channel in zip(recording.tracks, recording.channels, strict=True)
            ]
        finally:
            recording.close()
        if not any(found.speech_ms for found in findings):
            raise InvalidAudio(
                "No speech found in the recording.",
                reason="silence, noise or music",
                suggestion="Send a recording in which someone speaks for half a second or more.",
            )
        return Analysis(
            start_ms=options.selection.start_ms,
            duration_ms=recording.duration_ms,
            findings=tuple(findings),
            warnings=_warnings_of_recording(recording),
            models=self.infos,
        )

    async def _decode(self, media: Media, options: Options) -> Recording:
        """Some seconds at a time, so that a long recording leaves room for others."""
        decoding = await self._on_thread(Decoding, media, options.selection)
        try:
            while await self._on_thread(decoding.step):
                pass
            return await self._on_thread(decoding.finish)
        except BaseException:
            decoding.discard()
            raise
        finally:
            decoding.close()

    async def _analyze_track(self, samples: Sound, channel: int, options: Options) -> Finding:
        chances = await self._speech_probabilities(samples)
        speech = await self._on_thread(_spans, chances, samples.size, UTTERANCE_GAP_MS)
        if options.max_speech_ms is not None:
            speech = first(speech, options.max_speech_ms * SAMPLE_RATE_HZ // 1000)
        if not speech:
            silent = Warning("NO_SPEECH", "No speech found in this channel.")
            return Finding(channel, 0, {}, None, None, None, None, (), (silent,))
        transcript = await self._transcribe(samples, speech, options)
        words = transcript.words if transcript else ()
        language = languages.tag_of(transcript.language, options.language) if transcript else None
        kind, warnings = _kind_of_segments(options.segment_by, transcript)
        pieces = segmentation.segment(kind, speech, words, options.window_ms, samples.size)
        above_noise_db = await self._on_thread(_above_noise_db, samples, speech)
        count = len(words) if transcript else None
        measured = None
        if options.prosody:
            spoken = await self._on_thread(_spans, chances, samples.size, PAUSE_MS)
            spoken = until(spoken, speech[-1].end)
            spoken = until(spoken, speech[-1].end)
            measured = await self._measure(samples, spoken, count, above_noise_db)
            warnings += _warnings_of_prosody(measured)

        worth, reasons = trust(
            self.trained_languages,
            language or options.language,
            above_noise_db,
            sum(s.samples for s in speech) * 1000 // SAMPLE_RATE_HZ,
        )
        spans = list(dict.fromkeys([*speech, *(piece.span for piece in pieces)]))
        logits = dict(zip(spans, await self.emotions.read(samples, spans), strict=True))
        whole = np.average([logits[s] for s in speech], axis=0, weights=[s.samples for s in speech])
        emotions = self.emotions.probabilities(whole, worth)
        return Finding(
            channel=channel,
            speech_ms=round(sum(s.samples for s in speech) * 1000 / SAMPLE_RATE_HZ),
            emotions=emotions,
            dimensions=dimensions_of(emotions) if options.dimensions else None,
            prosody=measured,
            transcript=transcript,
            language=language,
            segments=await self._on_thread(self._segments, pieces, logits, worth, options),
            warnings=(*warnings, *reasons, *_warnings_of_language(transcript, options.language)),
        )

    async def close(self) -> None:
        """Ends its threads."""
        self._pool.shutdown(cancel_futures=True)

    async def _on_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, work, *arguments)

    async def _measure(
        self, samples: Sound, spoken: Sequence[Span], words: int | None, above_noise_db: float
    ) -> Prosody:
        meter = prosody.Meter(count_syllables=words is None)
        for piece in prosody.pieces(spoken):
            await self._on_thread(meter.add, samples[piece.start : piece.end])
        return await self._on_thread(meter.result, spoken, words, above_noise_db)

    async def _speech_probabilities(self, samples: Sound) -> NDArray[np.float32]:
        detector = SpeechDetector(self.inference)
        found = [
            await detector.feed(
                samples[start : start + _BLOCK], last=start + _BLOCK >= samples.size
            )
            for start in range(0, samples.size, _BLOCK)
        ]
        return np.concatenate(found)

    async def _transcribe(
        self, samples: Sound, speech: Sequence[Span], options: Options
    ) -> Transcript | None:
        if not options.transcript:
            return None
        code = languages.whisper_code(options.language)
        return await self.transcriber.transcribe(samples, speech, code)

    def _segments(
        self,
        pieces: Sequence[Piece],
        logits: Mapping[Span, Floats],
        worth: float,
        options: Options,
    ) -> tuple[Segment, ...]:
        return tuple(
            _segment(piece, self.emotions.probabilities(logits[piece.span], worth), options)
            for piece in pieces
        )


def _segment(piece: Piece, emotions: dict[str, float], options: Options) -> Segment:
    label = max(emotions, key=emotions.__getitem__)
    dimensions = dimensions_of(emotions) if options.dimensions else None
    return Segment(piece, label, emotions[label], dimensions)


def _spans(chances: NDArray[np.float32], total: int, min_silence_ms: int) -> list[Span]:
    return speech_spans(chances, total, min_silence_ms=min_silence_ms)


def _kind_of_segments(asked: str, transcript: Transcript | None) -> tuple[str, list[Warning]]:
    if asked not in segmentation.SPOKEN_KINDS or (transcript and transcript.words):
        return asked, []
    message = "No words were recognised; segments are utterances instead."
    return "utterance", [Warning("NO_WORDS", message)]


def dimensions_of(emotions: dict[str, float]) -> Dimensions:
    """Return the valence and arousal expected from the probabilities of categories."""
    return Dimensions(*labels.dimensions(emotions))


def _above_noise_db(samples: Sound, speech: Sequence[Span]) -> float:
    edges = [0, *(edge for span in speech for edge in (span.start, span.end)), samples.size]
    between = list(zip(edges[::2], edges[1::2], strict=True))
    spoken = _power(samples, [(span.start, span.end) for span in speech])
    return spoken.above_db(_power(samples, between))


def _power(samples: Sound, stretches: Sequence[tuple[int, int]]) -> Power:
    """That of stretches of at least 100 ms."""
    parts = (
        samples[start : min(end, start + _BLOCK)]
        for begin, end in stretches
        if end - begin >= SAMPLE_RATE_HZ // 10
        for start in range(begin, end, _BLOCK)
    )
    return sum(map(Power.of, parts), Power())


def _warnings_of_prosody(found: Prosody) -> list[Warning]:
    if found.unsteady is None:
        return []
    return [Warning("NO_JITTER", f"No jitter and no shimmer. {found.unsteady}")]


def _warnings_of_language(transcript: Transcript | None, given: str) -> list[Warning]:
    if transcript is None or transcript.heard is None:
        return []
    message = f'The recording sounds like "{transcript.heard}", not the "{given}" given.'
    return [Warning("LANGUAGE_MISMATCH", message)]


def _warnings_of_recording(recording: Recording) -> tuple[Warning, ...]:
    found = []
    if recording.truncated:
        found.append(Warning("TRUNCATED", "The recording ends early; what came was analysed."))
    if recording.clipped > CLIPPED_SHARE:
        share = f"{recording.clipped:.1%}"
        found.append(Warning("CLIPPED", f"{share} of the samples are at full scale: overdriven."))
    if recording.rate_hz < NARROWBAND_HZ:
        found.append(narrowband(recording.rate_hz))
    return tuple(found)
