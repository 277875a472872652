"""Affectiva's forms of faces: session.v0 and metrics.v0 in JSON, and CSV.

Metrics have Affectiva's names and scales: 0 to 100, valence -100 to 100, angles in degrees.
docs/affectiva.md says which are measured, which derived, and which of Affectiva's are absent.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from google.protobuf.message import Message

from affectmesh.v1 import face_pb2
from affectmesh.v1 import jobs_pb2 as pb
from services.jobs.representations.file import File

SESSION = "application/vnd.affectiva.session.v0+json"
METRICS = "application/vnd.affectiva.metrics.v0+json"
CSV = "application/csv"

NO_FACE = "TF"
"""What stands for every metric of a frame in which no face was found."""

TIME, TIME_OF_PACK = "time stamp (msec)", "TimeStamp(msec)"
"""The document gives both names to the times of metrics.v0."""

PACKS = {"current-pack": "affectmesh", "ct-pack-linear": "ct-linear", "ct-pack-hybrid": "ct-hybrid"}
"""The `pack` of each job that gives metrics.v0. The names of ct-pack jobs say how their metrics are
named; all are measured by the same models."""


@dataclass(frozen=True)
class Metric:
    """A metric: its friendly name, its name in the CT pack, what it is read from, and how."""

    name: str
    pack_name: str
    classifier: str
    read: Callable[[face_pb2.Face], float]


def _emotion(name: str, label: str) -> Metric:
    def read(face: face_pb2.Face) -> float:
        return next((100 * one.confidence for one in face.emotions.all if one.label == label), 0.0)

    return Metric(name, f"{name}ct", f"face_expression/{label}", read)


def _unit(name: str, pack_name: str, au: str) -> Metric:
    def read(face: face_pb2.Face) -> float:
        return next((100 * one.intensity for one in face.action_units if one.au == au), 0.0)

    return Metric(name, pack_name, f"face_blendshapes/{au}", read)


def _measure(name: str, classifier: str, read: Callable[[face_pb2.Face], float]) -> Metric:
    return Metric(name, name, classifier, read)


def _engagement(face: face_pb2.Face) -> float:
    """How far the face is from neutral."""
    return 100 - _NEUTRAL.read(face)


_NEUTRAL = _emotion("neutral", "neutral")

TABLE: Sequence[Metric] = (
    _emotion("anger", "anger"),
    _emotion("contempt", "contempt"),
    _emotion("disgust", "disgust"),
    _emotion("fear", "fear"),
    _emotion("joy", "happiness"),
    _emotion("sadness", "sadness"),
    _emotion("surprise", "surprise"),
    Metric("engagement", "engagementct", "1 - face_expression/neutral", _engagement),
    Metric("valence", "valencect", "valence", lambda face: 100 * face.dimensions.valence),
    Metric("attention", "attentionct", "pose", lambda face: 100 * face.quality.frontality),
    _unit("brow furrow", "au04ct", "AU4"),
    _unit("brow raise", "au02ct", "AU2"),
    _unit("chin raise", "au17ct", "AU17"),
    _unit("eye closure", "au43ct", "AU45"),
    _unit("eye widen", "au05ct", "AU5"),
    _unit("inner brow raise", "au01ct", "AU1"),
    _unit("jaw drop", "au26ct", "AU26"),
    _unit("lip corner depressor", "au15ct", "AU15"),
    _unit("lip stretch", "au20ct", "AU20"),
    _unit("smile", "smilect", "AU12"),
    _measure("pitch", "pose", lambda face: face.pose.pitch),
    _measure("yaw", "pose", lambda face: face.pose.yaw),
    _measure("roll", "pose", lambda face: face.pose.roll),
    _measure("interocular distance", "landmarks", lambda face: face.interocular_px),
    _measure("mean face luminance", "pixels", lambda face: face.luminance),
)
"""Every metric given."""


def render(job: pb.Job, message: Message) -> Iterator[File]:
    """JSON and CSV of the faces of a video or image, by the name of the job."""
    if not isinstance(message, face_pb2.AnalyzeFaceVideoResponse):
        return
    metadata = dict(job.metadata)
    name = f"{metadata.get('file_name', 'media')}-metrics"
    pack = PACKS.get(str(metadata.get("name")))
    if pack is None:
        yield File(SESSION, f"{name}.json", orjson.dumps(session(message.timeline)))
        yield File(CSV, f"{name}.csv", _session_table(message.timeline))
    else:
        found = metrics(message.timeline, pack)
        yield File(METRICS, f"{name}.json", orjson.dumps(found))
        yield File(CSV, f"{name}.csv", _metrics_table(found["metrics"]))


def session(timeline: Iterable[face_pb2.FaceFrame]) -> dict[str, Any]:
    """session.v0: every metric of every face of every frame; time in seconds."""
    return {
        "content_type": SESSION,
        "configuration": {metric.name: metric.classifier for metric in TABLE},
        "frames": [
            {
                "time": frame.timestamp_ms / 1000,
                "faces": {
                    str(face.face_id): {metric.name: _value(metric, face) for metric in TABLE}
                    for face in frame.faces
                },
            }
            for frame in timeline
        ],
    }


def metrics(timeline: Iterable[face_pb2.FaceFrame], pack: str) -> dict[str, Any]:
    """metrics.v0: each metric of the largest face of every frame, in arrays of one length."""
    frames = list(timeline)
    raw = pack != PACKS["current-pack"]
    times = [frame.timestamp_ms for frame in frames]
    named = {metric.pack_name if raw else metric.name: metric for metric in TABLE}
    return {
        "content_type": METRICS,
        "pack": pack,
        "metric_map": {metric.name: metric.pack_name for metric in TABLE},
        "metrics": {
            TIME: times,
            TIME_OF_PACK: times,
            **{
                name: [
                    _value(metric, frame.faces[0]) if frame.faces else NO_FACE for frame in frames
                ]
                for name, metric in named.items()
            },
        },
    }


def _value(metric: Metric, face: face_pb2.Face) -> float:
    return round(metric.read(face), 4)


def _session_table(timeline: Iterable[face_pb2.FaceFrame]) -> bytes:
    """One row a face and frame; a frame without a face has one row."""
    rows: list[list[object]] = [[TIME, "face", *(metric.name for metric in TABLE)]]
    for frame in timeline:
        for face in frame.faces:
            values = (_value(metric, face) for metric in TABLE)
            rows.append([frame.timestamp_ms, face.face_id, *values])
        if not frame.faces:
            rows.append([frame.timestamp_ms, NO_FACE, *(NO_FACE for _ in TABLE)])
    return _table(rows)


def _metrics_table(found: dict[str, list[object]]) -> bytes:
    columns = {name: values for name, values in found.items() if name != TIME_OF_PACK}
    return _table([list(columns), *map(list, zip(*columns.values(), strict=True))])


def _table(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
