"""The text service's contract."""

from collections.abc import Sequence
from typing import Any, TypeVar

import grpc

from affectmesh.v1 import text_pb2, text_pb2_grpc, types_pb2
from services.common import results
from services.common.results import Stopwatch
from services.common.server import Service
from services.text.analyze import EVERYTHING, TextAnalyzer
from services.text.aspects import Aspect
from services.text.findings import (
    Analysis,
    Emotion,
    FoundEntity,
    FoundSentence,
    Item,
    Options,
    Sentiment,
    Warning,
)
from services.text.model import ENGLISH


class TextServicer(text_pb2_grpc.TextServiceServicer):
    """Answers for the text analyzer."""

    def __init__(self, analyzer: TextAnalyzer) -> None:
        self._analyzer = analyzer

    async def AnalyzeText(
        self, request: text_pb2.AnalyzeTextRequest, context: Any
    ) -> text_pb2.AnalyzeTextResponse:
        watch = Stopwatch()
        asked = _options(request.options)
        found = await self._analyzer.analyze(request.text, request.language, asked)
        response = text_pb2.AnalyzeTextResponse(
            text_length=found.length,
            language=found.language,
            sentiment=_sentiment(found.sentiment),
            emotions=types_pb2.Emotions(
                primary=_emotion(found.emotions[0]), all=map(_emotion, found.emotions)
            ),
            dimensions=_dimensions(found),
            aspects=map(_aspect, found.aspects),
            entities=map(_entity, found.entities),
            sarcasm=_sarcasm(found),
            sentences=map(_sentence, found.sentences),
            warnings=_warnings(found.warnings),
            provenance=map(results.provenance, found.models),
        )
        return _headed(response, watch)

    async def AnalyzeTextBatch(
        self, request: text_pb2.AnalyzeTextBatchRequest, context: Any
    ) -> text_pb2.AnalyzeTextBatchResponse:
        watch = Stopwatch()
        items = [Item(one.id, one.text, one.language) for one in request.texts]
        found, summary = await self._analyzer.analyze_batch(items, request.language)
        models = {model.name: model for one in found for model in one.models}.values()
        response = text_pb2.AnalyzeTextBatchResponse(
            results=[
                text_pb2.BatchTextResult(
                    id=item.id,
                    sentiment=_sentiment(one.sentiment),
                    emotion=_emotion(one.emotions[0]),
                    language=one.language,
                    warnings=_warnings(one.warnings),
                )
                for item, one in zip(items, found, strict=True)
            ],
            summary=text_pb2.BatchSummary(
                average_sentiment=round(summary.average_sentiment, 4),
                positive_count=summary.positive,
                negative_count=summary.negative,
                neutral_count=summary.neutral,
            ),
            provenance=map(results.provenance, models),
        )
        return _headed(response, watch)


_Response = TypeVar("_Response", text_pb2.AnalyzeTextResponse, text_pb2.AnalyzeTextBatchResponse)


def _headed(response: _Response, watch: Stopwatch) -> _Response:
    for name, value in watch.head().items():
        setattr(response, name, value)
    return response


def _options(asked: text_pb2.TextOptions) -> Options:
    given = {field.name: value for field, value in asked.ListFields()}
    return Options(
        aspects=given.get("return_aspects", EVERYTHING.aspects),
        entities=given.get("return_entities", EVERYTHING.entities),
        sarcasm=given.get("detect_sarcasm", EVERYTHING.sarcasm),
        dimensions=given.get("return_dimensions", EVERYTHING.dimensions),
        sentences=given.get("return_sentences", EVERYTHING.sentences),
    )


def _sentiment(found: Sentiment) -> text_pb2.Sentiment:
    return text_pb2.Sentiment(
        polarity=round(found.polarity, 4),
        subjectivity=round(found.subjectivity, 4),
        label=found.label,
        confidence=round(found.confidence, 4),
    )


def _emotion(found: Emotion) -> types_pb2.Emotion:
    return results.emotion(found.label, found.confidence, found.derived)


def _dimensions(found: Analysis) -> types_pb2.Dimensions | None:
    if found.dimensions is None:
        return None
    valence, arousal, dominance = (round(value, 4) for value in found.dimensions)
    return types_pb2.Dimensions(valence=valence, arousal=arousal, dominance=dominance)


def _aspect(found: Aspect) -> text_pb2.Aspect:
    return text_pb2.Aspect(
        aspect=found.name,
        sentiment=round(found.sentiment, 4),
        mentions=[mention.text for mention in found.mentions],
        confidence=round(found.confidence, 4),
    )


def _entity(found: FoundEntity) -> text_pb2.Entity:
    return text_pb2.Entity(
        text=found.entity.text,
        type=found.entity.type,
        emotion=found.emotion,
        sentiment=round(found.entity.sentiment, 4),
        start=found.entity.start,
        end=found.entity.end,
        confidence=round(found.entity.confidence, 4),
    )


def _sarcasm(found: Analysis) -> text_pb2.Sarcasm | None:
    if found.sarcasm is None:
        return None
    return text_pb2.Sarcasm(
        detected=found.sarcasm.detected, confidence=round(found.sarcasm.confidence, 4)
    )


def _sentence(found: FoundSentence) -> text_pb2.Sentence:
    return text_pb2.Sentence(
        start=found.start,
        end=found.end,
        sentiment=_sentiment(found.sentiment),
        emotion=_emotion(found.emotion),
    )


def _warnings(found: Sequence[Warning]) -> list[types_pb2.Warning]:
    return [types_pb2.Warning(code=one.code, message=one.message) for one in found]


async def register(server: grpc.aio.Server, service: Service) -> str:
    """Adds the text service to a server."""
    await service.inference.load(ENGLISH.affect, ENGLISH.dimensions)
    servicer = TextServicer(TextAnalyzer(service.inference))
    text_pb2_grpc.add_TextServiceServicer_to_server(servicer, server)
    return str(text_pb2.DESCRIPTOR.services_by_name["TextService"].full_name)
