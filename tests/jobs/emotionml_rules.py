"""The rules that the W3C schema and Recommendation of EmotionML 1.0 set for a document."""

import re
from xml.etree import ElementTree as ET

NAMESPACE = "{http://www.w3.org/2009/10/emotionml}"
PREDEFINED = {
    "http://www.w3.org/TR/emotion-voc/xml#pad-dimensions": {"pleasure", "arousal", "dominance"},
    "http://www.w3.org/TR/emotion-voc/xml#big6": {
        "anger",
        "disgust",
        "fear",
        "happiness",
        "sadness",
        "surprise",
    },
}
"""The vocabularies of W3C's note that are used here."""

_SETS = {"category-set", "dimension-set", "appraisal-set", "action-tendency-set"}
_DESCRIPTIONS = ("category", "dimension", "appraisal", "action-tendency")
_ATTRIBUTES = {
    "emotionml": ({"version"}, _SETS),
    "vocabulary": ({"type", "id"}, set()),
    "item": ({"name"}, set()),
    "info": (set(), {"id"}),
    "emotion": (
        set(),
        _SETS
        | {"version", "id", "start", "end", "duration", "time-ref-uri", "time-ref-anchor-point"}
        | {"offset-to-start", "expressed-through"},
    ),
    "category": ({"name"}, {"value", "confidence"}),
    "dimension": ({"name"}, {"value", "confidence"}),
    "reference": ({"uri"}, {"role", "media-type"}),
}
"""Required and optional attributes of each element used."""

_ORDER = {
    "emotionml": r"(info )?(emotion |vocabulary )*",
    "vocabulary": r"(info )?(item )+",
    "item": r"(info )?",
    "emotion": r"(info )?(category |dimension |appraisal |action-tendency )+(reference )*",
    "category": "",
    "dimension": "",
    "reference": "",
}
_PATTERNS = {
    "version": r"1\.0",
    "duration": r"\d+",
    "start": r"\d+",
    "end": r"\d+",
    "offset-to-start": r"-?\d+",
    "id": r"[A-Za-z_][\w.-]*",
    "role": "expressedBy|experiencedBy|triggeredBy|targetedAt",
    "time-ref-anchor-point": "start|end",
    "expressed-through": r"[\w.:-]+( [\w.:-]+)*",
    "uri": r"[!-~]+",
    "time-ref-uri": r"[!-~]+",
}


def violations(document: bytes) -> list[str]:
    """What a document breaks."""
    root = ET.fromstring(document)
    if root.tag != f"{NAMESPACE}emotionml":
        return [f"the root is {root.tag}"]
    vocabularies = {
        f"#{one.get('id')}": {item.get("name", "") for item in one.iter(f"{NAMESPACE}item")}
        for one in root.iter(f"{NAMESPACE}vocabulary")
    }
    found = [problem for element in root.iter() for problem in _structure(element)]
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    if len(ids) != len(set(ids)):
        found.append("an id stands twice")
    for emotion in root.iter(f"{NAMESPACE}emotion"):
        for kind in _DESCRIPTIONS:
            uri = emotion.get(f"{kind}-set") or root.get(f"{kind}-set") or ""
            names = [one.get("name", "") for one in emotion.iter(NAMESPACE + kind)]
            if len(names) != len(set(names)):
                found.append(f"a {kind} stands twice in {emotion.get('id')}")
            known = {**PREDEFINED, **vocabularies}.get(uri, set())
            if strange := set(names) - known:
                found.append(f"{strange} are not in the vocabulary {uri!r}")
    return found


def _structure(element: ET.Element) -> list[str]:
    if not element.tag.startswith(NAMESPACE):
        return []
    name = element.tag.removeprefix(NAMESPACE)
    if name not in _ATTRIBUTES:
        return [f"there is no element {name}"]
    required, optional = _ATTRIBUTES[name]
    given = set(element.keys())
    found = [f"{name} lacks {one}" for one in required - given]
    found += [f"{name} must not have {one}" for one in given - required - optional]
    children = "".join(child.tag.removeprefix(NAMESPACE) + " " for child in element)
    if name in _ORDER and not re.fullmatch(_ORDER[name], children):
        found.append(f"{name} holds {children}")
    for one, text in element.items():
        if one in ("value", "confidence") and not 0 <= float(text) <= 1:
            found.append(f"{one} of {name} is {text}")
        if one in _PATTERNS and not re.fullmatch(_PATTERNS[one], text):
            found.append(f"{one} of {name} is {text!r}")
    return found
