"""EmoVision's forms of a recording: the document's answer, the detail, and the exports.

Only what was measured is given: what is missing is null, and left out of maps and lists. What the
job itself knows (id, state, cost) is not in these files; the gateway adds it.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import orjson
from google.protobuf.message import Message

from affectmesh.v1 import fusion_pb2, types_pb2, voice_pb2
from affectmesh.v1 import jobs_pb2 as pb
from services.jobs.representations import emotionml, parts, table, wia_format
from services.jobs.representations.file import File
from services.jobs.representations.parts import optional

DETAIL = "recording.json"
"""File name of the form of /api/v1/recordings/{id}."""

EXPORTS = MappingProxyType(
    {"json": "recording.wia.json", "csv": "timeline.csv", "emotionml": "recording.emotionml"}
)
"""File names of the exports, by `format`."""

WORDS = MappingProxyType(
    {
        "happiness": "happy",
        "sadness": "sad",
        "anger": "angry",
        "fear": "fearful",
        "disgust": "disgusted",
        "surprise": "surprised",
        "neutral": "neutral",
        "contempt": "contemptuous",
        "confusion": "confused",
        "interest": "interested",
        "boredom": "bored",
        "excitement": "excited",
        "anxiety": "anxious",
        "calm": "calm",
        "satisfaction": "satisfied",
        "frustration": "frustrated",
        "admiration": "admiring",
        "amusement": "amused",
        "annoyance": "annoyed",
        "approval": "approving",
        "caring": "caring",
        "curiosity": "curious",
        "desire": "desirous",
        "disappointment": "disappointed",
        "disapproval": "disapproving",
        "embarrassment": "embarrassed",
        "gratitude": "grateful",
        "grief": "grieving",
        "love": "loving",
        "optimism": "optimistic",
        "pride": "proud",
        "realization": "realizing",
        "relief": "relieved",
        "remorse": "remorseful",
    }
)
"""EmoVision's word for each label."""

_JOB, _RECORDING = "job_", "rec_"


def recording_id(job_id: str) -> str:
    """The id of a job's recording."""
    return _RECORDING + job_id.removeprefix(_JOB)


def job_id(recording_id: str) -> str:
    """The id of a recording's job; what is no recording's id is none of a job's."""
    if not recording_id.startswith(_RECORDING):
        return ""
    return _JOB + recording_id.removeprefix(_RECORDING)


def render(job: pb.Job, message: Message) -> Iterator[File]:
    """Every form of a recording's analysis; none of any other result."""
    if not isinstance(message, fusion_pb2.RecordingAnalysis):
        return
    yield File("application/json", DETAIL, orjson.dumps(detail(message)))
    name = recording_id(job.job_id)
    exported = wia_format.of_recording(message, name, job.update_time.ToJsonString())
    yield File("application/json", EXPORTS["json"], orjson.dumps(exported))
    yield File("text/csv", EXPORTS["csv"], table.of_recording(message))
    marked = emotionml.of_recording(message, name)
    yield File("application/emotionml+xml", EXPORTS["emotionml"], marked)


def announcement(job: pb.Job, result: Message | None) -> tuple[str, dict[str, Any]]:
    """The event that tells of a job's end, and its `data`."""
    told: dict[str, Any] = {"recording_id": recording_id(job.job_id)}
    if job.state == pb.JOB_STATE_DONE and isinstance(result, fusion_pb2.RecordingAnalysis):
        told["overall_honesty_score"] = summary(result)["overall_honesty_score"]
        told["status"] = "completed"
        told["cost_usd"] = float(job.charged_usd or 0)
        return "analysis.completed", told
    told["status"] = "failed"
    told["code"] = job.error.code or "CANCELLED"
    told["error"] = job.error.message or "The analysis was cancelled."
    told["cost_usd"] = 0
    return "analysis.failed", told


def short(result: Message) -> dict[str, Any] | None:
    """The summary of a recording's analysis; None of any other result."""
    return summary(result) if isinstance(result, fusion_pb2.RecordingAnalysis) else None


