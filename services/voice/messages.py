"""Live streams in the words of the contract."""

from __future__ import annotations

from collections.abc import Iterable

from affectmesh.v1 import types_pb2, voice_pb2
from services.common import live, results
from services.common.live import Event, Problem, Rate
from services.voice.analyze import Dimensions
from services.voice.live_options import LiveOptions
from services.voice.outputs import Final, Output, Partial, Summary
from services.voice.trust import Warning


def live_options(config: voice_pb2.StreamVoiceConfig) -> LiveOptions:
    """What a config asks for. Raises InvalidRequest."""
    return LiveOptions(
        encoding=config.encoding,
        rate_hz=config.sample_rate_hz,
        language=config.language,
        transcript=config.return_transcript,
        rate=live.rate(config.output, Rate.PER_SECOND),
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
            return voice_pb2.StreamVoiceResponse(event=live.event(output))
        case Problem():
            return voice_pb2.StreamVoiceResponse(error=live.problem(output))
        case Summary():
            summary = live.summary(output)
            summary.warnings.extend(warned(output.warnings))
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


def _dimensions(found: Dimensions) -> types_pb2.Dimensions:
    return types_pb2.Dimensions(
        valence=round(found.valence, 4), arousal=round(found.arousal, 4), derived=True
    )
