"""Every request that the WIA document shows, sent as it stands, and the shape of every answer.

Only the host of the document's URLs is replaced, by a server on this machine.
"""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.common.labels import LABELS
from tests.contract.shapes import differences

SAMPLES = Path(__file__).parents[2] / "samples"
PHOTOGRAPH = SAMPLES / "face" / "astronaut.jpg"
SPEECH = SAMPLES / "voice" / "austen-0870.flac"
HEART = SAMPLES / "biosignal" / "rest.json"

FACE = {
    "face_id": 0,
    "bbox": {"x": 120, "y": 80, "width": 200, "height": 250},
    "emotions": {
        "primary": {"label": "happiness", "confidence": 0.87},
        "all": [{"label": "happiness", "confidence": 0.87}],
    },
    "dimensions": {"valence": 0.72, "arousal": 0.45},
    "action_units": [{"au": "AU6", "intensity": 0.8}],
}


def data_uri(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


async def ask(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await client.post(path, json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert answer["request_id"] == response.headers["x-request-id"]
    assert answer["processing_time_ms"] >= 0
    assert answer["provenance"]
    return answer


def check_emotions(emotions: dict[str, Any]) -> None:
    confidences = [emotion["confidence"] for emotion in emotions["all"]]
    assert confidences == sorted(confidences, reverse=True)
    assert emotions["all"][0] == emotions["primary"]
    assert all(0 <= confidence <= 1 for confidence in confidences)
    assert {emotion["label"] for emotion in emotions["all"]} <= set(LABELS)


@pytest.mark.parametrize("base", ["/v1", "/emotion-ai/v1"])
async def test_face_by_url(client: httpx.AsyncClient, files: str, base: str) -> None:
    body = {
        "image_url": f"{files}/face.jpg",
        "options": {
            "return_action_units": True,
            "return_dimensions": True,
            "return_landmarks": False,
            "min_face_size": 50,
            "max_faces": 5,
        },
    }
    answer = await ask(client, f"{base}/analyze/face", body)
    assert not differences({"faces": [FACE]}, answer)
    face = answer["faces"][0]
    check_emotions(face["emotions"])
    assert sum(emotion["confidence"] for emotion in face["emotions"]["all"]) == pytest.approx(
        1, abs=0.01
    )
    assert face["landmarks"] == []


async def test_face_by_base64_equals_face_by_url(client: httpx.AsyncClient, files: str) -> None:
    by_url = await ask(client, "/v1/analyze/face", {"image_url": f"{files}/face.jpg"})
    body = {"image_base64": data_uri(PHOTOGRAPH, "image/jpeg")}
    assert (await ask(client, "/v1/analyze/face", body))["faces"] == by_url["faces"]


async def test_face_options_switch_parts_off(client: httpx.AsyncClient, files: str) -> None:
    options = {"return_action_units": False, "return_dimensions": False, "return_landmarks": True}
    body = {"image_url": f"{files}/face.jpg", "options": options}
    face = (await ask(client, "/v1/analyze/face", body))["faces"][0]
    assert face["action_units"] == []
    assert "dimensions" not in face
    assert len(face["landmarks"]) == 478


async def test_video_by_url(client: httpx.AsyncClient, files: str) -> None:
    body = {
        "video_url": f"{files}/video.mp4",
        "options": {
            "sample_rate": 5,
            "start_time_ms": 0,
            "end_time_ms": 10000,
            "track_faces": True,
        },
    }
    answer = await ask(client, "/v1/analyze/face/video", body)
    check_video(answer)
    assert answer["analyzed_frames"] == -(-answer["frame_count"] // 5)


async def test_video_by_frames(client: httpx.AsyncClient) -> None:
    frames = [data_uri(PHOTOGRAPH, "image/jpeg")] * 3
    body = {"frames_base64": frames, "options": {"sample_rate": 1}}
    answer = await ask(client, "/v1/analyze/face/video", body)
    check_video(answer)
    assert answer["analyzed_frames"] == 3
    assert answer["summary"]["emotion_transitions"] == 0


def check_video(answer: dict[str, Any]) -> None:
    sample = {
        "duration_ms": 10000,
        "frame_count": 60,
        "analyzed_frames": 12,
        "timeline": [{"timestamp_ms": 0, "faces": [{"face_id": 0}]}],
        "summary": {
            "dominant_emotion": "happiness",
            "average_valence": 0.65,
            "average_arousal": 0.42,
            "emotion_transitions": 3,
        },
    }
    assert not differences(sample, answer)
    assert len(answer["timeline"]) == answer["analyzed_frames"]


async def test_voice(client: httpx.AsyncClient, files: str) -> None:
    body = {
        "audio_url": f"{files}/audio.wav",
        "options": {
            "language": "en-US",
            "return_transcript": True,
            "return_prosody": True,
            "segment_by": "utterance",
        },
    }
    sample = {
        "duration_ms": 5500,
        "language_detected": "en-US",
        "transcript": "I'm really excited about this opportunity!",
        "emotions": {"primary": {"label": "excitement", "confidence": 0.82}, "all": [{}]},
        "dimensions": {"valence": 0.78, "arousal": 0.85},
        "prosody": {
            "pitch_mean_hz": 185.5,
            "pitch_range_hz": 120.3,
            "intensity_db": 68.2,
            "speech_rate_wpm": 145,
            "pause_ratio": 0.12,
        },
        "segments": [
            {
                "start_ms": 0,
                "end_ms": 2500,
                "text": "I'm really excited",
                "emotion": "excitement",
                "confidence": 0.85,
            }
        ],
    }
    answer = await ask(client, "/v1/analyze/voice", body)
    assert not differences(sample, answer)
    check_emotions(answer["emotions"])
    assert answer["transcript"]
    assert answer["segments"]


async def test_voice_without_transcript_by_base64(client: httpx.AsyncClient) -> None:
    options = {"return_transcript": False, "return_prosody": False}
    body = {"audio_base64": data_uri(SPEECH, "audio/flac"), "options": options}
    answer = await ask(client, "/v1/analyze/voice", body)
    assert "transcript" not in answer
    assert "prosody" not in answer
    assert answer["words"] == []


async def test_text(client: httpx.AsyncClient) -> None:
    body = {
        "text": "I absolutely love this product! Best purchase ever.",
        "language": "en",
        "options": {"return_aspects": True, "return_entities": True, "detect_sarcasm": True},
    }
    sample = {
        "text_length": 52,
        "language": "en",
        "sentiment": {"polarity": 0.92, "subjectivity": 0.85, "label": "very_positive"},
        "emotions": {
            "primary": {"label": "happiness", "confidence": 0.91},
            "all": [{"label": "happiness", "confidence": 0.91}],
        },
        "dimensions": {"valence": 0.88, "arousal": 0.65},
        "aspects": [{"aspect": "product", "sentiment": 0.95, "mentions": ["product", "purchase"]}],
        "entities": [
            {"text": "product", "type": "PRODUCT", "emotion": "happiness", "sentiment": 0.95}
        ],
        "sarcasm": {"detected": False, "confidence": 0.02},
    }
    answer = await ask(client, "/v1/analyze/text", body)
    assert not differences(sample, answer)
    check_emotions(answer["emotions"])
    assert answer["text_length"] == 51  # the document's 52 is a slip; code points are counted
    assert answer["sentiment"]["label"] == "very_positive"
    assert answer["sarcasm"]["detected"] is False


async def test_text_batch(client: httpx.AsyncClient) -> None:
    body = {
        "texts": [
            {"id": "review_1", "text": "Great product!"},
            {"id": "review_2", "text": "Terrible experience."},
            {"id": "review_3", "text": "It was okay, nothing special."},
        ],
        "language": "en",
    }
    sample = {
        "results": [
            {
                "id": "review_1",
                "sentiment": {"polarity": 0.85, "label": "positive"},
                "emotion": {"label": "happiness", "confidence": 0.82},
            }
        ],
        "summary": {
            "average_sentiment": 0.06,
            "positive_count": 1,
            "negative_count": 1,
            "neutral_count": 1,
        },
    }
    answer = await ask(client, "/v1/analyze/text/batch", body)
    assert not differences(sample, answer)
    assert [result["id"] for result in answer["results"]] == ["review_1", "review_2", "review_3"]
    first, second, _ = (result["sentiment"] for result in answer["results"])
    assert first["polarity"] > 0 > second["polarity"]
    summary = answer["summary"]
    counts = ("positive_count", "negative_count", "neutral_count")
    assert sum(summary[count] for count in counts) == 3


async def test_biosignal(client: httpx.AsyncClient) -> None:
    body = json.loads(HEART.read_text())
    options = {"return_hrv": True, "return_stress": True, "return_engagement": True}
    sample = {
        "duration_ms": 60000,
        "heart_rate": {"mean_bpm": 72, "min_bpm": 65, "max_bpm": 82, "std_bpm": 5.2},
        "hrv": {"rmssd_ms": 42.5, "sdnn_ms": 55.3, "pnn50": 0.18, "lf_hf_ratio": 1.8},
        "eda": {"scl_mean": 3.2, "scr_count": 5, "scr_amplitude_mean": 0.8},
        "derived_states": {
            "stress_level": 0.35,
            "relaxation": 0.55,
            "engagement": 0.72,
            "arousal": 0.45,
        },
        "timeline": [{"time_ms": 0, "stress": 0.3, "engagement": 0.7}],
    }
    answer = await ask(client, "/v1/analyze/biosignal", {**body, "options": options})
    assert not differences(sample, answer)
    assert 30 < answer["heart_rate"]["mean_bpm"] < 200
    assert [moment["time_ms"] for moment in answer["timeline"][:3]] == [0, 10000, 20000]


async def test_multimodal(client: httpx.AsyncClient, files: str) -> None:
    body = {
        "modalities": {
            "face": {"image_url": f"{files}/face.jpg"},
            "voice": {"audio_url": f"{files}/audio.wav"},
            "text": {"text": "I'm feeling great today!"},
        },
        "fusion": {
            "method": "weighted_average",
            "weights": {"face": 0.5, "voice": 0.3, "text": 0.2},
        },
    }
    result = {
        "emotions": {"primary": {"label": "happiness", "confidence": 0.88}},
        "dimensions": {"valence": 0.75, "arousal": 0.52},
    }
    sample = {
        "fused_result": result,
        "modality_results": {"face": result, "voice": result, "text": result},
        "fusion_details": {
            "method": "weighted_average",
            "weights_used": {"face": 0.5, "voice": 0.3, "text": 0.2},
            "agreement_score": 0.92,
        },
    }
    answer = await ask(client, "/v1/analyze/multimodal", body)
    assert not differences(sample, answer)
    check_emotions(answer["fused_result"]["emotions"])
    assert sum(answer["fusion_details"]["weights_used"].values()) == pytest.approx(1, abs=1e-3)


async def test_multimodal_goes_on_without_a_modality_that_fails(
    client: httpx.AsyncClient, files: str
) -> None:
    body = {
        "modalities": {
            "face": {"image_url": f"{files}/no-face.png"},
            "text": {"text": "I'm feeling great today!"},
        }
    }
    answer = await ask(client, "/v1/analyze/multimodal", body)
    assert answer["fusion_details"]["weights_used"] == {"text": 1.0}
    assert "face" in answer["fusion_details"]["failed"]
    assert "face" not in answer["modality_results"]
    assert any("NO_FACE_DETECTED" in str(warning) for warning in answer["warnings"])
