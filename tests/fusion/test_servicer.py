"""The fusion service over real gRPC, against servers that keep the modalities' contracts."""

import asyncio
from typing import Any

import pytest

from affectmesh.v1 import (
    biosignal_pb2,
    face_pb2,
    fusion_pb2,
    fusion_pb2_grpc,
    text_pb2,
    types_pb2,
    voice_pb2,
)
from services.common import errors, results
from services.common.channels import call
from tests.fusion.modality_servers import Script, fusion_over

FACE_MODEL = types_pb2.Provenance(model="face_expression", version="1.0.0", digest="f")
TEXT_MODEL = types_pb2.Provenance(model="text_encoder", version="1.0.0", digest="t")


def face(quality: float = 0.8, **confidences: float) -> face_pb2.Face:
    return face_pb2.Face(
        emotions=results.emotions(confidences),
        dimensions=types_pb2.Dimensions(valence=0.72, arousal=0.48, derived=True),
        quality=face_pb2.FaceQuality(score=quality),
        warnings=[types_pb2.Warning(code="FACE_TURNED", message="The face is turned away.")],
    )


def face_script(**changes: Any) -> Script:
    answer = face_pb2.AnalyzeFaceResponse(
        faces=[face(happiness=0.85, neutral=0.15)], provenance=[FACE_MODEL]
    )
    return Script(**{"answer": answer, **changes})


def voice_script(**changes: Any) -> Script:
    answer = voice_pb2.AnalyzeVoiceResponse(
        emotions=results.emotions({"happiness": 0.82, "neutral": 0.18}),
        dimensions=types_pb2.Dimensions(valence=0.78, arousal=0.55),
    )
    return Script(**{"answer": answer, **changes})


def text_script(**changes: Any) -> Script:
    answer = text_pb2.AnalyzeTextResponse(
        emotions=results.emotions({"happiness": 0.90, "excitement": 0.4}, derived=["excitement"]),
        dimensions=types_pb2.Dimensions(valence=0.8, arousal=0.6, dominance=0.3),
        provenance=[TEXT_MODEL, FACE_MODEL],
    )
    return Script(**{"answer": answer, **changes})


def body_script(**changes: Any) -> Script:
    answer = biosignal_pb2.AnalyzeBiosignalResponse(
        derived_states=biosignal_pb2.DerivedStates(arousal=0.9, stress_level=0.4, confidence=0.6)
    )
    return Script(**{"answer": answer, **changes})


def request(*names: str, **fusion: Any) -> fusion_pb2.AnalyzeMultimodalRequest:
    inputs: dict[str, Any] = {
        "face": face_pb2.AnalyzeFaceRequest(image=b"image"),
        "voice": voice_pb2.AnalyzeVoiceRequest(audio=b"audio"),
        "text": text_pb2.AnalyzeTextRequest(text="I'm feeling great today!"),
        "biosignal": biosignal_pb2.AnalyzeBiosignalRequest(
            signals=biosignal_pb2.Signals(
                eda=biosignal_pb2.Signal(sample_rate_hz=4, data=[2.5, 2.6], unit="uS")
            )
        ),
    }
    return fusion_pb2.AnalyzeMultimodalRequest(
        modalities=fusion_pb2.Modalities(**{name: inputs[name] for name in names}),
        fusion=fusion_pb2.FusionOptions(**fusion),
    )


async def ask(
    stub: fusion_pb2_grpc.FusionServiceStub,
    message: fusion_pb2.AnalyzeMultimodalRequest,
    timeout_s: float = 10,
) -> fusion_pb2.AnalyzeMultimodalResponse:
    answer: fusion_pb2.AnalyzeMultimodalResponse = await call(
        "fusion", stub.AnalyzeMultimodal, message, timeout_s
    )
    return answer


def codes(response: fusion_pb2.AnalyzeMultimodalResponse) -> list[str]:
    return [warning.code for warning in response.warnings]


