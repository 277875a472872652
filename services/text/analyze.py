"""From text to sentiment, emotions, aspects, entities and sarcasm."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.common.inference import Inference
from services.text import aspects, entities, language, sentences
from services.text.aspects import Mention
from services.text.emotions import GROUPS, LEAST_DERIVED
from services.text.entities import Entity
from services.text.findings import (
    Analysis,
    Emotion,
    FoundEntity,
    FoundSentence,
    Item,
    Options,
    Sarcasm,
    Summary,
    Warning,
)
from services.text.language import Language, LanguageDetector
from services.text.languages import ENGLISH
from services.text.limits import check, check_batch
from services.text.model import MULTILINGUAL, Reading, TextModel, pool
from services.text.sentences import Sentence, Window
from services.text.sentiment import sentiment
from services.text.tokens import Tokens, spell_emoji

THREAD_CHARACTERS = 5_000
"""Texts longer than this are tokenised off the event loop."""

OTHER_LANGUAGE_FACTOR = 0.5
"""What confidences are multiplied by for a language the model was not trained on."""
NO_WORDS_FACTOR = 0.5
"""Likewise for a text without a single letter: only emoji, digits or punctuation."""
MULTILINGUAL_FACTOR = 0.8
"""Likewise for the languages of the multilingual model, which learnt affect from English."""
LEAST_KNOWN = 0.5
"""Share of tokens in the vocabulary below which a text counts as unreadable."""

EVERYTHING = Options()


@dataclass(frozen=True, slots=True)
class _Parsed:
    """One checked text, tokenised, with its windows and what is already known against it."""

    text: str
    model: TextModel
    tokens: Tokens
    windows: list[Window]
    language: Language
    factor: float
    warnings: tuple[Warning, ...]


class TextAnalyzer:
    """Analyses texts with the models behind an inference interface."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._english = TextModel(inference)
        self._multilingual: TextModel | None = None
        self._detector = LanguageDetector()

    async def analyze(self, text: str, tag: str = "", options: Options = EVERYTHING) -> Analysis:
        """Everything the options ask about a text of 1 to 100,000 code points.

        tag: BCP 47 tag, or "" to detect the language. A text longer than a window of
        62 tokens is read in windows of whole sentences; probabilities and polarity are then means
        over windows weighted by tokens. Raises InvalidText, PayloadTooLarge, InvalidRequest.
        """
        check(text)
        parsed = await self._parse([(text, tag)])
        return (await self._analyze(parsed, options))[0]

    async def analyze_batch(
        self, items: Sequence[Item], tag: str = ""
    ) -> tuple[list[Analysis], Summary]:
        """Sentiment and emotions of up to 1,000 texts in order; each padded length runs together.

        tag: language of texts that name none. Raises InvalidRequest for missing or repeated
        ids, InvalidText naming the text, PayloadTooLarge.
        """
        check_batch(items)
        parsed = await self._parse([(item.text, item.language or tag) for item in items])
        options = Options(aspects=False, entities=False, dimensions=False)
        found = await self._analyze(parsed, options)
        return found, summary(found)

    async def _parse(self, texts: Sequence[tuple[str, str]]) -> list[_Parsed]:
        if sum(len(text) for text, _ in texts) > THREAD_CHARACTERS:
            spoken = await asyncio.to_thread(self._hear, texts)
            models = await self._models(spoken)
            return await asyncio.to_thread(self._tokenise, texts, spoken, models)
        spoken = self._hear(texts)
        return self._tokenise(texts, spoken, await self._models(spoken))

    def _hear(self, texts: Sequence[tuple[str, str]]) -> list[Language]:
        return [self._language(text, tag) for text, tag in texts]

    def _language(self, text: str, tag: str) -> Language:
        if tag:
            return language.given(tag)
        if any(map(str.isalpha, text)):
            return self._detector.detect(text)
        return Language(ENGLISH, uncertain=True)

    async def _models(self, spoken: Sequence[Language]) -> list[TextModel]:
        """The model of each language; the multilingual one is loaded when it is first needed."""
        if self._multilingual is None and any(one.multilingual for one in spoken):
            await self._inference.load(MULTILINGUAL.affect, MULTILINGUAL.dimensions)
            self._multilingual = await asyncio.to_thread(TextModel, self._inference, MULTILINGUAL)
        other = self._multilingual or self._english
        return [other if one.multilingual else self._english for one in spoken]

    def _tokenise(
        self,
        texts: Sequence[tuple[str, str]],
        spoken: Sequence[Language],
        models: Sequence[TextModel],
    ) -> list[_Parsed]:
        read: dict[int, Tokens] = {}
        for model, members in _by_model(models):
            tokens = model.reader.read_all([texts[i][0] for i in members])
            read.update(zip(members, tokens, strict=True))
        return [
            self._judge(text, one, model, read[i])
            for i, ((text, _), one, model) in enumerate(zip(texts, spoken, models, strict=True))
        ]

    def _judge(self, text: str, spoken: Language, model: TextModel, tokens: Tokens) -> _Parsed:
        warnings: list[Warning] = []
        factor = 1.0
        wordy = any(map(str.isalpha, text))
        if not wordy:
            factor *= NO_WORDS_FACTOR
            emoji = spell_emoji(text)[1] is not None
            warnings.append(
                Warning(
                    "NO_WORDS",
                    "The text has no words, only "
                    + ("emoji, read by their names." if emoji else "digits or punctuation."),
                )
            )
        elif spoken.uncertain:
            warnings.append(
                Warning(
                    "LANGUAGE_UNCERTAIN",
                    "The text is too short to tell its language; English is assumed.",
                )
            )
        if spoken.multilingual:
            factor *= MULTILINGUAL_FACTOR
        elif not spoken.english:
            factor *= OTHER_LANGUAGE_FACTOR
            warnings.append(
                Warning(
                    "LANGUAGE_NOT_SUPPORTED",
                    f'No model was made for "{spoken.tag}"; read by the English one, every result '
                    "is a rough guess and its confidence is lowered.",
                )
            )
        known = model.reader.known_share(tokens)
        if known < LEAST_KNOWN:
            factor *= known
            warnings.append(
                Warning("UNREADABLE", "Most of the text is outside the model's vocabulary.")
            )
        return _Parsed(
            text, model, tokens, sentences.windows(tokens, text), spoken, factor, tuple(warnings)
        )

    async def _analyze(self, parsed: Sequence[_Parsed], options: Options) -> list[Analysis]:
        readings: dict[int, list[Reading]] = {}
        for model, members in _by_model([one.model for one in parsed]):
            windows = [(parsed[i].tokens, w) for i in members for w in parsed[i].windows]
            found = iter(await model.read(windows, dimensions=options.dimensions))
            readings.update((i, [next(found) for _ in parsed[i].windows]) for i in members)
        return [await self._assemble(one, readings[i], options) for i, one in enumerate(parsed)]

    async def _assemble(
        self, one: _Parsed, readings: Sequence[Reading], options: Options
    ) -> Analysis:
        left_out = () if one.model.names.full else _left_out(options, one.language)
        if left_out:
            options = replace(options, aspects=False, entities=False, sarcasm=False)
        pooled = pool(readings)
        sarcasm = self._sarcasm(one, pooled) if options.sarcasm else None
        emotions = self._emotions(one, pooled)
        mentions = self._mentions(one, readings) if options.aspects or options.entities else []
        named = self._entities(one, readings, mentions) if options.entities else []
        spans = sentences.split(one.text) if named or options.sentences else []
        if not options.sentences:
            spans = [s for s in spans if any(s.start <= e.start < s.end for e in named)]
        parts = await self._read_sentences(one, readings, spans)
        heard = [self._emotions(one, part)[0] for part in parts]
        return Analysis(
            length=len(one.text),
            language=one.language.tag,
            sentiment=sentiment(pooled, sarcasm, one.factor),
            emotions=emotions,
            dimensions=tuple(pooled.dimensions.tolist()) if options.dimensions else None,
            aspects=tuple(
                replace(a, confidence=a.confidence * one.factor) for a in aspects.gather(mentions)
            )
            if options.aspects
            else (),
            entities=tuple(
                FoundEntity(
                    replace(entity, confidence=entity.confidence * one.factor),
                    _emotion_at(entity.start, spans, heard),
                )
                for entity in named
            ),
            sarcasm=sarcasm,
            sentences=tuple(
                FoundSentence(span.start, span.end, sentiment(part, None, one.factor), emotion)
                for span, part, emotion in zip(spans, parts, heard, strict=True)
            )
            if options.sentences
            else (),
            warnings=one.warnings + left_out,
            models=(one.model.info, one.model.dimensions_info)
            if options.dimensions
            else (one.model.info,),
        )

    async def _read_sentences(
        self, one: _Parsed, readings: Sequence[Reading], spans: Sequence[Sentence]
    ) -> list[Reading]:
        """A reading for each of some sentences; a text of one sentence has been read already."""
        if len(spans) == 1 and len(spans) == len(sentences.split(one.text)):
            return [pool(readings)]
        ranges = sentences.token_ranges(one.tokens, spans)
        pieces = [list(sentences.cut(one.tokens, r)) for r in ranges]
        read = iter(await one.model.read([(one.tokens, w) for part in pieces for w in part]))
        return [pool([next(read) for _ in part]) for part in pieces]

    def _mentions(self, one: _Parsed, readings: Sequence[Reading]) -> list[Mention]:
        return [
            mention
            for window, reading in zip(one.windows, readings, strict=True)
            for mention in one.model.mentions(one.text, one.tokens, window, reading)
        ]

    def _entities(
        self, one: _Parsed, readings: Sequence[Reading], mentions: Sequence[Mention]
    ) -> list[Entity]:
        tagged = [
            entity
            for window, reading in zip(one.windows, readings, strict=True)
            for entity in one.model.entities(one.text, one.tokens, window, reading)
            if entity.confidence >= entities.LEAST_CONFIDENCE
        ]
        return entities.with_products(tagged, mentions)

    def _emotions(self, one: _Parsed, reading: Reading) -> tuple[Emotion, ...]:
        """The likeliest group, then all that pass their thresholds, most confident first.

        A derived label is never more confident than the likeliest group.
        """
        table, thresholds, factor = one.model.table, one.model.calibration.thresholds, one.factor
        groups = dict(zip(GROUPS, reading.groups.tolist(), strict=True))
        primary = max(groups, key=lambda name: groups[name])
        found = [
            Emotion(name, p * factor)
            for name, p in groups.items()
            if name != primary and p >= thresholds[f"group.{name}"]
        ]
        for name, place in table.fine.items():
            p = float(reading.labels[place])
            if p >= thresholds[f"emotion.{table.labels[place]}"]:
                found.append(Emotion(name, p * factor))
        for name, p in table.derive(reading.labels).items():
            if p >= LEAST_DERIVED:
                found.append(Emotion(name, min(p, groups[primary]) * factor, derived=True))
        found.sort(key=lambda emotion: -emotion.confidence)
        return (Emotion(primary, groups[primary] * factor), *found)

    def _sarcasm(self, one: _Parsed, reading: Reading) -> Sarcasm:
        threshold = one.model.calibration.thresholds["sarcasm"]
        return Sarcasm(reading.sarcasm >= threshold, reading.sarcasm * one.factor)


