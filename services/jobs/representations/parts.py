"""Parts of a recording's analysis that its JSON forms share."""

from typing import Any

from google.protobuf.message import Message

from affectmesh.v1 import fusion_pb2


def optional(message: Message, name: str) -> Any:
    """A field where it is set, otherwise None."""
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.has_presence and not message.HasField(name):
        return None
    return getattr(message, name)


def key_moments(analysis: fusion_pb2.RecordingAnalysis) -> list[dict[str, Any]]:
    """Each with its end and evidence."""
    return [
        {
            "timestamp_ms": one.timestamp_ms,
            "type": one.type,
            "score": one.score,
            "end_ms": one.end_ms,
            "evidence": list(one.evidence),
        }
        for one in analysis.key_moments
    ]


def consistency(analysis: fusion_pb2.RecordingAnalysis) -> dict[str, Any] | None:
    """The honesty score with all it is made of; None where it was not measured."""
    if not analysis.HasField("honesty"):
        return None
    found = analysis.honesty
    return {
        "score": found.score,
        "components": dict(sorted(found.components.items())),
        "weights": dict(sorted(found.weights.items())),
        "interpretation": found.interpretation,
    }


def body_language(analysis: fusion_pb2.RecordingAnalysis) -> dict[str, Any]:
    """What was measured, by name."""
    return {
        cue.name: {"value": cue.value, "unit": cue.unit, "measured_ms": cue.measured_ms}
        for cue in analysis.body_language
    }


def warnings(analysis: fusion_pb2.RecordingAnalysis) -> list[dict[str, str]]:
    """What lowers the worth of the result."""
    return [{"code": one.code, "message": one.message} for one in analysis.warnings]


def models(analysis: fusion_pb2.RecordingAnalysis) -> list[dict[str, str]]:
    """Which models said so."""
    return [
        {
            "model": one.model,
            "version": one.version,
            "digest": one.digest,
            "calibration": one.calibration,
        }
        for one in analysis.provenance
    ]
