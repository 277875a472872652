"""Which way the head is turned and the eyes look, from the landmarks."""

from dataclasses import dataclass
from functools import lru_cache
from math import asin, atan2, degrees, hypot
from pathlib import Path

import numpy as np

from services.face.geometry import Floats
from services.face.landmarks import Landmarks

GEOMETRY = "geometry.csv"
"""Beside the landmark model: landmark, weight, and place in the canonical face of MediaPipe."""

EYEBALL = 0.62
"""Radius of the eyeball in halves of the eye's width (12 mm and about 19.5 mm in adults)."""

_EYES = ((33, 133, 468), (362, 263, 473))
"""Outer or inner corner at the left, the other at the right, centre of the iris."""


@dataclass(frozen=True)
class HeadPose:
    """Degrees; 0, 0, 0 faces the camera. Up, the image's right and clockwise are positive."""

    pitch: float
    yaw: float
    roll: float


@dataclass(frozen=True)
class Gaze:
    """Degrees relative to the head. Up and the image's right are positive."""

    pitch: float
    yaw: float


def head_pose(landmarks: Landmarks, folder: Path) -> HeadPose:
    """The rotation that best turns the canonical face of ``folder`` onto the landmarks.

    Weighted orthogonal Procrustes under scaled orthography, in closed form (Kabsch 1976).
    """
    rotation = _rotation(landmarks, folder)
    forward = rotation @ np.array([0.0, 0.0, 1.0])
    right = rotation @ np.array([1.0, 0.0, 0.0])
    return HeadPose(
        pitch=degrees(asin(float(np.clip(forward[1], -1, 1)))),
        yaw=degrees(atan2(float(forward[0]), float(forward[2]))),
        roll=degrees(atan2(-float(right[1]), float(right[0]))),
    )


def gaze(landmarks: Landmarks, folder: Path) -> Gaze:
    """Where the eyes look relative to the head: the iris' place between the corners of each eye.

    Coarse: the eyeball is taken as a sphere centred between the corners.
    """
    turned = _camera_frame(landmarks.points) @ _rotation(landmarks, folder)
    yaw = pitch = 0.0
    for first, second, iris in _EYES:
        middle = (turned[first] + turned[second]) / 2
        width = hypot(*(turned[second] - turned[first])[:2])
        offset = (turned[iris] - middle)[:2] / max(width / 2 * EYEBALL, 1e-6)
        yaw += degrees(asin(float(np.clip(offset[0], -1, 1)))) / 2
        pitch += degrees(asin(float(np.clip(offset[1], -1, 1)))) / 2
    return Gaze(pitch=pitch, yaw=yaw)


def _camera_frame(points: Floats) -> Floats:
    """Image axes (right, down, away) to the canonical face's (right, up, towards the camera)."""
    return points * np.array([1, -1, -1], np.float32)


def _rotation(landmarks: Landmarks, folder: Path) -> Floats:
    rows, weights, canonical = _canonical(folder)
    seen = _camera_frame(landmarks.points)[rows]
    share = (weights / weights.sum())[:, None]
    covariance = (seen - (share * seen).sum(0)).T @ (
        share * (canonical - (share * canonical).sum(0))
    )
    left, _, right = np.linalg.svd(covariance)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    return np.asarray(left @ flip @ right, np.float32)


@lru_cache(maxsize=4)
def _canonical(folder: Path) -> tuple[np.ndarray, Floats, Floats]:
    table = np.loadtxt(folder / GEOMETRY, delimiter=",", skiprows=1, dtype=np.float32)
    return table[:, 0].astype(np.intp), table[:, 1], table[:, 2:5]
