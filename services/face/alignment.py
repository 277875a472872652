"""Cuts faces out the way the expression net saw them in training: upright, grey, 48 x 48."""

from math import ceil

import cv2
import numpy as np

from services.face.detection import LEFT_EYE, MOUTH, RIGHT_EYE, Detection
from services.face.geometry import Floats, similarity
from services.face.image import Pixels
from services.face.landmarks import Landmarks

SIZE = 48
ANCHORS = np.array([[15.0, 18.0], [33.0, 18.0], [24.0, 36.5]], np.float32)
"""Where the eyes and the mouth lie in a crop: their mean places in FER+."""

RELIABLE_PRESENCE = 0.5

_LEFT_EYE = (33, 133)
_RIGHT_EYE = (362, 263)
_MOUTH = (61, 291)


def anchors(detection: Detection, landmarks: Landmarks) -> Floats:
    """Left eye, right eye and mouth of a face, ``[3, 2]``.

    From the landmarks, or from the detector's coarser points where the landmark net saw no face.
    """
    if landmarks.presence < RELIABLE_PRESENCE:
        return detection.keypoints[[LEFT_EYE, RIGHT_EYE, MOUTH]]
    plane = landmarks.points[:, :2]
    rows = [plane[list(rows)].mean(0) for rows in (_LEFT_EYE, _RIGHT_EYE, _MOUTH)]
    return np.stack(rows).astype(np.float32)


def crop(image: Pixels, points: Floats) -> Floats:
    """The grey crop ``[48, 48]``, 0 to 255, in which the three ``points`` lie on ``ANCHORS``.

    Large faces are averaged down rather than sampled, as FER+ was.
    """
    transform = similarity(points, ANCHORS)
    shrink = 1 / max(float(np.hypot(transform[0, 0], transform[1, 0])), 1e-6)
    times = max(1, min(ceil(shrink), 8))
    size = SIZE * times
    placed = transform * times
    placed[:, 2] += (times - 1) / 2
    view = cv2.warpAffine(
        image, placed, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    grey = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32)
