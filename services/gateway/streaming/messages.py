"""What streams say, as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from affectmesh.v1 import types_pb2

_EVENT_PREFIX = "STREAM_EVENT_TYPE_"


def emotion(found: types_pb2.Emotion) -> dict[str, Any]:
    """An emotion."""
    out: dict[str, Any] = {"label": found.label, "confidence": found.confidence}
    return {**out, "derived": True} if found.derived else out


def dimensions(found: types_pb2.Dimensions) -> dict[str, float]:
    """The dimensions that were measured."""
    return {
        name: getattr(found, name)
        for name in ("valence", "arousal", "dominance")
        if found.HasField(name)
    }


def event_type(event: types_pb2.StreamEvent) -> str:
    """The event's name in lower case."""
    name = types_pb2.StreamEventType.Name(event.type)
    return name.removeprefix(_EVENT_PREFIX).lower()


def event(found: types_pb2.StreamEvent) -> dict[str, Any]:
    """An event with the fields that it has, at the service's own time."""
    out: dict[str, Any] = {"event_type": event_type(found), "timestamp_ms": found.timestamp_ms}
    for field, value in found.ListFields():
        if field.name not in ("type", "timestamp_ms"):
            out[field.name] = value
    return out


def error(found: types_pb2.StreamError) -> dict[str, Any]:
    """An error."""
    return {
        "code": found.code,
        "message": found.message,
        "frame_number": found.frame_number if found.HasField("frame_number") else None,
        "recoverable": found.recoverable,
    }


def warnings(found: Iterable[types_pb2.Warning]) -> list[dict[str, str]]:
    """Warnings."""
    return [{"code": one.code, "message": one.message} for one in found]


def provenance(found: Iterable[types_pb2.Provenance]) -> list[dict[str, str]]:
    """The models used, with the fields that they have."""
    return [{field.name: value for field, value in one.ListFields()} for one in found]


def summary(found: Iterable[types_pb2.SessionSummary], dropped: int) -> dict[str, Any]:
    """One summary of a stream from its modalities'; shares and means count each the same.

    `dropped` is what the gateway dropped before the services.
    """
    parts = list(found)
    doubts = {one.code: one for part in parts for one in part.warnings}
    models = [one for part in parts for one in part.provenance]
    out: dict[str, Any] = {
        "duration_ms": max((part.duration_ms for part in parts), default=0),
        "frames_processed": sum(part.frames_processed for part in parts),
        "frames_dropped": dropped + sum(part.frames_dropped for part in parts),
        "emotion_distribution": _mean([part.emotion_distribution for part in parts], 0.0),
        "average_dimensions": _mean([dimensions(part.average_dimensions) for part in parts], None),
        "events": {
            "emotion_changes": sum(part.emotion_changes for part in parts),
            "high_arousal_moments": sum(part.high_arousal_moments for part in parts),
        },
    }
    if doubts:
        out["warnings"] = warnings(doubts.values())
    if models:
        out["provenance"] = provenance(models)
    return out


def _mean(parts: Sequence[Mapping[str, float]], absent: float | None) -> dict[str, float]:
    """The mean of each name; a part without it counts as `absent`, or not at all."""
    there = [part for part in parts if part]
    out = {}
    for name in sorted({name for part in there for name in part}):
        values = [part.get(name, absent) for part in there]
        known = [value for value in values if value is not None]
        out[name] = round(sum(known) / len(known), 4)
    return out
