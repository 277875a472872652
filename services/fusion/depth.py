"""How closely a recording is looked at; docs/fusion.md says what each depth gives."""

from dataclasses import dataclass

from services.common.errors import InvalidRequest


@dataclass(frozen=True)
class Depth:
    """faces_hz: least rate at which pictures are analysed. hop_ms: length of a moment of the
    timeline. segment_by: what is read as one saying by voice and text. every_saying_in_full: all
    emotions, dimensions and sarcasm of each saying instead of the foremost emotion and the
    polarity. topics: aspects and entities of the transcript."""

    name: str
    faces_hz: float
    hop_ms: int
    segment_by: str
    every_saying_in_full: bool
    topics: bool


BASIC = Depth("basic", 2.0, 1000, "utterance", every_saying_in_full=False, topics=False)
ADVANCED = Depth("advanced", 8.0, 500, "sentence", every_saying_in_full=True, topics=True)
_DEPTHS = {"": BASIC, BASIC.name: BASIC, ADVANCED.name: ADVANCED}


def read_depth(given: str) -> Depth:
    """The depth of that name, basic by default. Raises InvalidRequest naming `depth`."""
    if given not in _DEPTHS:
        raise InvalidRequest(
            f"depth is {given[:40]!r}.",
            field="depth",
            suggestion=f"Send {BASIC.name} or {ADVANCED.name}, or leave it out for {BASIC.name}.",
        )
    return _DEPTHS[given]
