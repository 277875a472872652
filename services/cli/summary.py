"""Answers of the REST API as a person reads them."""

from collections.abc import Callable, Iterable
from typing import Any

Answer = dict[str, Any]

LEAST_INTENSITY = 0.05
"""Action units below this are not worth a word."""


def summary(kind: str, answer: Answer) -> list[str]:
    """The lines that say what an answer of a kind says, and what it warns of."""
    lines = _KINDS[kind](answer)
    return [*lines, *(f"warning  {warning['message']}" for warning in answer.get("warnings", []))]


def _face(answer: Answer) -> list[str]:
    return [line for face in answer["faces"] for line in _one_face(face)]


def _one_face(face: Answer) -> list[str]:
    box = face["bbox"]
    units = (
        f"{unit['au']} {unit['intensity']:.2f}"
        for unit in face["action_units"]
        if unit["intensity"] >= LEAST_INTENSITY
    )
    return [
        f"face {face['face_id']} at {box['x']}, {box['y']}, "
        f"{box['width']} x {box['height']} pixels: {_emotions(face['emotions'])}",
        f"{_dimensions(face)}; action units: {', '.join(units) or 'none'}",
    ]


def _video(answer: Answer) -> list[str]:
    found = answer["summary"]
    return [
        f"{answer['analyzed_frames']} of {answer['frame_count']} frames, "
        f"{found['face_count']} face followed: {found.get('dominant_emotion', 'no emotion')}, "
        f"{found['emotion_transitions']} changes",
        _measures(
            (
                ("mean valence", found.get("average_valence"), ""),
                ("mean arousal", found.get("average_arousal"), ""),
            )
        ),
    ]


def _voice(answer: Answer) -> list[str]:
    prosody = answer["prosody"]
    measures = (
        ("pitch", prosody.get("pitch_mean_hz"), "Hz"),
        ("range", prosody.get("pitch_range_hz"), "Hz"),
        ("rate", prosody.get("speech_rate_wpm"), "words a minute"),
        ("pauses", 100 * prosody["pause_ratio"], "%"),
    )
    return [
        f"“{answer.get('transcript', '')}” "
        f"({answer.get('language_detected', '?')}, {answer['duration_ms'] / 1000:.1f} s)",
        f"{_emotions(answer['emotions'])}; {_dimensions(answer)}",
        _measures(measures),
    ]


def _text(answer: Answer) -> list[str]:
    sentiment = answer["sentiment"]
    aspects = (f"{found['aspect']} {found['sentiment']:+.2f}" for found in answer["aspects"])
    return [
        f"{sentiment['label']} ({sentiment['polarity']:+.2f}), "
        f"language {answer['language']}: {_emotions(answer['emotions'])}",
        f"{_dimensions(answer)}; aspects: {', '.join(aspects) or 'none'}",
    ]


def _batch(answer: Answer) -> list[str]:
    return [
        f"{result['id']}  {result['sentiment']['polarity']:+.2f}  {result['sentiment']['label']}, "
        f"{result['emotion']['label']} {result['emotion']['confidence']:.1%}"
        for result in answer["results"]
    ]


def _biosignal(answer: Answer) -> list[str]:
    heart, variability = answer["heart_rate"], answer.get("hrv", {})
    skin, states = answer.get("eda", {}), answer["derived_states"]
    return [
        _measures(
            (
                ("heart", heart.get("mean_bpm"), "bpm"),
                ("RMSSD", variability.get("rmssd_ms"), "ms"),
                ("SDNN", variability.get("sdnn_ms"), "ms"),
                ("skin", skin.get("scl_mean"), "µS"),
                ("responses", skin.get("scr_count"), ""),
            )
        ),
        _measures(
            (name, states.get(key), "")
            for name, key in (
                ("stress", "stress_level"),
                ("relaxation", "relaxation"),
                ("arousal", "arousal"),
            )
        ),
    ]


def _multimodal(answer: Answer) -> list[str]:
    fused, details = answer["fused_result"], answer["fusion_details"]
    weights = (f"{name} {weight:.2f}" for name, weight in details["weights_used"].items())
    return [
        f"{_emotions(fused['emotions'])}; {_dimensions(fused)}",
        f"weights: {', '.join(weights)}; agreement {details['agreement_score']:.2f}",
    ]


_KINDS: dict[str, Callable[[Answer], list[str]]] = {
    "face": _face,
    "video": _video,
    "voice": _voice,
    "text": _text,
    "batch": _batch,
    "biosignal": _biosignal,
    "multimodal": _multimodal,
}


def _emotions(emotions: Answer, most: int = 3) -> str:
    ranked = emotions.get("all") or [emotions["primary"]]
    return ", ".join(f"{found['label']} {found['confidence']:.1%}" for found in ranked[:most])


def _dimensions(part: Answer) -> str:
    found = part.get("dimensions")
    return f"valence {found['valence']:+.2f}, arousal {found['arousal']:+.2f}" if found else ""


def _measures(measures: Iterable[tuple[str, float | None, str]]) -> str:
    return ", ".join(
        f"{name} {value:.4g} {unit}".rstrip() for name, value, unit in measures if value is not None
    )
