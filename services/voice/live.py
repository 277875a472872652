"""A live stream of speech: what is said, how it sounds, and when, while it is being said."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import structlog

from services.common.errors import AffectMeshError, Internal
from services.common.live import Event, Happening, Problem, Rate
from services.voice import languages
from services.voice.activity import Span, SpeechDetector
from services.voice.analyze import UTTERANCE_GAP_MS, Dimensions, VoiceAnalyzer, dimensions_of
from services.voice.course import Course
from services.voice.decoding import LiveDecoder
from services.voice.emotion import SHORTEST
from services.voice.endpointing import Ended, Endpointer, Started
from services.voice.features import SAMPLE_RATE_HZ, Samples
from services.voice.inbox import Gap, Inbox, Stretch
from services.voice.live_options import LiveOptions
from services.voice.outbox import Outbox
from services.voice.outputs import Final, Partial, Summary
from services.voice.tape import Tape
from services.voice.trust import (
    NARROWBAND_HZ,
    SHORT_MS,
    Power,
    Warning,
    narrowband,
    trust,
)

log = structlog.get_logger()

PARTIAL_MS = 960
"""How often the emotion is read while someone speaks."""
PARTIAL_PER_FRAME_MS = 480
"""The same at Rate.PER_FRAME."""
PARTIAL_WINDOW = 3 * SAMPLE_RATE_HZ
"""How much of the utterance, up to now, a partial is read from; finals are read from all of it."""
LISTENED_AHEAD = 3 * PARTIAL_MS * SAMPLE_RATE_HZ // 1000
"""How much an utterance grows before it is recognised again while it goes on."""
LATEST_S = 1.0
"""A partial whose audio came longer ago is dropped."""
HIGH_AROUSAL = 0.3
"""Expected from categories, which lie below 0.6 even where they are sure."""
NEGATIVE_VALENCE = -0.4
DROPS_REPORTED_EVERY_MS = 1000
DAMAGES_REPORTED_EVERY_MS = 1000

#: Three frames of the speech detector: few calls, little delay.
_BLOCK = 1536
_MARGIN = SHORTEST
_UTTERANCES_WAITING = 2


@dataclass(frozen=True)
class _Utterance:
    """Finished speech. span: within samples, which begin at `offset` in the stream."""

    samples: Samples
    span: Span
    offset: int
    above_noise_db: float
    speech_ms: int
    read_before: bool


@dataclass
class _Tally:
    """What the summary tells."""

    chunks: int = 0
    dropped: int = 0
    spoken_ms: Counter[str] = field(default_factory=Counter)
    dimensions: np.ndarray = field(default_factory=lambda: np.zeros(2))
    happened: Counter[Happening] = field(default_factory=Counter)
    warnings: dict[str, Warning] = field(default_factory=dict)

    def add(self, final: Final) -> None:
        length = final.end_ms - final.start_ms
        label = max(final.emotions, key=final.emotions.__getitem__)
        self.spoken_ms[label] += length
        self.dimensions += np.array((final.dimensions.valence, final.dimensions.arousal)) * length
        self.warn(final.warnings)

    def warn(self, warnings: Iterable[Warning]) -> None:
        self.warnings |= {warning.code: warning for warning in warnings}

    def summary(self, duration_ms: int) -> Summary:
        total = self.spoken_ms.total()
        valence, arousal = (self.dimensions / total).tolist() if total else (None, None)
        return Summary(
            duration_ms=duration_ms,
            processed=self.chunks,
            dropped=self.dropped,
            distribution={label: ms / total for label, ms in self.spoken_ms.items() if total},
            valence=valence,
            arousal=arousal,
            emotion_changes=self.happened[Happening.EMOTION_CHANGE],
            high_arousal_moments=self.happened[Happening.HIGH_AROUSAL],
            warnings=tuple(self.warnings.values()),
        )


class LiveSession:
    """One stream. `feed` it chunks as they come; `outbox.read()` gives what to answer.

    Times count the audio received, in ms since the first. Input is never dropped: whoever sends
    more than the inbox holds waits. Where the analysis lags, partials are left out and counted.
    """

    def __init__(
        self,
        analyzer: VoiceAnalyzer,
        options: LiveOptions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.options = options
        self.outbox = Outbox(clock)
        self._analyzer = analyzer
        self._clock = clock
        self._decoder = LiveDecoder(options.encoding, options.rate_hz)
        self._inbox = Inbox()
        self._received = 0
        self._paused = self._closed = False
        self._fast = False
        self._damages = 0
        self._damage_reported_ms = -DAMAGES_REPORTED_EVERY_MS

        self._tape = Tape()
        self._hearing = SpeechDetector(analyzer.inference)
        self._endpointer = Endpointer(0, UTTERANCE_GAP_MS)
        self._all = self._speech = Power()
        self._read_to = self._listened_to = 0
        self._read_any = False
        self._answered = False
        self._course = Course()
        self._aroused = self._unhappy = False
        self._drops_unreported = 0
        self._drops_reported_ms = -DROPS_REPORTED_EVERY_MS
        self._tally = _Tally()

        self._utterances: asyncio.Queue[_Utterance | None] = asyncio.Queue(_UTTERANCES_WAITING)
        self._language = options.language
        self._said: str | None = None
        self._listening: asyncio.Task[None] | None = None
        self._tally.warn(self.warnings)
        self._work = asyncio.create_task(self._run())

    @property
    def warnings(self) -> list[Warning]:
        """What lowers the worth of every result, as far as the options tell."""
        options, found = self.options, []
        if 0 < options.rate_hz < NARROWBAND_HZ:
            found.append(narrowband(options.rate_hz))
        if options.language or not options.transcript:
            known = self._analyzer.trained_languages
            found += trust(known, options.language, float("inf"), SHORT_MS)[1]
        return found

    @property
    def received_ms(self) -> int:
        """The clock of the stream: how much audio came."""
        return _ms(self._received)

    async def feed(self, chunk: bytes) -> None:
        """Take a chunk, once there is room for what it holds; ignored once closed.

        Raises UnsupportedMedia or InvalidAudio where the stream is not what it is declared to be.
        """
        if self._closed:
            return
        if chunk and not self._paused:
            self._tally.chunks += 1
        for samples in self._decoder.feed(chunk):
            await self._take(samples)
        await self._report_damage()

    async def pause(self) -> None:
        """Leave out what comes until resumed; its time passes. Speech going on ends."""
        self._paused = True
        await self._inbox.put(Gap(0))

    def resume(self) -> None:
        """Take chunks again."""
        self._paused = False

    async def close(self) -> None:
        """End once everything received is answered, with the summary."""
        if self._closed:
            return
        self._closed = True
        for samples in self._decoder.finish():
            await self._take(samples)
        await self._report_damage()
        self._inbox.close()

    async def limit(self, message: str) -> None:
        """Say that the stream has reached a limit, and close it."""
        await self.outbox.put(Problem("STREAM_LIMIT", message, recoverable=False))
        await self.close()

    def fail(self, error: AffectMeshError) -> None:
        """End with an error and without a summary."""
        self.abort()
        self.outbox.close(error)

    def abort(self) -> None:
        """Stop at once."""
        self._inbox.close()
        self._work.cancel()
        if self._listening is not None:
            self._listening.cancel()

    async def stopped(self) -> None:
        """Wait until nothing of it runs."""
        tasks = [self._work, *([self._listening] if self._listening else [])]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, samples: Samples) -> None:
        self._received += samples.size
        if self._paused:
            await self._inbox.put(Gap(samples.size))
            return
        if self._inbox.full and not self._fast:
            self._fast = True
            message = "Audio comes faster than it is analysed; it is read when there is room."
            await self.outbox.put(Problem("RATE_EXCEEDED", message))
        await self._inbox.put(Stretch(samples, self._clock()))

    async def _report_damage(self) -> None:
        new = self._decoder.damages - self._damages
        if new and self.received_ms - self._damage_reported_ms >= DAMAGES_REPORTED_EVERY_MS:
            self._damages, self._damage_reported_ms = self._decoder.damages, self.received_ms
            message = f"{new} parts of the {self.options.encoding} stream cannot be decoded."
            await self.outbox.put(Problem("INVALID_AUDIO", message))

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen())
                group.create_task(self._finish_utterances())
        except* AffectMeshError as failures:
            self.outbox.close(_first(failures))
        except* Exception:
            log.exception("live stream failed")
            self.outbox.close(Internal())
        else:
            await self._report_drops(0)
            await self.outbox.put(self._tally.summary(_ms(self._tape.end)))
            self.outbox.close()

    async def _listen(self) -> None:
        """Everything that comes, up to the end of the last utterance."""
        while (item := await self._inbox.get(*self._next_size())) is not None:
            if isinstance(item, Gap):
                await self._end_speech()
                self._skip(item.samples)
            else:
                await self._hear(item)
        await self._end_speech()
        await self._utterances.put(None)

    def _next_size(self) -> tuple[int, int]:
        """Least and most samples to go on with: not past the next partial."""
        most = self._until_partial() if self._endpointer.speaking else _BLOCK
        return min(_BLOCK, most), most

    def _until_partial(self) -> int:
        period_ms = PARTIAL_PER_FRAME_MS if self.options.rate is Rate.PER_FRAME else PARTIAL_MS
        return self._read_to + period_ms * SAMPLE_RATE_HZ // 1000 - self._tape.end

    async def _hear(self, stretch: Stretch) -> None:
        self._fast = self._fast and not self._inbox.eased
        self._tape.append(stretch.samples)
        self._all += Power.of(stretch.samples)
        for probability in (await self._hearing.feed(stretch.samples)).tolist():
            await self._follow(self._endpointer.step(probability))
        if not self._endpointer.speaking:
            start = self._endpointer.start
            self._tape.forget((self._tape.end if start is None else start) - _MARGIN)
        elif self._until_partial() <= 0:
            await self._read_partial(stretch.arrived_s)
            self._read_to = self._tape.end

    async def _end_speech(self) -> None:
        for probability in (await self._hearing.feed(np.zeros(0, np.float32), last=True)).tolist():
            await self._follow(self._endpointer.step(probability))
        await self._follow(self._endpointer.finish(self._tape.end))

    def _skip(self, count: int) -> None:
        self._tape.skip(count)
        self._hearing = SpeechDetector(self._analyzer.inference)
        self._endpointer = Endpointer(self._tape.end, UTTERANCE_GAP_MS)

    async def _follow(self, change: Started | Ended | None) -> None:
        if isinstance(change, Started):
            self._begin_utterance(change.start)
            self._course.begin(_ms(change.start))
            await self._happen(Event(Happening.SPEECH_STARTED, _ms(change.start)))
        elif isinstance(change, Ended):
            await self._end_utterance(change)
            if change.cut:
                self._begin_utterance(change.end)
            else:
                await self._happen(Event(Happening.SPEECH_ENDED, _ms(change.end)))

    def _begin_utterance(self, start: int) -> None:
        self._read_to = self._listened_to = start
        self._read_any, self._said = False, None
        if self._listening is not None:
            self._listening.cancel()

    async def _end_utterance(self, ended: Ended) -> None:
        spoken = Power.of(self._tape.read(ended.start, ended.end))
        self._speech += spoken
        begin = max(self._tape.start, ended.start - _MARGIN)
        utterance = _Utterance(
            samples=self._tape.read(begin, self._tape.end),
            span=Span(ended.start - begin, ended.end - begin),
            offset=begin,
            above_noise_db=self._speech.above_db(self._all - self._speech),
            speech_ms=_ms(self._speech.count),
            read_before=self._read_any,
        )
        self._tape.forget(ended.end - _MARGIN)
        await self._utterances.put(utterance)

    async def _read_partial(self, arrived_s: float) -> None:
        now_ms = _ms(self._tape.end)
        if self._clock() - arrived_s > LATEST_S:
            self._tally.dropped += 1
            self._drops_unreported += 1
            await self._report_drops(DROPS_REPORTED_EVERY_MS)
            return
        begin = self._endpointer.start or 0
        samples = self._tape.read(self._tape.end - max(PARTIAL_WINDOW, SHORTEST), self._tape.end)
        start = max(0, begin - (self._tape.end - samples.size))
        logits = await self._analyzer.emotions.read(samples, [Span(start, samples.size)])
        spoken = self._speech + Power.of(self._tape.read(begin, self._tape.end))
        emotions, _ = self._probabilities(
            logits[0], spoken.above_db(self._all - spoken), _ms(spoken.count)
        )
        self._read_any = True
        if self.options.transcript:
            self._listen_ahead(begin)
        partial = Partial(now_ms, emotions, dimensions_of(emotions), self._said)
        changed = await self._feel(emotions, partial.dimensions, now_ms)
        if self._due(emotions, changed):
            self._answered = True
            await self.outbox.put(partial)

    def _probabilities(
        self, logits: np.ndarray, above_noise_db: float, speech_ms: int
    ) -> tuple[dict[str, float], tuple[Warning, ...]]:
        known = self._analyzer.trained_languages
        worth, reasons = trust(known, self._language, above_noise_db, speech_ms)
        return self._analyzer.emotions.probabilities(logits, worth), tuple(reasons)

    def _due(self, emotions: dict[str, float], changed: bool) -> bool:
        """Whether the rate asked for sends this partial."""
        if self.options.rate is Rate.ON_CHANGE:
            return changed or not self._answered
        if self.options.rate is Rate.THRESHOLD:
            return max(emotions.values()) >= self.options.threshold
        return True

    async def _feel(self, emotions: dict[str, float], dimensions: Dimensions, now_ms: int) -> bool:
        """Tell what a reading changes; whether the primary emotion did."""
        change = self._course.update(emotions, now_ms)
        if change is not None:
            await self._happen(
                Event(
                    Happening.EMOTION_CHANGE,
                    now_ms,
                    previous=change.previous,
                    current=change.current,
                    duration_ms=change.duration_ms,
                    sudden=change.sudden,
                )
            )
        aroused, unhappy = (
            dimensions.arousal > HIGH_AROUSAL,
            dimensions.valence < NEGATIVE_VALENCE,
        )
        if aroused and not self._aroused:
            await self._happen(Event(Happening.HIGH_AROUSAL, now_ms))
        if unhappy and not self._unhappy:
            await self._happen(Event(Happening.NEGATIVE_VALENCE, now_ms))
        self._aroused, self._unhappy = aroused, unhappy
        return change is not None

    def _listen_ahead(self, start: int) -> None:
        """Recognise the utterance so far, where nobody else waits for the recogniser."""
        grown = self._tape.end - self._listened_to
        if grown < LISTENED_AHEAD or self._analyzer.transcriber.busy:
            return
        self._listened_to = self._tape.end
        so_far = self._tape.read(start, self._tape.end)

        async def recognise() -> None:
            code = languages.whisper_code(self._language)
            whole = [Span(0, so_far.size)]
            with suppress(AffectMeshError):
                found = await self._analyzer.transcriber.transcribe(so_far, whole, code)
                self._said = found.text

        self._listening = asyncio.create_task(recognise())

    async def _finish_utterances(self) -> None:
        while (utterance := await self._utterances.get()) is not None:
            final = await self._finish(utterance)
            self._tally.add(final)
            if not utterance.read_before:
                await self._feel(final.emotions, final.dimensions, final.end_ms)
            await self.outbox.put(final)

    async def _finish(self, utterance: _Utterance) -> Final:
        text = ""
        if self.options.transcript:
            code = languages.whisper_code(self._language)
            found = await self._analyzer.transcriber.transcribe(
                utterance.samples, [utterance.span], code
            )
            text = found.text
            self._language = self._language or languages.tag_of(found.language, "")
        logits = await self._analyzer.emotions.read(utterance.samples, [utterance.span])
        emotions, warnings = self._probabilities(
            logits[0], utterance.above_noise_db, utterance.speech_ms
        )
        return Final(
            start_ms=_ms(utterance.offset + utterance.span.start),
            end_ms=_ms(utterance.offset + utterance.span.end),
            text=text,
            emotions=emotions,
            dimensions=dimensions_of(emotions),
            warnings=warnings,
        )

    async def _happen(self, event: Event) -> None:
        self._tally.happened[event.happening] += 1
        await self.outbox.put(event)

    async def _report_drops(self, least_ms: int) -> None:
        now_ms = _ms(self._tape.end)
        if self._drops_unreported and now_ms - self._drops_reported_ms >= least_ms:
            dropped, self._drops_unreported = self._drops_unreported, 0
            self._drops_reported_ms = now_ms
            await self._happen(Event(Happening.INPUT_DROPPED, now_ms, dropped=dropped))


def _ms(samples: int) -> int:
    return round(samples * 1000 / SAMPLE_RATE_HZ)


def _first(failures: BaseExceptionGroup[AffectMeshError]) -> AffectMeshError:
    first = failures.exceptions[0]
    return first if isinstance(first, AffectMeshError) else _first(first)