async def test_the_documents_request_is_answered_in_full() -> None:
    scripts = {"face": face_script(), "voice": voice_script(), "text": text_script()}
    async with fusion_over(scripts) as stub:
        response = await ask(
            stub,
            request(
                "face",
                "voice",
                "text",
                method="weighted_average",
                weights={"face": 0.5, "voice": 0.3, "text": 0.2},
            ),
        )
    fused, details = response.fused_result, response.fusion_details
    assert fused.emotions.primary.label == "happiness"
    assert fused.emotions.primary.confidence == pytest.approx(0.851)
    assert fused.dimensions.valence == pytest.approx(0.754)
    assert fused.dimensions.arousal == pytest.approx(0.525)
    assert fused.dimensions.dominance == pytest.approx(0.3)
    assert not fused.dimensions.HasField("derived")
    assert details.method == "weighted_average"
    assert dict(details.weights_used) == pytest.approx({"face": 0.5, "voice": 0.3, "text": 0.2})
    assert 0.8 < details.agreement_score < 1
    assert fused.uncertainty == pytest.approx(1 - 0.851 * details.agreement_score, abs=2e-4)
    assert 0 < fused.entropy < 1
    assert sum(details.contributions.values()) == pytest.approx(1, abs=1e-3)
    assert not details.failed
    assert not response.warnings
    assert set(response.modality_results) == {"face", "voice", "text"}
    assert response.modality_results["text"].emotions == scripts["text"].answer.emotions
    assert response.modality_results["face"].warnings[0].code == "FACE_TURNED"
    assert [one.model for one in response.provenance] == [
        "face_expression",
        "text_encoder",
        "late_fusion_weighted_average",
    ]
    assert response.request_id.startswith("req_")


async def test_modalities_are_asked_at_the_same_time() -> None:
    everyone_asked = asyncio.Barrier(3)

    class Waits(Script):
        async def serve(self, asked: Any) -> Any:
            await everyone_asked.wait()
            return await super().serve(asked)

    scripts: dict[str, Script] = {
        name: Waits(answer=script.answer)
        for name, script in (
            ("face", face_script()),
            ("voice", voice_script()),
            ("text", text_script()),
        )
    }
    async with fusion_over(scripts) as stub:
        response = await ask(stub, request("face", "voice", "text"))
    assert len(response.modality_results) == 3


async def test_what_the_answer_cannot_carry_is_not_asked_for() -> None:
    scripts = {"face": face_script(), "voice": voice_script(), "text": text_script()}
    async with fusion_over(scripts) as stub:
        await ask(stub, request("face", "voice", "text"))
    assert scripts["voice"].asked[0].audio == b"audio"
    assert scripts["voice"].asked[0].options == voice_pb2.VoiceOptions(
        return_transcript=False, return_prosody=False
    )
    assert scripts["face"].asked[0].options == face_pb2.FaceOptions(
        return_action_units=False, max_faces=2
    )
    assert scripts["text"].asked[0].options == text_pb2.TextOptions(
        return_aspects=False, return_entities=False
    )


async def test_options_given_by_the_client_are_kept() -> None:
    scripts = {"face": face_script(), "voice": voice_script()}
    message = request("face", "voice")
    message.modalities.voice.options.return_transcript = True
    message.modalities.voice.options.language = "de"
    message.modalities.face.options.max_faces = 1
    async with fusion_over(scripts) as stub:
        await ask(stub, message)
    assert scripts["voice"].asked[0].options.return_transcript
    assert scripts["voice"].asked[0].options.language == "de"
    assert scripts["face"].asked[0].options.max_faces == 1


async def test_segments_that_need_the_transcript_keep_it() -> None:
    scripts = {"voice": voice_script()}
    message = request("voice")
    message.modalities.voice.options.segment_by = "word"
    async with fusion_over(scripts) as stub:
        await ask(stub, message)
    assert not scripts["voice"].asked[0].options.HasField("return_transcript")


async def test_a_modality_that_fails_is_left_out_and_named() -> None:
    broken = errors.NoFaceDetected("No face in the image.", suggestion="Send a clear face.")
    scripts = {"face": face_script(error=broken), "voice": voice_script(), "text": text_script()}
    async with fusion_over(scripts) as stub:
        response = await ask(
            stub, request("face", "voice", "text", weights={"face": 5, "voice": 3, "text": 1})
        )
    assert dict(response.fusion_details.weights_used) == {"voice": 0.75, "text": 0.25}
    assert dict(response.fusion_details.failed) == {
        "face": "NO_FACE_DETECTED: No face in the image."
    }
    assert codes(response) == ["NO_FACE_DETECTED"]
    assert "face" not in response.modality_results


async def test_a_service_that_is_gone_is_left_out_and_named() -> None:
    async with fusion_over({"text": text_script()}) as stub:
        response = await ask(stub, request("face", "text"))
    assert response.fusion_details.failed["face"].startswith("SERVICE_UNAVAILABLE: ")
    assert response.fused_result.emotions.primary.confidence == pytest.approx(0.9)
    assert dict(response.fusion_details.weights_used) == {"text": 1}


async def test_a_modality_that_crashes_is_left_out() -> None:
    scripts = {"face": face_script(error=ZeroDivisionError()), "text": text_script()}
    async with fusion_over(scripts) as stub:
        response = await ask(stub, request("face", "text"))
    assert response.fusion_details.failed["face"].startswith("INTERNAL_ERROR: ")


