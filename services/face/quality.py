"""How good the picture of a face is, and how far its expression can be trusted."""

from dataclasses import dataclass
from math import cos, log, radians

import cv2
import numpy as np

from services.face.geometry import Floats
from services.face.landmarks import Landmarks
from services.face.pose import HeadPose

FULL_SIZE = 64.0
"""Shorter side of the box, in pixels, from which more pixels add nothing."""
BLURRED, SHARP = 0.003, 0.03
"""Variance of the Laplacian of a standardised crop: of FER+ faces blurred at sigma 3 and 1.2."""
DARK, DIM, BRIGHT, GLARING = 15.0, 50.0, 215.0, 245.0
"""Mean grey levels of a crop: useless, just enough, just enough, useless."""
FLAT, CONTRASTED = 4.0, 16.0
"""Standard deviations of grey levels: useless, just enough."""
FRONTAL_DEGREES = 20.0
ENOUGH = 0.6
"""A part of the quality below this is named in a warning and lowers the confidence."""


@dataclass(frozen=True)
class Quality:
    """Each part in [0, 1], 1 is best."""

    size: float
    sharpness: float
    exposure: float
    visibility: float
    frontality: float

    @property
    def score(self) -> float:
        """The product of the parts."""
        return self.size * self.sharpness * self.exposure * self.visibility * self.frontality

    @property
    def trust(self) -> float:
        """How much of the expression's probabilities to keep: 1 unless a part is not enough."""
        trust = 1.0
        for name in _WARNINGS:
            trust *= min(1.0, getattr(self, name) / ENOUGH)
        return trust

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """Code and message of every part that is not enough."""
        return [text for name, text in _WARNINGS.items() if getattr(self, name) < ENOUGH]


_WARNINGS = {
    "size": ("SMALL_FACE", "The face is small; its confidence is lowered."),
    "sharpness": ("BLURRED_FACE", "The face is blurred; its confidence is lowered."),
    "exposure": ("POOR_LIGHT", "The face is too dark or too bright; its confidence is lowered."),
    "visibility": ("FACE_COVERED", "The face is partly covered or cut; its confidence is lowered."),
    "frontality": ("FACE_TURNED", "The face is turned away; its confidence is lowered."),
}


def assess(
    crop: Floats, box: Floats, image_size: tuple[int, int], landmarks: Landmarks, pose: HeadPose
) -> Quality:
    """The quality of a face from its aligned ``crop [48, 48]`` and its unclipped ``box [4]``.

    ``image_size`` is width and height.
    """
    sides = box[2:] - box[:2]
    seen = np.minimum(box[2:], image_size) - np.maximum(box[:2], 0)
    inside = float(np.clip(seen, 0, None).prod() / max(float(sides.prod()), 1e-6))
    turned = cos(radians(pose.yaw)) * cos(radians(pose.pitch))
    return Quality(
        size=min(float(sides.min()) / FULL_SIZE, 1.0),
        sharpness=_sharpness(crop),
        exposure=_exposure(crop),
        visibility=landmarks.presence * inside,
        frontality=float(np.clip(turned / cos(radians(FRONTAL_DEGREES)), 0, 1)),
    )


def _sharpness(crop: Floats) -> float:
    standard = (crop - crop.mean()) / (crop.std() + 4.0)
    detail = max(float(cv2.Laplacian(standard, cv2.CV_32F).var()), 1e-9)
    return float(np.clip(log(detail / BLURRED) / log(SHARP / BLURRED), 0, 1))


def _exposure(crop: Floats) -> float:
    level, contrast = float(crop.mean()), float(crop.std())
    light = np.interp(level, [DARK, DIM, BRIGHT, GLARING], [0.0, 1.0, 1.0, 0.0])
    return float(light * np.interp(contrast, [FLAT, CONTRASTED], [0.0, 1.0]))