def _by_model(models: Sequence[TextModel]) -> list[tuple[TextModel, list[int]]]:
    """Each model that is used, with the places of its texts."""
    used = {id(model): model for model in models}
    return [(model, [i for i, one in enumerate(models) if one is model]) for model in used.values()]


def _left_out(options: Options, spoken: Language) -> tuple[Warning, ...]:
    """The warning for parts that were asked for and that the multilingual model cannot say."""
    asked = [name for name in ("aspects", "entities", "sarcasm") if getattr(options, name)]
    if not asked:
        return ()
    return (
        Warning(
            "OPTION_NOT_SUPPORTED",
            f'For "{spoken.tag}" there is no model of {" and ".join(asked)}; left out.',
        ),
    )


def summary(found: Sequence[Analysis]) -> Summary:
    """Mean polarity and counts by direction."""
    labels = [one.sentiment.label for one in found]
    return Summary(
        float(np.mean([one.sentiment.polarity for one in found])),
        sum(label.endswith("positive") for label in labels),
        sum(label.endswith("negative") for label in labels),
        labels.count("neutral"),
    )


def _emotion_at(place: int, spans: Sequence[Sentence], heard: Sequence[Emotion]) -> str:
    for span, emotion in zip(spans, heard, strict=True):
        if span.start <= place < span.end:
            return emotion.label
    return heard[0].label
