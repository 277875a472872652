"""The faces of a recording's parts as people, and who of them speaks."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def part(*frames: tuple[int, Sequence[face_pb2.Face]]) -> face_pb2.AnalyzeFaceVideoResponse:
    shown = any(found for _, found in frames)
    return face_pb2.AnalyzeFaceVideoResponse(
        frame_count=len(frames) * 5,
        analyzed_frames=len(frames),
        timeline=[face_pb2.FaceFrame(timestamp_ms=at, faces=found) for at, found in frames],
        warnings=[] if shown else [types_pb2.Warning(code="NO_FACE", message="No face.")],
    )


@given(st.integers(1, 3_600_000), st.floats(0.1, 60))
def test_parts_cover_the_recording_and_are_small_enough(
    duration_ms: int, pictures_hz: float
) -> None:
    listed = faces.parts(duration_ms, pictures_hz)
    assert listed[0][0] == 0
    assert listed[-1][1] == duration_ms
    assert all(start < end for start, end in listed)
    assert all(one[1] == other[0] for one, other in pairwise(listed))
    longest = max(end - start for start, end in listed)
    assert longest * pictures_hz / 1000 <= faces.MOST_PICTURES + pictures_hz


def test_a_short_recording_is_one_part_and_a_long_one_ten() -> None:
    assert faces.parts(30_000, 2) == [(0, 30_000)]
    assert len(faces.parts(600_000, 2)) == faces.PARTS


def test_a_person_keeps_the_number_from_part_to_part() -> None:
    joined, people = faces.join(
        [
            part((0, [face(0, LEFT), face(1, RIGHT)]), (500, [face(0, LEFT), face(1, RIGHT)])),
            part((1000, [face(0, RIGHT), face(1, LEFT)])),
        ],
        1500,
    )
    assert len(people) == 2
    assert [[one.face_id for one in frame.faces] for frame in joined.timeline] == [
        [0, 1],
        [0, 1],
        [1, 0],
    ]
    assert joined.summary.face_count == 2
    assert (joined.frame_count, joined.analyzed_frames, joined.duration_ms) == (15, 3, 1500)


def test_a_person_who_comes_back_to_the_same_place_is_the_same() -> None:
    _, people = faces.join([part((0, [face(0)]), (9000, [face(1, (10, 5, 100))]))], 9500)
    assert [len(one.seen) for one in people] == [2]


def test_people_seen_at_the_same_time_are_different() -> None:
    _, people = faces.join([part((0, [face(0), face(1, (20, 0, 100))]))], 500)
    assert len(people) == 2


def test_a_part_without_a_face_does_not_say_that_there_is_none() -> None:
    joined, people = faces.join([part((0, [face(0)])), part((1000, []))], 1500)
    assert len(people) == 1
    assert not joined.warnings


def test_the_summary_is_over_all_parts() -> None:
    joined, _ = faces.join(
        [
            part((0, [face(0, label="anger")])),
            part((1000, [face(0, label="happiness")]), (1500, [face(0, label="happiness")])),
        ],
        2000,
    )
    assert joined.summary.dominant_emotion == "happiness"
    assert joined.summary.average_valence == pytest.approx(0.5)


def test_without_faces_there_is_neither_a_summary_nor_a_speaker() -> None:
    joined, people = faces.join([part((0, []))], 500)
    assert not joined.summary.HasField("dominant_emotion")
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
    _, people = faces.join([part(*frames)], 10_000)
    speaker = faces.main_speaker(people, [saying(0, 5000)], [at for at, _ in frames])
    assert speaker is people[1]


def test_the_speaker_of_a_silent_recording_is_who_is_seen_most_and_largest() -> None:
    frames = [
        (at, [face(0, (0, 0, 50)), *([face(1, RIGHT)] if at < 4000 else [])])
        for at in range(0, 5000, 500)
    ]
    _, people = faces.join([part(*frames)], 5000)
    assert faces.main_speaker(people, [], [at for at, _ in frames]) is people[1]


def test_who_is_never_seen_during_speech_may_still_be_the_only_one() -> None:
    _, people = faces.join([part((0, [face(0)]), (5000, []))], 6000)
    assert faces.main_speaker(people, [saying(4000, 6000)], [0, 5000]) is people[0]


def test_sightings_are_a_persons_faces_in_order() -> None:
    shown = face(0, label="anger")
    shown.pose.yaw, shown.gaze.pitch = 12.5, -3.0
    shown.quality.score = 0.6
    shown.action_units.add(au="AU45", intensity=0.7)
    _, people = faces.join([part((0, [face(0)]), (500, [shown]))], 1000)
    first, second = faces.sightings(people[0])
    assert (first.time_ms, second.time_ms) == (0, 500)
    assert first.eyes_closed is None
    assert second.eyes_closed == 0.7
    assert second.head == (0.0, 12.5, 0.0)
    assert second.eyes == (-3.0, 0.0)
    assert second.opinion.emotions == {"anger": 1.0}
    assert second.opinion.quality == pytest.approx(0.6)
