"""Action units of the Facial Action Coding System, read from MediaPipe's blendshapes.

Each unit is the mean of the blendshapes that move the same muscles (Ekman, Friesen and Hager,
FACS, 2002). Units without a blendshape of their own, or whose blendshape hardly ever leaves 0, are
listed as unsupported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.common.inference import Inference
from services.face.batches import in_batches
from services.face.landmarks import Landmarks

MODEL = "face_blendshapes"
BATCH = 16

POINTS = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65,
    66, 67, 70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136,
    144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172,
    173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283,
    284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324,
    332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385,
    386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472,
    473, 474, 475, 476, 477,
)  # fmt: skip
"""The landmarks that the blendshape net reads, in its order."""


@dataclass(frozen=True)
class Unit:
    """An action unit: its name in FACS and the blendshapes it is the mean of."""

    au: str
    name: str
    blendshapes: tuple[str, ...]

    def intensity(self, coefficients: Mapping[str, float]) -> float:
        """The mean of its blendshapes, in [0, 1]."""
        return sum(coefficients[name] for name in self.blendshapes) / len(self.blendshapes)


UNITS = (
    Unit("AU1", "Inner brow raiser", ("browInnerUp",)),
    Unit("AU2", "Outer brow raiser", ("browOuterUpLeft", "browOuterUpRight")),
    Unit("AU4", "Brow lowerer", ("browDownLeft", "browDownRight")),
    Unit("AU5", "Upper lid raiser", ("eyeWideLeft", "eyeWideRight")),
    Unit("AU12", "Lip corner puller", ("mouthSmileLeft", "mouthSmileRight")),
    Unit("AU15", "Lip corner depressor", ("mouthFrownLeft", "mouthFrownRight")),
    Unit("AU17", "Chin raiser", ("mouthShrugLower",)),
    Unit("AU20", "Lip stretcher", ("mouthStretchLeft", "mouthStretchRight")),
    Unit("AU26", "Jaw drop", ("jawOpen",)),
    Unit("AU45", "Blink", ("eyeBlinkLeft", "eyeBlinkRight")),
)
UNSUPPORTED = ("AU6", "AU7", "AU9", "AU10", "AU14", "AU23", "AU24", "AU25")


@dataclass(frozen=True)
class ActionUnit:
    """A measured unit and its intensity in [0, 1]."""

    au: str
    name: str
    intensity: float


async def measure(inference: Inference, faces: Sequence[Landmarks]) -> list[list[ActionUnit]]:
    """The action units of each face, in the order of ``UNITS``."""
    names = inference.info(MODEL).labels

    async def look(part: Sequence[Landmarks]) -> list[list[ActionUnit]]:
        points = np.stack([face.upright[list(POINTS), :2] for face in part])
        outputs = await inference.infer(MODEL, {"points": points.astype(np.float32)})
        values = (dict(zip(names, row.tolist(), strict=True)) for row in outputs["coefficients"])
        return [[ActionUnit(u.au, u.name, u.intensity(value)) for u in UNITS] for value in values]

    return await in_batches(faces, BATCH, look)
