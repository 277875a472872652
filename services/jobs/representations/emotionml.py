"""A timeline as EmotionML 1.0 (W3C Recommendation, 22 May 2014).

Categories are of a vocabulary inside the document, whose six basic emotions are those of W3C's
big6; W3C's own have no word for neutral. Their confidences are the analysis's; how strong an
emotion is was not measured, so none has a value. Dimensions are of W3C's pad-dimensions, where
pleasure stands for valence, moved from [-1, 1] to EmotionML's scale of [0, 1].
"""

from collections.abc import Mapping
from urllib.parse import quote
from xml.etree import ElementTree as ET

from affectmesh.v1 import fusion_pb2, types_pb2
from services.jobs.representations.table import LABELS

NAMESPACE = "http://www.w3.org/2009/10/emotionml"
BIG6 = "http://www.w3.org/TR/emotion-voc/xml#big6"
PAD = "http://www.w3.org/TR/emotion-voc/xml#pad-dimensions"
VOCABULARY = "emotions"
"""The id of the document's own vocabulary."""

_BASIC = frozenset({"anger", "disgust", "fear", "happiness", "sadness", "surprise"})
_PAD_NAMES = {"valence": "pleasure", "arousal": "arousal", "dominance": "dominance"}


def of_recording(analysis: fusion_pb2.RecordingAnalysis, name: str) -> bytes:
    """One emotion for the whole recording, then one for each moment in which any was measured.

    Times are ms from the start of the recording, which each emotion refers to by name with a media
    fragment (W3C Media Fragments URI 1.0) of seconds.
    """
    root = ET.Element(
        "emotionml",
        {
            "xmlns": NAMESPACE,
            "version": "1.0",
            "category-set": f"#{VOCABULARY}",
            "dimension-set": PAD,
        },
    )
    vocabulary = ET.SubElement(root, "vocabulary", {"type": "category", "id": VOCABULARY})
    for label in LABELS:
        item = ET.SubElement(vocabulary, "item", {"name": label})
        if label in _BASIC:
            ET.SubElement(item, "info").text = BIG6
    uri = quote(name)
    modalities = {name for moment in analysis.timeline for name in moment.modalities}
    whole = _emotion(root, "recording", uri, 0, analysis.duration_ms, sorted(modalities))
    _describe(root, whole, analysis.emotion_breakdown, types_pb2.Dimensions(), uri)
    for number, moment in enumerate(analysis.timeline):
        found = _emotion(
            root, f"moment-{number}", uri, moment.start_ms, moment.end_ms, list(moment.modalities)
        )
        confidences = {one.label: one.confidence for one in moment.emotions.all}
        _describe(root, found, confidences, moment.dimensions, uri)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _emotion(
    root: ET.Element, name: str, uri: str, start_ms: int, end_ms: int, modalities: list[str]
) -> ET.Element:
    attributes = {
        "id": name,
        "time-ref-uri": uri,
        "offset-to-start": str(start_ms),
        "duration": str(end_ms - start_ms),
    }
    if modalities:
        attributes["expressed-through"] = " ".join(modalities)
    return ET.SubElement(root, "emotion", attributes)


def _describe(
    root: ET.Element,
    emotion: ET.Element,
    confidences: Mapping[str, float],
    dimensions: types_pb2.Dimensions,
    uri: str,
) -> None:
    """Fills an emotion, or takes it out again where nothing was measured, as EmotionML wants."""
    for label, confidence in sorted(confidences.items(), key=lambda pair: -pair[1]):
        shown = {"name": label, "confidence": f"{confidence:.4f}"}
        ET.SubElement(emotion, "category", shown)
    for field, value in dimensions.ListFields():
        if field.name in _PAD_NAMES:
            shown = {"name": _PAD_NAMES[field.name], "value": f"{(value + 1) / 2:.4f}"}
            ET.SubElement(emotion, "dimension", shown)
    if not len(emotion):
        root.remove(emotion)
        return
    start_ms = int(emotion.attrib["offset-to-start"])
    end_ms = start_ms + int(emotion.attrib["duration"])
    fragment = f"{uri}#t={_seconds(start_ms)},{_seconds(end_ms)}"
    ET.SubElement(emotion, "reference", {"uri": fragment, "role": "expressedBy"})


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".")
