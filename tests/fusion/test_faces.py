"""The faces of a recording as people, and who of them speaks."""

from collections.abc import Sequence

import pytest

from affectmesh.v1 import face_pb2, types_pb2
from services.common import results
from services.fusion import faces
from tests.fusion.observed import saying

Box = tuple[int, int, int]
"""Left, top and side."""

LEFT, RIGHT = (0, 0, 100), (300, 0, 100)


def face(track: int, box: Box = LEFT, mouth: float = 0.0, label: str = "neutral") -> face_pb2.Face:
    x, y, side = box
    return face_pb2.Face(
        face_id=track,
        bbox=types_pb2.BoundingBox(x=x, y=y, width=side, height=side),
        emotions=results.emotions({label: 1.0}),
        dimensions=types_pb2.Dimensions(valence=0.5, arousal=0.1),
        action_units=[face_pb2.ActionUnit(au="AU26", intensity=mouth)],
    )


def followed(*frames: tuple[int, Sequence[face_pb2.Face]]) -> face_pb2.AnalyzeFaceVideoResponse:
    return face_pb2.AnalyzeFaceVideoResponse(
        timeline=[face_pb2.FaceFrame(timestamp_ms=at, faces=found) for at, found in frames],
    )


def test_a_person_who_comes_back_to_the_same_place_is_the_same() -> None:
    answer = followed((0, [face(0)]), (9000, [face(1, (10, 5, 100))]))
    people = faces.people(answer)
    assert [len(one.seen) for one in people] == [2]
    assert [[one.face_id for one in frame.faces] for frame in answer.timeline] == [[0], [0]]
    assert answer.summary.face_count == 1


def test_people_seen_at_the_same_time_are_different() -> None:
    people = faces.people(followed((0, [face(0), face(1, (20, 0, 100))])))
    assert len(people) == 2


def test_without_faces_there_is_no_speaker() -> None:
    people = faces.people(followed((0, [])))
    assert faces.main_speaker(people, [], [0]) is None


def test_the_speaker_is_whose_mouth_moves_during_speech() -> None:
    frames = [
        (
            at,
            [
                face(0, LEFT, mouth=0.5 if at >= 5000 and at % 1000 else 0.0),
                face(1, RIGHT, mouth=0.5 if at < 5000 and at % 1000 else 0.0),
            ],
        )
        for at in range(0, 10_000, 500)
    ]
    people = faces.people(followed(*frames))
    speaker = faces.main_speaker(people, [saying(0, 5000)], [at for at, _ in frames])
    assert speaker is people[1]


def test_the_speaker_of_a_silent_recording_is_who_is_seen_most_and_largest() -> None:
    frames = [
        (at, [face(0, (0, 0, 50)), *([face(1, RIGHT)] if at < 4000 else [])])
        for at in range(0, 5000, 500)
    ]
    people = faces.people(followed(*frames))
    assert faces.main_speaker(people, [], [at for at, _ in frames]) is people[1]


def test_who_is_never_seen_during_speech_may_still_be_the_only_one() -> None:
    people = faces.people(followed((0, [face(0)]), (5000, [])))
    assert faces.main_speaker(people, [saying(4000, 6000)], [0, 5000]) is people[0]


def test_sightings_are_a_persons_faces_in_order() -> None:
    shown = face(0, label="anger")
    shown.pose.yaw, shown.gaze.pitch = 12.5, -3.0
    shown.quality.score = 0.6
    shown.action_units.add(au="AU45", intensity=0.7)
    people = faces.people(followed((0, [face(0)]), (500, [shown])))
    first, second = faces.sightings(people[0])
    assert (first.time_ms, second.time_ms) == (0, 500)
    assert first.eyes_closed is None
    assert second.eyes_closed == 0.7
    assert second.head == (0.0, 12.5, 0.0)
    assert second.eyes == (-3.0, 0.0)
    assert second.opinion.emotions == {"anger": 1.0}
    assert second.opinion.quality == pytest.approx(0.6)
