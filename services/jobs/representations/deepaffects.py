"""DeepAffects' form of a voice: its six words, by segment."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import orjson
from google.protobuf.message import Message

from affectmesh.v1 import jobs_pb2 as pb
from affectmesh.v1 import voice_pb2
from services.jobs.representations.file import File

WINDOW_MS = 3000
"""Length of a segment."""

WORDS: Mapping[str, str] = MappingProxyType(
    {
        "anger": "anger",
        "excitement": "excited",
        "frustration": "frustration",
        "happiness": "happy",
        "sadness": "sad",
        "neutral": "neutral",
        "boredom": "sad",
        "calm": "neutral",
        "contempt": "frustration",
        "disgust": "frustration",
        "fear": "frustration",
        "surprise": "excited",
    }
)
"""The document's word for each label of a voice. It has six; each other label takes the nearest of
them in valence and arousal, frustration being at (-0.64, 0.52) (Russell and Mehrabian 1977)."""


def render(job: pb.Job, message: Message) -> Iterator[File]:
    """The body that the job's webhook gets."""
    if isinstance(message, voice_pb2.AnalyzeVoiceResponse):
        yield _file(job, {"response": segments(message)})


def failure(job: pb.Job) -> File:
    """The body that the job's webhook gets when the job ends without a result."""
    return _file(job, {"error": {"code": job.error.code, "message": job.error.message}})


def segments(message: voice_pb2.AnalyzeVoiceResponse) -> list[dict[str, Any]]:
    """The synchronous answer: one entry a segment with speech, times in seconds."""
    return [
        {
            "emotion": WORDS[segment.emotion],
            "start": segment.start_ms / 1000,
            "end": segment.end_ms / 1000,
        }
        for segment in message.segments
    ]


def _file(job: pb.Job, body: Mapping[str, Any]) -> File:
    request_id = str(dict(job.metadata).get("request_id", job.job_id))
    content = orjson.dumps({"request_id": request_id, **body})
    return File("application/json", "emotions.json", content)
