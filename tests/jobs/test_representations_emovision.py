"""EmoVision's forms of a recording: what the document shows, from what was measured."""

import json
from typing import Any

from affectmesh.v1 import jobs_pb2, voice_pb2
from services.common.labels import LABELS
from services.jobs.representations import emovision
from tests.contract.shapes import differences
from tests.jobs.analyses import bare, job, whole

DOCUMENT = {
    "duration_minutes": 5.25,
    "overall_honesty_score": 78.5,
    "emotion_breakdown": {"happy": 0.35, "neutral": 0.45, "surprised": 0.12, "sad": 0.08},
    "key_moments": [{"timestamp_ms": 45000, "type": "honesty_drop", "score": 0.45}],
}


def files() -> dict[str, Any]:
    return {file.file_name: file for file in emovision.render(job(), whole())}


def test_every_label_has_one_word_of_its_own() -> None:
    assert set(emovision.WORDS) == set(LABELS)
    assert len(set(emovision.WORDS.values())) == len(LABELS)


def test_the_summary_is_the_documents_answer() -> None:
    found = emovision.short(whole())
    assert found is not None
    assert found.keys() == DOCUMENT.keys()
    assert not differences(DOCUMENT, found)
    assert found["duration_minutes"] == 5.25
    assert found["overall_honesty_score"] == 78.5
    assert found["emotion_breakdown"] == DOCUMENT["emotion_breakdown"]
    assert found["key_moments"] == [{"timestamp_ms": 1200, "type": "honesty_drop", "score": 0.45}]


def test_the_detail_has_the_summary_and_all_that_was_measured() -> None:
    found = json.loads(files()[emovision.DETAIL].data)
    assert not differences(DOCUMENT, found)
    assert found["honesty"]["components"] == {"agreement": 0.7, "fluency": 0.95}
    assert found["key_moments"][0]["evidence"] == ["agreement 0.31, usually 0.62"]
    assert found["timeline"][0] == {
        "timestamp_ms": 0,
        "end_ms": 1000,
        "emotions": {"happy": 0.7, "neutral": 0.2},
        "valence": 0.5,
        "arousal": -0.25,
        "dominance": 0.1,
        "agreement": 0.62,
        "modalities": ["face", "text", "voice"],
    }
    assert found["body_language"] == {
        "head_movement": {"value": 6.5, "unit": "deg/s", "measured_ms": 3000}
    }
    assert found["transcript"]["text"] == "=I am glad."
    assert found["transcript"]["emotions"] == {"grateful": 0.81, "happy": 0.8}
    assert found["transcript"]["utterances"][0]["sentiment"] is None
    assert found["face"]["dominant_emotion"] == "happy"
    assert found["face"]["average_valence"] is None
    assert found["voice"]["speech_rate_wpm"] == 150
    assert found["voice"]["pitch_mean_hz"] is None
    assert found["warnings"][0]["code"] == "SEVERAL_FACES"
    assert found["models"][0]["digest"] == "ab" * 32


def test_what_was_not_measured_is_null_or_left_out() -> None:
    found = emovision.detail(bare())
    assert found["overall_honesty_score"] is None
    assert found["honesty"] is None
    assert found["face"] is None
    assert found["transcript"] is None
    assert found["emotion_breakdown"] == {}
    assert found["key_moments"] == []
    assert found["body_language"] == {}
    assert found["timeline"][0]["emotions"] == {}
    assert found["timeline"][0]["valence"] is None
    assert found["timeline"][0]["agreement"] is None


def test_shares_that_round_to_nothing_are_left_out() -> None:
    analysis = whole()
    analysis.emotion_breakdown["fear"] = 0.00004
    assert "fearful" not in emovision.summary(analysis)["emotion_breakdown"]


def test_a_result_of_another_kind_has_no_forms_here() -> None:
    assert not list(emovision.render(job(), voice_pb2.AnalyzeVoiceResponse()))
    assert emovision.short(voice_pb2.AnalyzeVoiceResponse()) is None


def test_ids_of_recordings_and_jobs_stand_for_each_other() -> None:
    assert emovision.recording_id("job_a1b2c3d4e5f60718") == "rec_a1b2c3d4e5f60718"
    assert emovision.job_id("rec_a1b2c3d4e5f60718") == "job_a1b2c3d4e5f60718"
    assert emovision.job_id("job_a1b2c3d4e5f60718") == ""


def test_a_completed_analysis_is_announced_as_the_document_shows() -> None:
    ended = job()
    ended.state = jobs_pb2.JOB_STATE_DONE
    ended.charged_usd = "1.31"
    assert emovision.announcement(ended, whole()) == (
        "analysis.completed",
        {
            "recording_id": "rec_a1b2c3d4e5f60718",
            "overall_honesty_score": 78.5,
            "status": "completed",
            "cost_usd": 1.31,
        },
    )


def test_a_score_that_was_not_measured_is_announced_as_null() -> None:
    ended = job()
    ended.state = jobs_pb2.JOB_STATE_DONE
    name, told = emovision.announcement(ended, bare())
    assert name == "analysis.completed"
    assert (told["overall_honesty_score"], told["cost_usd"]) == (None, 0)


def test_a_failed_or_cancelled_analysis_is_announced_with_its_code() -> None:
    ended = job()
    ended.state = jobs_pb2.JOB_STATE_ERROR
    ended.error.code, ended.error.message = "INVALID_VIDEO", "It is broken."
    name, told = emovision.announcement(ended, None)
    assert name == "analysis.failed"
    assert (told["status"], told["code"], told["error"]) == (
        "failed",
        "INVALID_VIDEO",
        "It is broken.",
    )
    ended.state = jobs_pb2.JOB_STATE_CANCELLED
    ended.ClearField("error")
    assert emovision.announcement(ended, None)[1]["code"] == "CANCELLED"
