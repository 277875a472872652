"""The 478 points of each face, with irises, by MediaPipe's face landmark net."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan2, cos, sin

import cv2
import numpy as np

from services.common.inference import Inference
from services.face.batches import in_batches
from services.face.detection import LEFT_EYE, RIGHT_EYE, Detection
from services.face.geometry import Floats, apply, invert
from services.face.image import Pixels

MODEL = "face_landmarks"
INPUT = 256
BATCH = 4
OUTER_CORNERS = (33, 263)
"""Landmarks of the outer corners of the eyes."""
MARGIN = 1.5
"""Side of the square shown to the net, in sides of the detector's box."""


@dataclass(frozen=True)
class Landmarks:
    """Points of one face.

    ``points [478, 3]`` lie in the image; z is depth on the scale of x, smaller is nearer.
    ``upright [478, 3]`` are the same in the net's input, where the line of the eyes is level.
    ``presence`` in [0, 1] says how sure the net is that it looked at a face.
    """

    points: Floats
    upright: Floats
    presence: float

    @property
    def interocular(self) -> float:
        """Distance between the outer corners of the eyes in the image, in pixels."""
        right, left = self.points[list(OUTER_CORNERS), :2]
        return float(np.hypot(*(left - right)))


async def locate(
    inference: Inference, image: Pixels, detections: Sequence[Detection]
) -> list[Landmarks]:
    """The landmarks of each detection, in the same order."""

    async def look(part: Sequence[Detection]) -> list[Landmarks]:
        found: list[Landmarks] = []
        transforms = [_to_input(d) for d in part]
        views = np.stack(
            [cv2.warpAffine(image, t, (INPUT, INPUT), flags=cv2.INTER_LINEAR) for t in transforms]
        )
        outputs = await inference.infer(MODEL, {"image": views})
        for transform, upright, presence in zip(
            transforms, outputs["landmarks"], outputs["presence"], strict=True
        ):
            scale = float(np.hypot(transform[0, 0], transform[1, 0]))
            plane = apply(invert(transform), upright[:, :2])
            points = np.concatenate([plane, upright[:, 2:] / scale], 1).astype(np.float32)
            found.append(Landmarks(points, upright, float(presence[0])))
        return found

    return await in_batches(detections, BATCH, look)


def _to_input(detection: Detection) -> Floats:
    """Image to net input ``[2, 3]``: the widened box, turned so that the eyes are level."""
    across = detection.keypoints[RIGHT_EYE] - detection.keypoints[LEFT_EYE]
    angle = -atan2(float(across[1]), float(across[0]))
    scale = INPUT / (float((detection.box[2:] - detection.box[:2]).max()) * MARGIN)
    centre = (detection.box[:2] + detection.box[2:]) / 2
    turn = scale * np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]])
    return np.hstack([turn, (INPUT / 2 - turn @ centre)[:, None]]).astype(np.float32)
