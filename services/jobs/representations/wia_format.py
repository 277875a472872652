"""A recording in the WIA Emotion AI data format, WIA-EMOTION-AI-v1.0 (chapter 4 of the standard).

One object for the whole recording. What the format has no field for, the timeline above all, stands
in `x_affectmesh`: the standard allows fields of one's own under a prefix.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from affectmesh.v1 import face_pb2, fusion_pb2, text_pb2, types_pb2, voice_pb2
from services.fusion.weights import DEFAULT_WEIGHTS, normalise
from services.jobs.representations import parts

FORMAT = "WIA-EMOTION-AI-v1.0"

NAMES = {"face": "facial", "voice": "voice", "text": "text"}
"""The format's name of each modality."""

_METHOD = "late_fusion_"
_DIMENSIONS = ("valence", "arousal", "dominance")


def of_recording(
    analysis: fusion_pb2.RecordingAnalysis, session_id: str, timestamp: str
) -> dict[str, Any]:
    """The whole recording; the timestamp is that of the analysis, in ISO 8601.

    Confidences are means over time; dimensions are means over the moments that have them, and left
    out where none has.
    """
    results = _modality_results(analysis)
    spoke = {name for moment in analysis.timeline for name in moment.modalities}
    used = [name for name in NAMES if name in spoke and NAMES[name] in results]
    document: dict[str, Any] = {
        "format": FORMAT,
        "timestamp": timestamp,
        "session_id": session_id,
        "modality": "multimodal",
        "emotions": _emotions(_overall(analysis, results)),
        **_dimensions(_means(moment.dimensions for moment in analysis.timeline)),
        "modalities_used": [NAMES[name] for name in used],
        "fusion_method": "weighted_average",
        "modality_weights": _weights(used),
        "modality_results": results,
    }
    if analysis.HasField("face"):
        count = analysis.face.summary.face_count
        document["face"] = {"detected": count > 0, "count": count}
    if analysis.HasField("voice"):
        document["voice"] = _voice(analysis.voice)
    if analysis.HasField("text") and analysis.voice.HasField("transcript"):
        document["text"] = _text(analysis.text, analysis.voice.transcript)
    document["metadata"] = _metadata(analysis)
    document["x_affectmesh"] = _own(analysis)
    return document


def _overall(
    analysis: fusion_pb2.RecordingAnalysis, results: Mapping[str, Any]
) -> Mapping[str, float]:
    """Of the timeline; of a single modality where no moment of it has emotions."""
    if analysis.emotion_breakdown:
        return analysis.emotion_breakdown
    for found in results.values():
        return {one["label"]: one["confidence"] for one in found["emotions"]["all"]}
    return {}


def _modality_results(analysis: fusion_pb2.RecordingAnalysis) -> dict[str, Any]:
    """Those that were measured; of the face the main speaker's, as a mean over its pictures."""
    found: dict[str, Any] = {}
    if faces := _main_face(analysis):
        shares: dict[str, float] = {}
        for face in faces:
            for one in face.emotions.all:
                shares[one.label] = shares.get(one.label, 0.0) + one.confidence / len(faces)
        found["facial"] = {
            "emotions": _emotions(shares),
            **_dimensions(_means(face.dimensions for face in faces)),
        }
    for name, read in (("voice", analysis.voice), ("text", analysis.text)):
        if read.HasField("emotions"):
            found[name] = {
                "emotions": _emotions({one.label: one.confidence for one in read.emotions.all}),
                **_dimensions(_means([read.dimensions])),
            }
    return found


def _main_face(analysis: fusion_pb2.RecordingAnalysis) -> list[face_pb2.Face]:
    if not analysis.HasField("main_face_id"):
        return []
    return [
        face
        for frame in analysis.face.timeline
        for face in frame.faces
        if face.face_id == analysis.main_face_id and face.HasField("emotions")
    ]