async def test_a_modality_that_is_too_slow_does_not_hold_up_the_others(
    half_of_the_time: None,
) -> None:
    slow = face_script(pause_s=60)
    async with fusion_over({"face": slow, "text": text_script()}) as stub:
        response = await ask(stub, request("face", "text"), timeout_s=4)
        await asyncio.wait_for(slow.cancelled.wait(), 60)
    assert response.fusion_details.failed["face"].startswith("DEADLINE_EXCEEDED: ")
    assert response.fused_result.emotions.primary.label == "happiness"


async def test_the_settings_limit_how_long_a_modality_may_take() -> None:
    scripts = {"face": face_script(pause_s=60), "text": text_script()}
    async with fusion_over(scripts, request_timeout_s=2) as stub:
        response = await ask(stub, request("face", "text"), timeout_s=60)
    assert response.fusion_details.failed["face"].startswith("DEADLINE_EXCEEDED: ")


async def test_a_client_that_leaves_ends_the_calls_it_caused() -> None:
    slow = face_script(pause_s=60)
    async with fusion_over({"face": slow}) as stub:
        running = stub.AnalyzeMultimodal(request("face"))
        await asyncio.wait_for(slow.began.wait(), 60)
        running.cancel()
        await asyncio.wait_for(slow.cancelled.wait(), 60)
        assert running.cancelled()


async def test_the_error_of_the_only_modality_comes_through_unchanged() -> None:
    broken = errors.InvalidImage("Too large.", reason="20000 x 20000", suggestion="Shrink it.")
    async with fusion_over({"face": face_script(error=broken)}) as stub:
        with pytest.raises(errors.InvalidImage) as raised:
            await ask(stub, request("face"))
    assert type(raised.value) is errors.InvalidImage
    assert raised.value.message == broken.message
    assert raised.value.details == broken.details


async def test_where_all_fail_the_error_of_the_weightiest_comes_through_naming_the_others() -> None:
    scripts = {
        "face": face_script(error=errors.NoFaceDetected("No face.", suggestion="Send one.")),
        "text": text_script(error=errors.InvalidText("Empty.", suggestion="Send words.")),
    }
    async with fusion_over(scripts) as stub:
        with pytest.raises(errors.InvalidText) as raised:
            await ask(stub, request("face", "text", weights={"face": 0.1, "text": 0.9}))
    assert raised.value.message == "Empty."
    assert raised.value.details == {
        "suggestion": "Send words.",
        "also_failed": "face: NO_FACE_DETECTED",
    }


async def test_where_only_a_modality_without_weight_answers_the_error_comes_through() -> None:
    scripts = {
        "face": face_script(error=errors.NoFaceDetected("No face.")),
        "text": text_script(),
    }
    async with fusion_over(scripts) as stub:
        with pytest.raises(errors.NoFaceDetected):
            await ask(stub, request("face", "text", weights={"face": 1}))


async def test_an_answer_without_a_face_is_no_face_detected() -> None:
    async with fusion_over({"face": face_script(answer=face_pb2.AnalyzeFaceResponse())}) as stub:
        with pytest.raises(errors.NoFaceDetected):
            await ask(stub, request("face"))


async def test_of_several_faces_the_largest_counts_and_that_is_said() -> None:
    answer = face_pb2.AnalyzeFaceResponse(faces=[face(anger=0.9), face(happiness=0.9)])
    async with fusion_over({"face": face_script(answer=answer)}) as stub:
        response = await ask(stub, request("face"))
    assert response.fused_result.emotions.primary.label == "anger"
    assert codes(response) == ["SEVERAL_FACES"]


async def test_a_face_of_low_quality_counts_less_and_that_is_said() -> None:
    answer = face_pb2.AnalyzeFaceResponse(faces=[face(quality=0.05, anger=0.9)])
    scripts = {"face": face_script(answer=answer), "text": text_script()}
    async with fusion_over(scripts) as stub:
        response = await ask(stub, request("face", "text", weights={"face": 1, "text": 1}))
    assert dict(response.fusion_details.weights_used) == pytest.approx({"face": 0.2, "text": 0.8})
    assert "LOW_QUALITY" in codes(response)


async def test_a_text_the_model_could_hardly_read_counts_half() -> None:
    text = text_script()
    text.answer.warnings.add(code="LANGUAGE_NOT_SUPPORTED", message="A rough guess.")
    async with fusion_over({"face": face_script(), "text": text}) as stub:
        response = await ask(stub, request("face", "text", weights={"face": 1, "text": 1}))
    assert dict(response.fusion_details.weights_used) == pytest.approx(
        {"face": 2 / 3, "text": 1 / 3}, abs=1e-4
    )
    assert codes(response) == ["LOW_QUALITY"]


