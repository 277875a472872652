"""The exports of a recording: the WIA data format, CSV and EmotionML 1.0."""

import csv
import io
import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from affectmesh.v1 import fusion_pb2
from services.common.labels import LABELS
from services.fusion.vocabulary import BROADER, KNOWN
from services.jobs.representations import emotionml, table, wia_format
from tests.jobs.analyses import bare, whole
from tests.jobs.emotionml_rules import NAMESPACE, violations

TIME = "2026-01-15T10:30:00Z"


def wia(analysis: fusion_pb2.RecordingAnalysis) -> dict[str, Any]:
    return wia_format.of_recording(analysis, "rec_1", TIME)


def check_wia_emotions(emotions: dict[str, Any]) -> None:
    scores = emotions["all"]
    assert emotions["primary"] == scores[0]
    assert emotions.get("secondary") == (scores[1] if len(scores) > 1 else None)
    assert all(set(one) == {"label", "confidence"} for one in scores)
    assert all(0 <= one["confidence"] <= 1 and one["label"] in LABELS for one in scores)
    assert [one["confidence"] for one in scores] == sorted(
        (one["confidence"] for one in scores), reverse=True
    )


@pytest.mark.parametrize("analysis", [whole(), bare()], ids=["whole", "bare"])
def test_wia_has_what_the_format_requires(analysis: fusion_pb2.RecordingAnalysis) -> None:
    document = wia(analysis)
    assert re.fullmatch(r"WIA-EMOTION-AI-v\d+\.\d+", document["format"])
    assert document["timestamp"] == TIME
    assert document["modality"] == "multimodal"
    check_wia_emotions(document["emotions"])
    for result in document["modality_results"].values():
        check_wia_emotions(result["emotions"])
    assert set(document["modality_results"]) <= {"facial", "voice", "text", "biosignal"}


def test_wia_sums_a_recording_up() -> None:
    document = wia(whole())
    assert document["emotions"]["primary"] == {"label": "neutral", "confidence": 0.45}
    assert document["emotions"]["secondary"] == {"label": "happiness", "confidence": 0.35}
    assert document["dimensions"] == {"valence": 0.0, "arousal": 0.25, "dominance": 0.1}
    assert document["modalities_used"] == ["facial", "voice", "text"]
    assert document["modality_weights"] == {"facial": 0.45, "voice": 0.15, "text": 0.4}
    facial = document["modality_results"]["facial"]
    assert facial["emotions"]["primary"] == {"label": "happiness", "confidence": 0.7}
    assert facial["dimensions"] == {"valence": 0.4, "arousal": 0.0}
    assert document["face"] == {"detected": True, "count": 2}
    assert document["voice"]["features"] == {"speech_rate": 2.5, "pause_ratio": 0.2}
    assert document["text"]["length"] == 11
    assert document["metadata"]["model_name"] == "late_fusion_weighted_average"


def test_wia_keeps_the_timeline_under_a_prefix() -> None:
    own = wia(whole())["x_affectmesh"]
    assert [one["start_ms"] for one in own["timeline"]] == [0, 1000, 2000]
    assert own["timeline"][0]["modalities"] == ["facial", "text", "voice"]
    assert "emotions" not in own["timeline"][2]
    assert own["behavioural_consistency"]["score"] == 78.5
    assert own["provenance"][0]["model"] == "face_expression"


def test_wia_of_what_has_no_emotions_over_time_falls_back_on_a_modality() -> None:
    document = wia(bare())
    assert document["emotions"]["primary"] == {"label": "anger", "confidence": 0.5}
    assert "dimensions" not in document
    assert document["modalities_used"] == []
    assert document["x_affectmesh"]["behavioural_consistency"] is None


def rows(analysis: fusion_pb2.RecordingAnalysis) -> list[dict[str, str]]:
    text = table.of_recording(analysis).decode()
    assert text.endswith("\r\n")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_has_a_row_for_every_moment() -> None:
    found = rows(whole())
    assert [(row["start_ms"], row["end_ms"]) for row in found] == [
        ("0", "1000"),
        ("1000", "2000"),
        ("2000", "3000"),
    ]
    assert found[0]["emotion"] == "happiness"
    assert found[0]["confidence"] == found[0]["happiness"] == "0.7"
    assert found[0]["modalities"] == "face text voice"
    assert [row["key_moments"] for row in found] == ["", "honesty_drop", "honesty_drop"]


def test_csv_leaves_what_was_not_measured_empty() -> None:
    last = rows(whole())[2]
    assert {name for name, cell in last.items() if cell} == {"start_ms", "end_ms", "key_moments"}
    assert rows(whole())[1]["dominance"] == ""


def test_csv_has_a_column_for_every_label_that_a_timeline_can_have() -> None:
    known = frozenset[str]().union(*KNOWN.values())
    assert set(table.LABELS) == {BROADER.get(label, label) for label in known}


@pytest.mark.parametrize("analysis", [whole(), bare()], ids=["whole", "bare"])
@pytest.mark.parametrize("name", ["interview.mp4", 'a b&"<ü>.mp4'])
def test_emotionml_keeps_the_rules_of_w3c(
    analysis: fusion_pb2.RecordingAnalysis, name: str
) -> None:
    assert not violations(emotionml.of_recording(analysis, name))


def test_emotionml_says_what_was_measured_and_when() -> None:
    root = ET.fromstring(emotionml.of_recording(whole(), "interview.mp4"))
    found = root.findall(f"{NAMESPACE}emotion")
    assert [one.get("id") for one in found] == ["recording", "moment-0", "moment-1"]
    assert (found[0].get("offset-to-start"), found[0].get("duration")) == ("0", "315000")
    categories = {
        one.get("name"): one.get("confidence") for one in found[1].iter(f"{NAMESPACE}category")
    }
    assert categories == {"happiness": "0.7000", "neutral": "0.2000"}
    values = {one.get("name"): one.get("value") for one in found[1].iter(f"{NAMESPACE}dimension")}
    assert values == {"pleasure": "0.7500", "arousal": "0.3750", "dominance": "0.5500"}
    references = [one.get("uri") for one in root.iter(f"{NAMESPACE}reference")]
    assert references == ["interview.mp4#t=0,315", "interview.mp4#t=0,1", "interview.mp4#t=1,2"]


def test_emotionml_counts_milliseconds_of_hours() -> None:
    analysis = bare()
    analysis.emotion_breakdown["anger"] = 1.0
    analysis.duration_ms = 14_399_999
    assert b'uri="long.mp4#t=0,14399.999"' in emotionml.of_recording(analysis, "long.mp4")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('version="1.0"', 'version="2.0"'),
        ('name="arousal" value="0.3750"', 'name="arousal" value="1.3750"'),
        ('name="pleasure"', 'name="joy"'),
        ('name="neutral" confidence', 'name="happiness" confidence'),
        ('category-set="#emotions"', 'category-set="#others"'),
        ('role="expressedBy"', 'role="shownBy"'),
        ('id="moment-1"', 'id="moment-0"'),
        ("</emotion>", '<category name="fear" /></emotion>'),
    ],
)
def test_the_rules_notice_what_breaks_them(old: str, new: str) -> None:
    text = emotionml.of_recording(whole(), "interview.mp4").decode()
    assert old in text
    assert violations(text.replace(old, new).encode())
