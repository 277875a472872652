"""Phonexia's form of a voice: the probability of every emotion, by channel."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import orjson
from google.protobuf.message import Message

from affectmesh.v1 import jobs_pb2 as pb
from affectmesh.v1 import voice_pb2
from services.jobs.representations.file import File

FILE_NAME = "result.json"

WORDS: Mapping[str, str] = MappingProxyType(
    {"anger": "angry", "happiness": "happy", "sadness": "sad"}
)
"""Phonexia's words where they are not ours; what it has no word for keeps ours."""


def render(job: pb.Job, message: Message) -> Iterator[File]:
    """The `result` of the job's task."""
    if isinstance(message, voice_pb2.AnalyzeVoiceResponse):
        yield File("application/json", FILE_NAME, orjson.dumps(result(message)))


def result(message: voice_pb2.AnalyzeVoiceResponse) -> dict[str, Any]:
    """One entry a channel, or one as channel 0 of the mix. Without speech there are no scores."""
    if message.channels:
        return {"channels": [_channel(one.channel, one) for one in message.channels]}
    return {"channels": [_channel(0, message)]}


def _channel(
    number: int, found: voice_pb2.VoiceChannel | voice_pb2.AnalyzeVoiceResponse
) -> dict[str, Any]:
    return {
        "channel_number": number,
        "speech_length": found.speech_ms / 1000,
        "scores": [
            {"emotion": WORDS.get(one.label, one.label), "probability": one.confidence}
            for one in found.emotions.all
        ],
    }
