"""Label mix, confidence and warnings are counted wherever the contract holds them."""

import pytest
from prometheus_client import REGISTRY

from affectmesh.v1 import face_pb2, text_pb2, types_pb2
from services.common import drift

TEXT = "/affectmesh.v1.TextService/AnalyzeText"
FACE = "/affectmesh.v1.FaceService/AnalyzeFace"


def emotions(label: str, confidence: float) -> types_pb2.Emotions:
    return types_pb2.Emotions(primary=types_pb2.Emotion(label=label, confidence=confidence))


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_result_counts_its_primary_emotion_and_its_confidence() -> None:
    before = value("affectmesh_results_total", modality="text", label="contempt")
    high = value("affectmesh_confidence_bucket", modality="text", le="0.9")
    drift.observer(TEXT)(text_pb2.AnalyzeTextResponse(emotions=emotions("contempt", 0.85)))
    assert value("affectmesh_results_total", modality="text", label="contempt") == before + 1
    assert value("affectmesh_confidence_bucket", modality="text", le="0.9") == high + 1


def test_every_face_of_a_picture_counts() -> None:
    before = value("affectmesh_results_total", modality="face", label="fear")
    warned = value("affectmesh_warnings_total", modality="face", code="SMALL_FACE")
    warning = types_pb2.Warning(code="SMALL_FACE", message="…")
    face = face_pb2.Face(emotions=emotions("fear", 0.4), warnings=[warning])
    drift.observer(FACE)(face_pb2.AnalyzeFaceResponse(faces=[face, face, face]))
    assert value("affectmesh_results_total", modality="face", label="fear") == before + 3
    assert value("affectmesh_warnings_total", modality="face", code="SMALL_FACE") == warned + 3


def test_a_label_that_nobody_knows_is_counted_as_other() -> None:
    before = value("affectmesh_results_total", modality="text", label="other")
    drift.observer(TEXT)(text_pb2.AnalyzeTextResponse(emotions=emotions("x" * 40, 0.5)))
    assert value("affectmesh_results_total", modality="text", label="other") == before + 1


def test_codes_of_warnings_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "_codes", set())
    for number in range(drift.MOST_CODES + 5):
        warning = types_pb2.Warning(code=f"CODE_{number}", message="…")
        drift.observer(TEXT)(text_pb2.AnalyzeTextResponse(warnings=[warning]))
    assert value("affectmesh_warnings_total", modality="text", code="OTHER") >= 5
    last = f"CODE_{drift.MOST_CODES + 1}"
    assert value("affectmesh_warnings_total", modality="text", code=last) == 0


def test_a_long_answer_counts_for_no_more_than_its_share() -> None:
    before = value("affectmesh_results_total", modality="face", label="disgust")
    faces = [face_pb2.Face(emotions=emotions("disgust", 0.4))] * (3 * drift.MOST)
    drift.observer(FACE)(face_pb2.AnalyzeFaceResponse(faces=faces))
    counted = value("affectmesh_results_total", modality="face", label="disgust") - before
    assert counted == drift.MOST


def test_services_that_measure_nothing_count_nothing() -> None:
    before = value("affectmesh_results_total", modality="jobs", label="fear")
    response = text_pb2.AnalyzeTextResponse(emotions=emotions("fear", 0.9))
    drift.observer("/affectmesh.v1.JobService/GetJob")(response)
    assert value("affectmesh_results_total", modality="jobs", label="fear") == before