async def test_contradicting_modalities_are_named() -> None:
    answer = face_pb2.AnalyzeFaceResponse(faces=[face(anger=1.0)])
    answer.faces[0].dimensions.valence = -0.9
    async with fusion_over({"face": face_script(answer=answer), "text": text_script()}) as stub:
        response = await ask(stub, request("face", "text"))
    assert response.fusion_details.agreement_score < 0.5
    assert codes(response) == ["MODALITIES_DISAGREE"]


async def test_a_weight_for_a_modality_not_sent_is_named() -> None:
    async with fusion_over({"text": text_script()}) as stub:
        response = await ask(stub, request("text", weights={"face": 0.5, "text": 0.5}))
    assert dict(response.fusion_details.weights_used) == {"text": 1}
    assert codes(response) == ["MODALITY_MISSING"]


async def test_a_modality_without_a_weight_is_analysed_and_not_counted() -> None:
    scripts = {"face": face_script(), "text": text_script()}
    async with fusion_over(scripts) as stub:
        response = await ask(stub, request("face", "text", weights={"text": 1}))
    assert set(response.modality_results) == {"face", "text"}
    assert dict(response.fusion_details.weights_used) == {"face": 0, "text": 1}
    assert codes(response) == ["MODALITY_NOT_WEIGHED"]


async def test_signals_of_the_body_move_arousal() -> None:
    scripts = {"text": text_script(), "biosignal": body_script()}
    async with fusion_over(scripts) as stub:
        response = await ask(
            stub, request("text", "biosignal", weights={"text": 1, "biosignal": 1})
        )
    assert response.fused_result.dimensions.arousal == pytest.approx((0.6 + 0.8) / 2)
    assert response.fused_result.dimensions.valence == pytest.approx(0.8)
    assert response.modality_results["biosignal"].derived_states.stress_level == 0.4
    assert not response.modality_results["biosignal"].HasField("emotions")


async def test_signals_of_the_body_alone_claim_no_emotion_and_no_valence() -> None:
    async with fusion_over({"biosignal": body_script()}) as stub:
        response = await ask(stub, request("biosignal"))
    assert not response.fused_result.HasField("emotions")
    assert response.fused_result.dimensions == types_pb2.Dimensions(arousal=0.8, derived=True)
    assert response.fused_result.uncertainty == pytest.approx(0.4)
    assert response.fusion_details.agreement_score == 1
    assert not response.warnings


async def test_a_modality_that_says_nothing_is_named() -> None:
    scripts = {
        "voice": voice_script(answer=voice_pb2.AnalyzeVoiceResponse()),
        "text": text_script(),
    }
    async with fusion_over(scripts) as stub:
        response = await ask(stub, request("voice", "text"))
        alone = await ask(stub, request("voice"))
    assert dict(response.fusion_details.weights_used) == {"text": 1}
    assert codes(response) == ["MODALITY_SILENT"]
    assert not alone.fused_result.HasField("emotions")
    assert codes(alone) == ["MODALITY_SILENT"]


@pytest.mark.parametrize("method", ["", "weighted_average", "confidence_weighted", "bayesian"])
async def test_every_method_answers(method: str) -> None:
    scripts = {"face": face_script(), "voice": voice_script(), "text": text_script()}
    async with fusion_over(scripts) as stub:
        response = await ask(stub, request("face", "voice", "text", method=method))
    assert response.fusion_details.method == (method or "weighted_average")
    assert response.fused_result.emotions.primary.label == "happiness"
    assert sum(response.fusion_details.weights_used.values()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (fusion_pb2.AnalyzeMultimodalRequest(), "modalities"),
        (request(), "modalities"),
        (request("text", method="magic"), "fusion.method"),
        (request("text", weights={"text": -1}), "fusion.weights.text"),
        (request("text", weights={"text": float("nan")}), "fusion.weights.text"),
        (request("text", weights={"text": 0}), "fusion.weights"),
        (request("text", weights={"smell": 1}), "fusion.weights"),
    ],
)
async def test_a_senseless_request_is_refused_before_anyone_is_asked(
    message: fusion_pb2.AnalyzeMultimodalRequest, field: str
) -> None:
    text = text_script()
    async with fusion_over({"text": text}) as stub:
        with pytest.raises(errors.InvalidRequest) as refused:
            await ask(stub, message)
        assert refused.value.details["field"] == field
        assert refused.value.details["suggestion"]
        assert not text.asked
        assert (await ask(stub, request("text"))).fused_result.emotions.all


async def test_the_request_id_travels_to_every_modality() -> None:
    async with fusion_over({"text": text_script()}) as stub:
        response = await stub.AnalyzeMultimodal(
            request("text"), metadata=(("x-request-id", "req_test"),)
        )
    assert response.request_id == "req_test"
