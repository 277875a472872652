"""Head pose and gaze against faces turned by known angles."""

from math import cos, radians, sin
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.face.geometry import apply, invert, similarity
from services.face.landmarks import Landmarks
from services.face.pose import gaze, head_pose

FOLDER = Path(__file__).parents[2] / "models" / "repository" / "face_landmarks"


def turned(pitch: float, yaw: float, roll: float) -> Landmarks:
    """The canonical face turned: up, then to the image's right, then clockwise."""
    table = np.loadtxt(FOLDER / "geometry.csv", delimiter=",", skiprows=1)
    p, y, r = (radians(a) for a in (pitch, yaw, roll))
    up = np.array([[1, 0, 0], [0, cos(p), sin(p)], [0, -sin(p), cos(p)]])
    right = np.array([[cos(y), 0, sin(y)], [0, 1, 0], [-sin(y), 0, cos(y)]])
    clockwise = np.array([[cos(r), sin(r), 0], [-sin(r), cos(r), 0], [0, 0, 1]])
    face = table[:, 2:] @ (clockwise @ right @ up).T
    points = np.zeros((478, 3), np.float32)
    points[table[:, 0].astype(int)] = face * [7, -7, -7] + [300, 200, 0]
    return Landmarks(points, points, 1.0)


@given(st.floats(-50, 50), st.floats(-70, 70))
def test_pitch_and_yaw_of_a_turned_face(pitch: float, yaw: float) -> None:
    pose = head_pose(turned(pitch, yaw, 0), FOLDER)
    assert pose.pitch == pytest.approx(pitch, abs=0.5)
    assert pose.yaw == pytest.approx(yaw, abs=0.5)


@given(st.floats(-80, 80))
def test_roll_of_a_tilted_face(roll: float) -> None:
    pose = head_pose(turned(0, 0, roll), FOLDER)
    assert pose.roll == pytest.approx(roll, abs=0.5)
    assert abs(pose.pitch) < 0.5
    assert abs(pose.yaw) < 0.5


@pytest.mark.parametrize(("across", "down"), [(0.0, 0.0), (3.0, 0.0), (-3.0, 0.0), (0.0, -3.0)])
def test_gaze_follows_the_iris(across: float, down: float) -> None:
    face = turned(0, 0, 0)
    for first, second, iris in ((33, 133, 468), (362, 263, 473)):
        face.points[iris] = (face.points[first] + face.points[second]) / 2 + [across, down, 0]
    looked = gaze(face, FOLDER)
    assert np.sign(round(looked.yaw, 3)) == np.sign(across)
    assert np.sign(round(looked.pitch, 3)) == np.sign(-down)


@given(st.floats(-3, 3), st.floats(0.1, 10), st.floats(-500, 500), st.floats(-500, 500))
def test_similarity_recovers_turn_scale_and_shift(
    turn: float, scale: float, across: float, down: float
) -> None:
    linear = scale * np.array([[cos(turn), -sin(turn)], [sin(turn), cos(turn)]])
    transform = np.hstack([linear, [[across], [down]]]).astype(np.float32)
    points = np.array([[10, 20], [40, 22], [25, 60]], np.float32)
    moved = apply(transform, points)
    assert np.allclose(apply(similarity(points, moved), points), moved, atol=0.05)
    assert np.allclose(apply(invert(transform), moved), points, atol=0.5)
