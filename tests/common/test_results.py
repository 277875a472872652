"""The parts of a response that every modality shares."""

from pathlib import Path

from affectmesh.v1 import text_pb2
from services.common import results, telemetry
from services.common.inference import ModelInfo


def test_emotions_come_most_confident_first() -> None:
    found = results.emotions({"fear": 0.2, "anger": 0.7, "neutral": 0.1})
    assert [one.label for one in found.all] == ["anger", "fear", "neutral"]
    assert found.primary == found.all[0]


def test_unlikely_emotions_are_left_out_but_never_the_first() -> None:
    assert [one.label for one in results.emotions({"a": 0.5, "b": 0.1}, least=0.2).all] == ["a"]
    assert [one.label for one in results.emotions({"a": 0.1, "b": 0.05}, least=0.2).all] == ["a"]


def test_derived_is_said_only_of_derived_emotions() -> None:
    found = results.emotions({"anger": 0.6, "frustration": 0.5}, derived=["frustration"])
    assert not found.all[0].HasField("derived")
    assert found.all[1].derived


def test_confidences_are_rounded() -> None:
    assert results.emotion("fear", 0.123456).confidence == 0.1235


def test_the_head_of_a_response_names_the_request() -> None:
    token = telemetry.request_id.set("req_head")
    response = text_pb2.AnalyzeTextResponse(**results.Stopwatch().head())
    telemetry.request_id.reset(token)
    assert response.request_id == "req_head"
    assert response.processing_time_ms >= 0


def test_provenance_names_model_version_digest_and_calibration() -> None:
    info = ModelInfo("net", "1.2.0", "abc", {"calibration": "held-out set"}, Path("net"))
    said = results.provenance(info)
    assert (said.model, said.version, said.digest, said.calibration) == (
        "net",
        "1.2.0",
        "abc",
        "held-out set",
    )
