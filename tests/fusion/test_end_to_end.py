"""Fusion over the real services of a running mesh."""

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import soundfile
from google.protobuf import json_format

from affectmesh.v1 import (
    biosignal_pb2,
    face_pb2,
    fusion_pb2,
    fusion_pb2_grpc,
    text_pb2,
    voice_pb2,
)
from services.common import errors
from services.common.channels import OPTIONS, call
from services.mesh.temporary import TemporaryMesh

SAMPLES = Path(__file__).parents[2] / "samples"

TEXT = text_pb2.AnalyzeTextRequest(text="I'm feeling great today!")


@pytest.fixture
async def fusion(mesh: TemporaryMesh) -> AsyncIterator[fusion_pb2_grpc.FusionServiceStub]:
    address = mesh.settings.address("fusion")
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        yield fusion_pb2_grpc.FusionServiceStub(channel)


@pytest.fixture
def photograph() -> face_pb2.AnalyzeFaceRequest:
    return face_pb2.AnalyzeFaceRequest(image=(SAMPLES / "face" / "astronaut.jpg").read_bytes())


@pytest.fixture
def body() -> biosignal_pb2.AnalyzeBiosignalRequest:
    sample = json.loads((SAMPLES / "biosignal" / "rest.json").read_text())
    return json_format.ParseDict(sample, biosignal_pb2.AnalyzeBiosignalRequest())


@pytest.fixture
def silence() -> voice_pb2.AnalyzeVoiceRequest:
    recording = io.BytesIO()
    soundfile.write(recording, np.zeros(32_000, np.int16), 16_000, format="WAV")
    return voice_pb2.AnalyzeVoiceRequest(audio=recording.getvalue())


async def ask(
    stub: fusion_pb2_grpc.FusionServiceStub,
    modalities: fusion_pb2.Modalities,
    method: str = "",
) -> fusion_pb2.AnalyzeMultimodalResponse:
    request = fusion_pb2.AnalyzeMultimodalRequest(
        modalities=modalities, fusion=fusion_pb2.FusionOptions(method=method)
    )
    answer: fusion_pb2.AnalyzeMultimodalResponse = await call(
        "fusion", stub.AnalyzeMultimodal, request, 60
    )
    return answer


@pytest.mark.parametrize("method", ["weighted_average", "confidence_weighted", "bayesian"])
async def test_a_smile_and_kind_words_are_happiness(
    fusion: fusion_pb2_grpc.FusionServiceStub,
    photograph: face_pb2.AnalyzeFaceRequest,
    body: biosignal_pb2.AnalyzeBiosignalRequest,
    method: str,
) -> None:
    answer = await ask(
        fusion, fusion_pb2.Modalities(face=photograph, text=TEXT, biosignal=body), method
    )
    fused = answer.fused_result
    assert fused.emotions.primary.label == "happiness"
    assert fused.dimensions.valence > 0.2
    assert set(answer.modality_results) == {"face", "text", "biosignal"}
    assert set(answer.fusion_details.weights_used) == {"face", "text", "biosignal"}
    assert not answer.fusion_details.failed
    assert answer.fusion_details.agreement_score > 0.5
    models = [one.model for one in answer.provenance]
    assert {"face_expression", "text_affect", f"late_fusion_{method}"} <= set(models)
    assert len(models) == len(set(models))


async def test_the_weighted_average_can_be_worked_out_from_the_answer(
    fusion: fusion_pb2_grpc.FusionServiceStub, photograph: face_pb2.AnalyzeFaceRequest
) -> None:
    answer = await ask(fusion, fusion_pb2.Modalities(face=photograph, text=TEXT))
    primary = answer.fused_result.emotions.primary
    shares = {}
    for name, weight in answer.fusion_details.weights_used.items():
        emotions = answer.modality_results[name].emotions
        confidence = {one.label: one.confidence for one in emotions.all}[primary.label]
        shares[name] = weight * confidence
    assert primary.confidence == pytest.approx(sum(shares.values()), abs=5e-4)
    for name, share in shares.items():
        part = answer.fusion_details.contributions[name]
        assert part == pytest.approx(share / sum(shares.values()), abs=1e-3)


async def test_silence_is_left_out_and_the_others_answer(
    fusion: fusion_pb2_grpc.FusionServiceStub, silence: voice_pb2.AnalyzeVoiceRequest
) -> None:
    answer = await ask(fusion, fusion_pb2.Modalities(voice=silence, text=TEXT))
    assert dict(answer.fusion_details.weights_used) == {"text": 1}
    assert answer.fusion_details.failed["voice"].startswith("INVALID_AUDIO: ")
    assert [warning.code for warning in answer.warnings] == ["INVALID_AUDIO"]
    assert answer.fused_result.emotions == answer.modality_results["text"].emotions


async def test_silence_alone_is_refused_as_by_the_voice_service(
    fusion: fusion_pb2_grpc.FusionServiceStub, silence: voice_pb2.AnalyzeVoiceRequest
) -> None:
    with pytest.raises(errors.InvalidAudio) as refused:
        await ask(fusion, fusion_pb2.Modalities(voice=silence))
    assert refused.value.details["suggestion"]
