"""Crops put eyes and mouth where the expression net learnt to see them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from services.face.alignment import ANCHORS, anchors, crop
from services.face.detection import detect
from services.face.image import Pixels
from services.face.landmarks import locate
from tests.face.conftest import Recorded
from tests.face.pictures import scene


@pytest.mark.parametrize("scale", [0.6, 1.0, 3.0, 12.0])
@pytest.mark.parametrize("degrees", [0, 40])
def test_marked_points_land_on_the_anchors(scale: float, degrees: int) -> None:
    turn = cv2.getRotationMatrix2D((0, 0), degrees, scale)
    points = (ANCHORS @ turn[:, :2].T + [700, 700]).astype(np.float32)
    picture = np.zeros((1400, 1400, 3), np.uint8)
    for x, y in points:
        cv2.circle(
            picture, (round(float(x)), round(float(y))), max(round(scale), 1), (255,) * 3, -1
        )
    cut = crop(picture, points)
    assert cut.shape == (48, 48)
    for x, y in ANCHORS:
        around = cut[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4]
        row, column = np.unravel_index(around.argmax(), around.shape)
        assert abs(row - 3 - (y % 1)) <= 1.5
        assert abs(column - 3) <= 1.5


async def test_detector_points_serve_where_landmarks_fail(
    inference: Recorded, portrait: Pixels
) -> None:
    picture, _ = scene(portrait, [(200, 100, 150)])
    [face] = (await detect(inference, picture, 64)).detections
    [points] = await locate(inference, picture, [face])
    assert points.presence > 0.9
    fine = anchors(face, points)
    coarse = anchors(face, replace(points, presence=0.1))
    assert not np.array_equal(fine, coarse)
    assert np.linalg.norm(fine - coarse, axis=1).max() < 0.15 * face.side
