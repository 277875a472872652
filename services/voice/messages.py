"""Live streams in the words of the contract."""

from __future__ import annotations

from collections.abc import Iterable

from affectmesh.v1 import types_pb2, voice_pb2
from services.common import results
from services.common.errors import InvalidRequest
from services.voice.analyze import Dimensions
from services.voice.live_options import LiveOptions, Rate
from services.voice.outputs import Event, Final, Happening, Output, Partial, Problem, Summary
from services.voice.trust import Warning

_RATES = {
    types_pb2.OUTPUT_RATE_UNSPECIFIED: Rate.PER_SECOND,
    types_pb2.OUTPUT_RATE_PER_FRAME: Rate.PER_FRAME,
    types_pb2.OUTPUT_RATE_PER_SECOND: Rate.PER_SECOND,
    types_pb2.OUTPUT_RATE_ON_CHANGE: Rate.ON_CHANGE,
    types_pb2.OUTPUT_RATE_THRESHOLD: Rate.THRESHOLD,
}
_TYPES = {
    Happening.SPEECH_STARTED: types_pb2.STREAM_EVENT_TYPE_SPEECH_STARTED,
    Happening.SPEECH_ENDED: types_pb2.STREAM_EVENT_TYPE_SPEECH_ENDED,
    Happening.EMOTION_CHANGE: types_pb2.STREAM_EVENT_TYPE_EMOTION_CHANGE,
    Happening.HIGH_AROUSAL: types_pb2.STREAM_EVENT_TYPE_HIGH_AROUSAL,
    Happening.NEGATIVE_VALENCE: types_pb2.STREAM_EVENT_TYPE_NEGATIVE_VALENCE,
    Happening.INPUT_DROPPED: types_pb2.STREAM_EVENT_TYPE_INPUT_DROPPED,
}


def live_options(config: voice_pb2.StreamVoiceConfig) -> LiveOptions:
    """What a config asks for. Raises InvalidRequest."""
    if config.output.rate not in _RATES:
        raise InvalidRequest(
            f"output.rate {config.output.rate} is unknown.",
            field="config.output.rate",
            suggestion="Give one of the rates of the contract.",
        )
    return LiveOptions(
        encoding=config.encoding,
        rate_hz=config.sample_rate_hz,
        language=config.language,
        transcript=config.return_transcript,
        rate=_RATES[config.output.rate],
        threshold=config.output.threshold,
    )


def live_ready(
    received_ms: int, warnings: Iterable[Warning], provenance: Iterable[types_pb2.Provenance]
) -> voice_pb2.StreamVoiceResponse:
    """The first message of a stream."""
    return voice_pb2.StreamVoiceResponse(
        ready=voice_pb2.StreamVoiceReady(
            received_ms=received_ms, warnings=warned(warnings), provenance=provenance
        )
    )


def live_response(
    output: Output, asked: types_pb2.StreamOutput, provenance: Iterable[types_pb2.Provenance]
) -> voice_pb2.StreamVoiceResponse:
    """A further message of a stream; the summary names the models."""
    match output:
        case Partial():
            return voice_pb2.StreamVoiceResponse(partial=_partial(output, asked))
        case Final():
            return voice_pb2.StreamVoiceResponse(
                final=voice_pb2.StreamVoiceFinal(segment=_segment(output, asked))
            )
        case Event():
            return voice_pb2.StreamVoiceResponse(event=_event(output))
        case Problem():
            return voice_pb2.StreamVoiceResponse(
                error=types_pb2.StreamError(
                    code=output.code, message=output.message, recoverable=output.recoverable
                )
            )
        case Summary():
            summary = _summary(output)
            summary.provenance.extend(provenance)
            return voice_pb2.StreamVoiceResponse(summary=summary)


def warned(found: Iterable[Warning]) -> list[types_pb2.Warning]:
    """Warnings."""
    return [types_pb2.Warning(code=one.code, message=one.message) for one in found]


def _partial(found: Partial, asked: types_pb2.StreamOutput) -> voice_pb2.StreamVoicePartial:
    emotions = results.emotions(found.emotions)
    return voice_pb2.StreamVoicePartial(
        timestamp_ms=found.timestamp_ms,
        emotion=emotions.primary,
        all=emotions.all if asked.include_raw_scores else (),
        dimensions=_dimensions(found.dimensions) if asked.include_dimensions else None,
        transcript=found.transcript,
    )


def _segment(found: Final, asked: types_pb2.StreamOutput) -> voice_pb2.StreamVoiceSegment:
    return voice_pb2.StreamVoiceSegment(
        start_ms=found.start_ms,
        end_ms=found.end_ms,
        text=found.text,
        emotion=results.emotions(found.emotions).primary,
        dimensions=_dimensions(found.dimensions) if asked.include_dimensions else None,
        warnings=warned(found.warnings),
    )


def _event(found: Event) -> types_pb2.StreamEvent:
    trigger = None
    if found.sudden is not None:
        trigger = "sudden" if found.sudden else "gradual"
    return types_pb2.StreamEvent(
        type=_TYPES[found.happening],
        timestamp_ms=found.timestamp_ms,
        previous_emotion=found.previous,
        current_emotion=found.current,
        transition_duration_ms=found.duration_ms,
        trigger=trigger,
        dropped_count=found.dropped,
    )


def _summary(found: Summary) -> types_pb2.SessionSummary:
    return types_pb2.SessionSummary(
        duration_ms=found.duration_ms,
        frames_processed=found.chunks,
        frames_dropped=found.dropped,
        emotion_distribution={label: round(p, 4) for label, p in found.distribution.items()},
        average_dimensions=_dimensions(found.dimensions) if found.dimensions else None,
        emotion_changes=found.emotion_changes,
        high_arousal_moments=found.high_arousal_moments,
        warnings=warned(found.warnings),
    )


def _dimensions(found: Dimensions) -> types_pb2.Dimensions:
    return types_pb2.Dimensions(
        valence=round(found.valence, 4), arousal=round(found.arousal, 4), derived=True
    )
