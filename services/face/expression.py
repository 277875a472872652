"""What a face shows: probabilities over the eight expressions of FER+."""

from collections.abc import Sequence

import numpy as np

from services.common.inference import Inference
from services.face.batches import in_batches
from services.face.geometry import Floats

MODEL = "face_expression"
BATCH = 8


async def classify(inference: Inference, crops: Sequence[Floats]) -> Floats:
    """Calibrated probabilities ``[N, 8]`` in the order of the model's labels.

    ``crops`` are grey ``[48, 48]``, 0 to 255, as ``alignment.crop`` makes them.
    """

    async def look(part: Sequence[Floats]) -> Floats:
        batch = np.stack(part)[:, None].astype(np.float32)
        return (await inference.infer(MODEL, {"crop": batch}))["probabilities"]

    return np.stack(await in_batches(crops, BATCH, look))


def temper(probabilities: Floats, trust: float) -> Floats:
    """Probabilities ``[8]`` pulled towards even ones: not at all at trust 1, wholly at trust 0."""
    return np.asarray(trust * probabilities + (1 - trust) / len(probabilities), np.float32)