def summary(analysis: fusion_pb2.RecordingAnalysis) -> dict[str, Any]:
    """What the document shows of an analysis. The score is null where it was not measured."""
    honesty = analysis.honesty if analysis.HasField("honesty") else None
    return {
        "duration_minutes": round(analysis.duration_ms / 60_000, 4),
        "overall_honesty_score": honesty.score if honesty else None,
        "emotion_breakdown": _breakdown(analysis.emotion_breakdown),
        "key_moments": [
            {"timestamp_ms": one.timestamp_ms, "type": one.type, "score": one.score}
            for one in analysis.key_moments
        ],
    }


def detail(analysis: fusion_pb2.RecordingAnalysis) -> dict[str, Any]:
    """All that is known of a recording, in EmoVision's words."""
    return {
        **summary(analysis),
        "key_moments": parts.key_moments(analysis),
        "honesty": parts.consistency(analysis),
        "timeline": [_moment(one) for one in analysis.timeline],
        "body_language": parts.body_language(analysis),
        "transcript": _transcript(analysis),
        "voice": _voice(analysis.voice) if analysis.HasField("voice") else None,
        "face": _face(analysis) if analysis.HasField("face") else None,
        "warnings": parts.warnings(analysis),
        "models": parts.models(analysis),
        "processing_time_ms": analysis.processing_time_ms,
    }


def _breakdown(shares: Mapping[str, float]) -> dict[str, float]:
    """Largest first; what rounds to nothing is left out."""
    ranked = sorted(shares.items(), key=lambda pair: (-pair[1], pair[0]))
    rounded = {WORDS[label]: round(share, 4) for label, share in ranked}
    return {word: share for word, share in rounded.items() if share}


def _moment(one: fusion_pb2.RecordingMoment) -> dict[str, Any]:
    return {
        "timestamp_ms": one.start_ms,
        "end_ms": one.end_ms,
        "emotions": _confidences(one.emotions.all),
        **_dimensions(one.dimensions),
        "agreement": optional(one, "agreement"),
        "modalities": list(one.modalities),
    }


def _transcript(analysis: fusion_pb2.RecordingAnalysis) -> dict[str, Any] | None:
    voice = analysis.voice
    if not voice.HasField("transcript"):
        return None
    return {
        "text": voice.transcript,
        "language": optional(voice, "language_detected"),
        "emotions": _confidences(analysis.text.emotions.all),
        "sentiment": _polarity(analysis.text) if analysis.HasField("text") else None,
        "utterances": [
            {
                "timestamp_ms": one.start_ms,
                "end_ms": one.end_ms,
                "text": one.text,
                "emotions": _confidences(one.emotions.all),
                "sentiment": _polarity(one),
            }
            for one in analysis.utterances
        ],
    }


def _polarity(read: Any) -> float | None:
    return float(read.sentiment.polarity) if read.HasField("sentiment") else None


def _voice(voice: voice_pb2.AnalyzeVoiceResponse) -> dict[str, Any]:
    prosody = voice.prosody if voice.HasField("prosody") else None
    names = ("pitch_mean_hz", "pitch_range_hz", "intensity_db", "speech_rate_wpm", "pause_ratio")
    return {
        "emotions": _confidences(voice.emotions.all),
        **_dimensions(voice.dimensions),
        **{name: optional(prosody, name) if prosody else None for name in names},
    }


def _face(analysis: fusion_pb2.RecordingAnalysis) -> dict[str, Any]:
    seen = analysis.face.summary
    dominant = seen.dominant_emotion if seen.HasField("dominant_emotion") else None
    return {
        "dominant_emotion": WORDS[dominant] if dominant else None,
        "average_valence": optional(seen, "average_valence"),
        "average_arousal": optional(seen, "average_arousal"),
        "emotion_transitions": seen.emotion_transitions,
        "face_count": seen.face_count,
        "main_face_id": optional(analysis, "main_face_id"),
        "analyzed_frames": analysis.face.analyzed_frames,
    }


def _confidences(emotions: Iterable[types_pb2.Emotion]) -> dict[str, float]:
    return {WORDS[emotion.label]: emotion.confidence for emotion in emotions}


def _dimensions(found: types_pb2.Dimensions) -> dict[str, float | None]:
    return {name: optional(found, name) for name in ("valence", "arousal", "dominance")}