def _weights(used: Sequence[str]) -> dict[str, float]:
    if not used:
        return {}
    weights = normalise({name: DEFAULT_WEIGHTS[name] for name in used})
    return {NAMES[name]: round(weight, 4) for name, weight in weights.items()}


def _emotions(shares: Mapping[str, float]) -> dict[str, Any]:
    ranked = sorted(shares.items(), key=lambda pair: (-pair[1], pair[0]))
    every = [{"label": label, "confidence": round(min(share, 1.0), 4)} for label, share in ranked]
    return {
        "primary": every[0] if every else None,
        **({"secondary": every[1]} if len(every) > 1 else {}),
        "all": every,
    }


def _means(measured: Iterable[types_pb2.Dimensions]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for one in measured:
        for name in _DIMENSIONS:
            if one.HasField(name):  # type: ignore[arg-type]
                values.setdefault(name, []).append(getattr(one, name))
    return {name: round(sum(given) / len(given), 4) for name, given in values.items()}


def _dimensions(means: Mapping[str, float]) -> dict[str, Any]:
    return {"dimensions": means} if means else {}


def _voice(voice: voice_pb2.AnalyzeVoiceResponse) -> dict[str, Any]:
    """Pitch in Hz, intensity in dB, speech rate in words a second."""
    prosody = voice.prosody
    features: dict[str, float] = {}
    for name, field, unit in (
        ("pitch_mean", "pitch_mean_hz", 1),
        ("pitch_std", "pitch_std_hz", 1),
        ("intensity_mean", "intensity_db", 1),
        ("speech_rate", "speech_rate_wpm", 60),
    ):
        if prosody.HasField(field):  # type: ignore[arg-type]
            features[name] = round(getattr(prosody, field) / unit, 4)
    if voice.HasField("prosody"):
        features["pause_ratio"] = prosody.pause_ratio
    found: dict[str, Any] = {"duration_ms": voice.duration_ms, "features": features}
    if voice.HasField("language_detected"):
        found["language"] = voice.language_detected
    if voice.HasField("transcript"):
        found["transcript"] = voice.transcript
    return found


def _text(text: text_pb2.AnalyzeTextResponse, content: str) -> dict[str, Any]:
    return {
        "content": content,
        "language": text.language,
        "length": text.text_length,
        "sentiment": {
            "polarity": text.sentiment.polarity,
            "subjectivity": text.sentiment.subjectivity,
        },
        "entities": [
            {"text": one.text, "emotion": one.emotion, "confidence": one.confidence}
            for one in text.entities
        ],
        "aspects": [{"aspect": one.aspect, "sentiment": one.sentiment} for one in text.aspects],
    }


def _metadata(analysis: fusion_pb2.RecordingAnalysis) -> dict[str, Any]:
    found = {}
    for model in analysis.provenance:
        if model.model.startswith(_METHOD):
            found = {"model_name": model.model, "model_version": model.version}
    return {**found, "processing_time_ms": analysis.processing_time_ms}


def _own(analysis: fusion_pb2.RecordingAnalysis) -> dict[str, Any]:
    return {
        "duration_ms": analysis.duration_ms,
        "depth": analysis.depth,
        "timeline": [_moment(one) for one in analysis.timeline],
        "key_moments": parts.key_moments(analysis),
        "behavioural_consistency": parts.consistency(analysis),
        "body_language": parts.body_language(analysis),
        "warnings": parts.warnings(analysis),
        "provenance": parts.models(analysis),
    }


def _moment(one: fusion_pb2.RecordingMoment) -> dict[str, Any]:
    moment: dict[str, Any] = {"start_ms": one.start_ms, "end_ms": one.end_ms}
    if one.HasField("emotions"):
        moment["emotions"] = _emotions({each.label: each.confidence for each in one.emotions.all})
    moment.update(_dimensions(_means([one.dimensions])))
    if one.HasField("agreement"):
        moment["agreement"] = one.agreement
    moment["modalities"] = [NAMES[name] for name in one.modalities]
    return moment
