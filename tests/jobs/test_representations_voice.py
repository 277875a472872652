"""DeepAffects' and Phonexia's forms of what the real voice service heard."""

import io
import json
import math
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from affectmesh.v1 import face_pb2, jobs_pb2, voice_pb2
from services.common.inference.open import open_inference
from services.common.labels import COORDINATES
from services.common.settings import Settings
from services.jobs.representations import deepaffects, phonexia
from tests.jobs.measured import Voices, voices

SPEECH = Path(__file__).parents[2] / "samples" / "voice" / "austen-0870.flac"
SIX = {"anger", "excited", "frustration", "happy", "sad", "neutral"}
"""The words of DeepAffects' table."""


@pytest.fixture(scope="module")
async def ask() -> AsyncIterator[Voices]:
    async with voices() as service:
        yield service


@pytest.fixture(scope="module")
async def heard(ask: Voices) -> voice_pb2.AnalyzeVoiceResponse:
    return await ask(SPEECH.read_bytes(), segment_by="window", window_ms=3000)


@pytest.fixture(scope="module")
async def stereo(ask: Voices) -> voice_pb2.AnalyzeVoiceResponse:
    """Speech in channel 0, silence in channel 1."""
    samples, rate = soundfile.read(SPEECH, dtype="float32")
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([samples, np.zeros_like(samples)], 1), rate, format="WAV")
    return await ask(buffer.getvalue(), channel_mode="split")


def test_deepaffects_gives_segments_in_seconds(heard: voice_pb2.AnalyzeVoiceResponse) -> None:
    found = deepaffects.segments(heard)
    assert [(one["start"], one["end"]) for one in found] == [(0.0, 3.0), (3.0, 6.0), (6.0, 7.1)]
    assert {one["emotion"] for one in found} <= SIX
    assert all(set(one) == {"emotion", "start", "end"} for one in found)


def test_deepaffects_webhook_carries_the_request_id(heard: voice_pb2.AnalyzeVoiceResponse) -> None:
    job = jobs_pb2.Job(job_id="job_0123456789abcdef")
    job.metadata.update({"request_id": "8bdd983a-c6bd-4159-982d-6a2471406d62"})
    [file] = deepaffects.render(job, heard)
    assert file.content_type == "application/json"
    assert json.loads(file.data) == {
        "request_id": "8bdd983a-c6bd-4159-982d-6a2471406d62",
        "response": deepaffects.segments(heard),
    }


def test_deepaffects_webhook_of_a_failure_says_why() -> None:
    job = jobs_pb2.Job(job_id="job_0123456789abcdef")
    job.error.code, job.error.message = "INVALID_AUDIO", "No speech found in the recording."
    assert json.loads(deepaffects.failure(job).data) == {
        "request_id": "job_0123456789abcdef",
        "error": {"code": "INVALID_AUDIO", "message": "No speech found in the recording."},
    }


@pytest.mark.parametrize("model", ["voice_emotion_open", "voice_emotion_research"])
async def test_deepaffects_has_a_word_for_every_label_of_a_voice(model: str) -> None:
    inference = open_inference(Settings(voice_pack="research"))
    assert set(inference.info(model).labels) <= set(deepaffects.WORDS)
    await inference.close()


def test_deepaffects_takes_the_nearest_of_its_words() -> None:
    named: dict[str, str] = {}
    for label, word in deepaffects.WORDS.items():
        named.setdefault(word, label)
    assert set(named) == SIX
    places = {**COORDINATES, "frustration": (-0.64, 0.52)}
    for label, word in deepaffects.WORDS.items():
        nearest = min(SIX, key=lambda one: math.dist(places[named[one]], places[label]))
        assert word == nearest, label


def test_phonexia_gives_every_channel(stereo: voice_pb2.AnalyzeVoiceResponse) -> None:
    first, second = phonexia.result(stereo)["channels"]
    assert first["channel_number"] == 0
    assert 5 < first["speech_length"] < 7.2
    assert {"happy", "neutral", "sad", "angry"} <= {one["emotion"] for one in first["scores"]}
    assert sum(one["probability"] for one in first["scores"]) == pytest.approx(1, abs=0.001)
    assert second == {"channel_number": 1, "speech_length": 0.0, "scores": []}


def test_phonexia_gives_the_mix_as_channel_0(heard: voice_pb2.AnalyzeVoiceResponse) -> None:
    [file] = phonexia.render(jobs_pb2.Job(), heard)
    [channel] = json.loads(file.data)["channels"]
    assert channel["channel_number"] == 0
    assert 5 < channel["speech_length"] < 7.2
    assert len(channel["scores"]) == 7


def test_nothing_is_rendered_of_other_results() -> None:
    faces = face_pb2.AnalyzeFaceVideoResponse()
    assert not list(deepaffects.render(jobs_pb2.Job(), faces))
    assert not list(phonexia.render(jobs_pb2.Job(), faces))
