"""Recordings analysed by the real services of a running mesh."""

import json
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
from google.protobuf import json_format

from affectmesh.v1 import biosignal_pb2, fusion_pb2, fusion_pb2_grpc
from services.common import errors
from services.common.channels import OPTIONS
from services.mesh.temporary import TemporaryMesh
from tests.fusion.recordings import (
    SAMPLES,
    Scene,
    Sound,
    empty,
    film,
    pair,
    portrait,
    slides,
    speech,
)


@pytest.fixture
async def fusion(mesh: TemporaryMesh) -> AsyncIterator[fusion_pb2_grpc.FusionServiceStub]:
    address = mesh.settings.address("fusion")
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        yield fusion_pb2_grpc.FusionServiceStub(channel)


async def analyse(
    stub: fusion_pb2_grpc.FusionServiceStub,
    video: bytes,
    depth: str = "basic",
    language: str = "",
    signals: biosignal_pb2.AnalyzeBiosignalRequest | None = None,
) -> fusion_pb2.RecordingAnalysis:
    request = fusion_pb2.AnalyzeRecordingRequest(
        video=video, depth=depth, language=language, biosignal=signals
    )
    shares: list[float] = []
    result = fusion_pb2.RecordingAnalysis()
    try:
        async for message in stub.AnalyzeRecording(request, timeout=300):
            if message.WhichOneof("message") == "progress":
                shares.append(message.progress)
            else:
                result = message.result
    except grpc.aio.AioRpcError as error:
        raise errors.from_rpc(error, "fusion") from error
    assert shares[0] == 0
    assert shares[-1] == 1
    assert shares == sorted(shares)
    return result


def codes(result: fusion_pb2.RecordingAnalysis) -> set[str]:
    return {warning.code for warning in result.warnings}


def cues(result: fusion_pb2.RecordingAnalysis) -> set[str]:
    return {cue.name for cue in result.body_language}


async def test_a_smiling_speaker_is_seen_heard_and_read(
    fusion: fusion_pb2_grpc.FusionServiceStub,
) -> None:
    result = await analyse(fusion, film(9, portrait(), speech("0880", "0930", gap_s=2.5)))
    assert result.duration_ms == pytest.approx(9000, abs=100)
    assert len(result.timeline) in (9, 10)
    assert "not an ill" in result.voice.transcript
    assert result.face.summary.dominant_emotion == "happiness"
    assert result.face.summary.face_count == 1
    assert not any(face.landmarks for frame in result.face.timeline for face in frame.faces)
    assert result.main_face_id == 0
    assert result.text.text_length == len(result.voice.transcript)
    assert len(result.utterances) >= 2
    assert sum(result.emotion_breakdown.values()) == pytest.approx(1, abs=1e-6)
    assert max(result.emotion_breakdown.items(), key=lambda pair: pair[1])[0] in (
        "happiness",
        "neutral",
    )
    assert any(list(one.modalities) == ["face", "text", "voice"] for one in result.timeline)
    assert "long_pause" in {one.type for one in result.key_moments}
    assert cues(result) == {"head_movement", "gaze_aversion"}
    assert 0 <= result.honesty.score <= 100
    assert {"agreement", "fluency"} <= set(result.honesty.components)
    assert "not lie detection" in result.honesty.interpretation
    models = {one.model for one in result.provenance}
    assert {"face_expression", "voice_encoder", "text_affect"} <= models
    assert "behavioural_consistency" in models


@pytest.mark.slow
async def test_advanced_measures_blinks_and_reads_sentences_in_full(
    fusion: fusion_pb2_grpc.FusionServiceStub,
) -> None:
    spoken = speech("0870", "0880", "0890", "0920", "0930", gap_s=0.5)
    rest = json.loads((SAMPLES / "biosignal" / "rest.json").read_text())
    signals = json_format.ParseDict(rest, biosignal_pb2.AnalyzeBiosignalRequest())
    result = await analyse(fusion, film(27, portrait(), spoken), "advanced", "en", signals)
    assert result.depth == "advanced"
    assert result.timeline_hop_ms == 500
    assert cues(result) == {"head_movement", "gaze_aversion", "blink_rate"}
    assert set(result.honesty.components) == {"agreement", "steadiness", "fluency", "pace"}
    assert all(one.dimensions.HasField("arousal") for one in result.utterances)
    assert "HONESTY_INCOMPLETE" not in codes(result)
    assert result.biosignal.heart_rate.mean_bpm == pytest.approx(59.4, abs=0.1)
    assert all("biosignal" in one.modalities for one in result.timeline)


@pytest.mark.parametrize(
    ("scene", "sound", "code", "missing"),
    [
        (portrait(320), None, "NO_SOUND", "voice"),
        (portrait(320), np.zeros(48_000, np.int16), "INVALID_AUDIO", "voice"),
        (empty, speech("0880"), "NO_FACE", "main_face_id"),
    ],
    ids=["no sound", "silence", "no face"],
)
async def test_what_is_missing_is_said_and_the_rest_analysed(
    fusion: fusion_pb2_grpc.FusionServiceStub,
    scene: Scene,
    sound: Sound | None,
    code: str,
    missing: str,
) -> None:
    result = await analyse(fusion, film(3, scene, sound))
    assert code in codes(result)
    assert not result.HasField(missing)  # type: ignore[arg-type]
    assert result.emotion_breakdown


async def test_of_two_people_the_larger_is_the_main_speaker(
    fusion: fusion_pb2_grpc.FusionServiceStub,
) -> None:
    result = await analyse(fusion, film(3, pair(), speech("0880")))
    assert "SEVERAL_FACES" in codes(result)
    boxes = [
        face.bbox
        for frame in result.face.timeline
        for face in frame.faces
        if face.face_id == result.main_face_id
    ]
    assert boxes
    assert all(box.x + box.width / 2 < 360 for box in boxes)


async def test_a_file_cut_off_is_analysed_as_far_as_it_goes(
    fusion: fusion_pb2_grpc.FusionServiceStub,
) -> None:
    whole = film(6, portrait(320), speech("0870"), options={"movflags": "faststart"})
    result = await analyse(fusion, whole[: len(whole) * 6 // 10])
    assert "VIDEO_DAMAGED" in codes(result)
    assert 1500 < result.duration_ms < 5000
    assert result.face.summary.face_count == 1


@pytest.mark.slow
async def test_three_hours_are_analysed(fusion: fusion_pb2_grpc.FusionServiceStub) -> None:
    video = slides(portrait(240), *range(0, 3 * 3600, 20))
    result = await analyse(fusion, video)
    assert result.duration_ms == pytest.approx(3 * 3600_000, abs=40_000)
    assert len(result.face.timeline) == 540
    assert len(result.timeline) == pytest.approx(3 * 3600, abs=40)
    assert "PICTURES_MISSING" not in codes(result)
    assert result.face.summary.dominant_emotion == "happiness"


async def test_nobody_seen_and_nobody_heard_is_an_error(
    fusion: fusion_pb2_grpc.FusionServiceStub,
) -> None:
    with pytest.raises(errors.InvalidVideo):
        await analyse(fusion, film(2, empty))


async def test_a_language_tag_that_is_none_is_refused(
    fusion: fusion_pb2_grpc.FusionServiceStub,
) -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        await analyse(fusion, film(2, empty, speech("0880")), language="klingon!")
    assert refused.value.details["field"] == "language"
