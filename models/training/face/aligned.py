"""FER+ faces as serving would cut them: located by the landmark net, turned upright.

    python -m models.training.face.aligned --out FILE

Writes ``crops`` ``[M, 48, 48]`` and ``rows`` ``[M]``, their places in the train split: those whose
landmarks are found. Runs in the project's own environment.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from models.training.face import data
from services.common.inference import Inference
from services.common.inference.open import open_inference
from services.common.settings import Settings
from services.face import alignment, detection, landmarks
from services.face.geometry import Floats
from services.face.image import Pixels
from services.face.landmarks import Landmarks

VIEW = 256
MARGIN = 1.3
FOUND = 0.5
"""Presence from which the landmark net is believed to have seen a face."""
BATCH = 8


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    images, _ = data.load("train")
    inference = open_inference(Settings())
    crops: list[Floats] = []
    rows: list[int] = []
    for start in range(0, len(images), 500):
        part = images[start : start + 500]
        faces, seen = await locate(inference, part)
        crops += cut(part, faces, seen)
        rows += [start + row for row in seen]
        print(f"{start + len(part)} of {len(images)}: {len(rows)} found", file=sys.stderr)
    await inference.close()
    np.savez_compressed(out, crops=np.stack(crops).round().astype(np.uint8), rows=np.array(rows))


async def locate(inference: Inference, images: data.Images) -> tuple[list[Landmarks], list[int]]:
    """Landmarks of the faces that the net recognises as such, and their rows."""
    scale = VIEW / (48 * MARGIN)
    shift = VIEW / 2 - 24 * scale
    widen = np.array([[scale, 0, shift], [0, scale, shift]], np.float32)
    faces, seen = [], []
    for start in range(0, len(images), BATCH):
        views = [
            cv2.warpAffine(_rgb(i), widen, (VIEW, VIEW), borderMode=cv2.BORDER_REPLICATE)
            for i in images[start : start + BATCH]
        ]
        outputs = await inference.infer(landmarks.MODEL, {"image": np.stack(views)})
        for row, (upright, presence) in enumerate(
            zip(outputs["landmarks"], outputs["presence"], strict=True), start
        ):
            if presence[0] > FOUND:
                points = (upright - [shift, shift, 0]) / scale
                faces.append(Landmarks(points.astype(np.float32), upright, 1.0))
                seen.append(row)
    return faces, seen


def cut(images: data.Images, faces: Sequence[Landmarks], rows: Sequence[int]) -> list[Floats]:
    """The crop of each face from the image in its row, grey ``[48, 48]``, 0 to 255."""
    whole = detection.Detection(
        np.array([0, 0, 48, 48], np.float32), 1.0, np.zeros((6, 2), np.float32), 48.0
    )
    return [
        alignment.crop(_rgb(images[row]), alignment.anchors(whole, face))
        for row, face in zip(rows, faces, strict=True)
    ]


def _rgb(grey: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)


if __name__ == "__main__":
    asyncio.run(main())
