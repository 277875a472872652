"""The faces of a recording as people, and the main speaker among them."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from affectmesh.v1 import face_pb2
from services.fusion.modalities import opinion_of
from services.fusion.observations import Saying, Sighting

OVERLAP = 0.3
"""Intersection over union from which two boxes at different times are the same person's."""
_MOUTH = "AU26"
_LIDS = "AU45"
_LEAST_MOUTH = 0.1


@dataclass
class Person:
    """A face followed through the recording."""

    number: int
    seen: list[tuple[int, face_pb2.Face]] = field(default_factory=list)


def people(face: face_pb2.AnalyzeFaceVideoResponse) -> list[Person]:
    """The people whose faces were followed; face_id then numbers them, and the summary counts them.

    A track continues a person who is not seen at the same time and whose last box overlaps its
    first by OVERLAP; so people keep their number after looking away.
    """
    tracks: dict[int, list[tuple[int, face_pb2.Face]]] = defaultdict(list)
    for frame in face.timeline:
        for one in frame.faces:
            tracks[one.face_id].append((frame.timestamp_ms, one))
    found = _people(list(tracks.values()))
    for person in found:
        for _, one in person.seen:
            one.face_id = person.number
    face.summary.face_count = len(found)
    return found


def main_speaker(
    people: Sequence[Person], sayings: Sequence[Saying], frames: Sequence[int]
) -> Person | None:
    """Whose face is most likely the speaker's; None without people.

    The product of how much of the speech (of the recording, where there is none) the face is seen
    in, how much its mouth moves in it (standard deviation of AU26), and its mean area; the last
    two as shares of the largest among the people. `frames` are the times analysed.
    """
    starts = [saying.start_ms for saying in sayings]
    at = [bisect_right(starts, time) - 1 for time in frames]
    spoken = [
        time
        for time, place in zip(frames, at, strict=True)
        if place >= 0 and time < sayings[place].end_ms
    ]
    times = frozenset(spoken or frames)
    if not people:
        return None
    seen = [[face for time, face in one.seen if time in times] for one in people]
    mouths = _shares([_mouth_movement(faces) for faces in seen])
    areas = _shares([_mean_area(faces) for faces in seen])
    scores = [
        len(faces) / len(times) * max(_LEAST_MOUTH, mouth) * area
        for faces, mouth, area in zip(seen, mouths, areas, strict=True)
    ]
    best = max(scores)
    return people[scores.index(best)] if best else max(people, key=lambda one: len(one.seen))


def sightings(person: Person) -> list[Sighting]:
    """A person's faces as observations, in order of time."""
    return [_sighting(time, face) for time, face in sorted(person.seen, key=lambda one: one[0])]


def _sighting(time_ms: int, face: face_pb2.Face) -> Sighting:
    quality = face.quality.score if face.HasField("quality") else 1.0
    pose = face.pose
    return Sighting(
        time_ms,
        opinion_of("face", face, quality),
        (pose.pitch, pose.yaw, pose.roll),
        (face.gaze.pitch, face.gaze.yaw),
        _intensity(face, _LIDS),
    )


def _people(tracks: Sequence[list[tuple[int, face_pb2.Face]]]) -> list[Person]:
    people: list[Person] = []
    for track in sorted(tracks, key=lambda one: one[0][0]):
        start_ms, first = track[0]
        fits = [
            (_overlap(person.seen[-1][1], first), -place)
            for place, person in enumerate(people)
            if person.seen[-1][0] < start_ms
        ]
        overlap, place = max(fits, default=(0.0, 0))
        if overlap < OVERLAP:
            people.append(Person(len(people)))
            place = -(len(people) - 1)
        people[-place].seen.extend(track)
    return people


def _overlap(one: face_pb2.Face, other: face_pb2.Face) -> float:
    a, b = one.bbox, other.bbox
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    shared = max(0, width) * max(0, height)
    return shared / max(1, a.width * a.height + b.width * b.height - shared)


def _intensity(face: face_pb2.Face, unit: str) -> float | None:
    return next((one.intensity for one in face.action_units if one.au == unit), None)


def _mouth_movement(faces: Sequence[face_pb2.Face]) -> float:
    given = [value for face in faces if (value := _intensity(face, _MOUTH)) is not None]
    return float(np.std(given)) if len(given) > 1 else 0.0


def _mean_area(faces: Sequence[face_pb2.Face]) -> float:
    areas = [face.bbox.width * face.bbox.height for face in faces]
    return float(np.mean(areas)) if areas else 0.0


def _shares(values: Sequence[float]) -> list[float]:
    largest = max(values)
    return [value / largest if largest else 1.0 for value in values]
