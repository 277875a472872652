"""Measure the served face nets; prints JSON lines and a table.

    python -m models.training.face.evaluate

Runs in the project's own environment through the same code that serves. Expression figures are over
FER+ valid, which the choice of the nets looked at and to which one temperature is fitted (no test
split is at hand): once on the crops as they are, once located, aligned and cut as serving does.
Detection pastes the sample photograph, dimmed and mirrored at random, onto 1280 x 720.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import cv2
import numpy as np

from models.training.face import aligned, data
from models.training.face.scores import (
    accuracy,
    area_under_curve,
    expected_calibration_error,
    recalls,
)
from services.common.inference import Inference
from services.common.inference.open import open_inference
from services.common.settings import Settings
from services.face import action_units, detection, expression, image
from services.face.geometry import Floats
from services.face.image import Pixels

PHOTOGRAPH = Path(__file__).resolve().parents[3] / "samples" / "face" / "astronaut.jpg"
FACE = (172, 68, 106)
SHOWN_BY = {
    "AU1": "surprise",
    "AU2": "surprise",
    "AU4": "anger",
    "AU5": "surprise",
    "AU12": "happiness",
    "AU15": "sadness",
    "AU17": "sadness",
    "AU20": "fear",
    "AU26": "surprise",
}
TARGETS = {
    "face: FER+ valid, crops as they are, accuracy": "≥ .85",
    "face: FER+ valid, crops as they are, balanced": "≥ .68",
    "face: FER+ valid, crops as they are, ECE": "≤ .03",
    "face: detection recall at 24 px": "≥ .95",
    "face: detection recall at 32 px": "≥ .99",
    "face: false boxes an image": "< .05",
}


async def main() -> None:
    inference = open_inference(Settings())
    rows = [
        *await expression_rows(inference),
        *await detection_rows(inference),
    ]
    await inference.close()
    for row in rows:
        print(json.dumps({**row, "target": TARGETS.get(str(row["measure"]))}))
    width = max(len(str(row["measure"])) for row in rows)
    for row in rows:
        target = TARGETS.get(str(row["measure"]))
        beside = f"  (target {target})" if target else ""
        print(f"{row['measure']:<{width}}  {row['value']:>7}  n={row['n']}{beside}")


async def expression_rows(inference: Inference) -> list[dict[str, str | float]]:
    """Accuracy, balance and calibration on grey crops and on faces aligned as in serving."""
    images, votes = data.load("valid")
    truth = votes.argmax(1)
    names = inference.info(expression.MODEL).labels
    rows: list[dict[str, str | float]] = []

    def add(measure: str, value: float, count: int) -> None:
        rows.append({"measure": f"face: {measure}", "value": round(value, 4), "n": count})

    def judge(kind: str, probabilities: Floats, labels: np.ndarray) -> None:
        found = recalls(probabilities, labels)
        add(f"FER+ valid, {kind}, accuracy", accuracy(probabilities, labels), len(labels))
        balanced = float(np.mean(list(found.values())))
        add(f"FER+ valid, {kind}, balanced", balanced, len(labels))
        error = expected_calibration_error(probabilities, labels)
        add(f"FER+ valid, {kind}, ECE", error, len(labels))

    plain = await expression.classify(inference, [i.astype(np.float32) for i in images])
    judge("crops as they are", plain, truth)
    for label, recall in recalls(plain, truth).items():
        add(f"FER+ recall of {names[label]}", recall, int((truth == label).sum()))
    faces, seen = await aligned.locate(inference, images)
    crops = aligned.cut(images, faces, seen)
    judge("same faces unaligned", plain[seen], truth[seen])
    judge("aligned as in serving", await expression.classify(inference, crops), truth[seen])
    for side in (32, 24, 16):
        small = [cv2.resize(i, (side, side), interpolation=cv2.INTER_AREA) for i in images]
        large = [cv2.resize(i, (48, 48)).astype(np.float32) for i in small]
        judge(f"crops of {side} px", await expression.classify(inference, large), truth)
    units = await action_units.measure(inference, faces)
    for place, unit in enumerate(action_units.UNITS):
        if unit.au in SHOWN_BY:
            scores = np.array([row[place].intensity for row in units], np.float32)
            shown = SHOWN_BY[unit.au]
            positive = truth[seen] == names.index(shown)
            add(f"{unit.au} against {shown}, AUC", area_under_curve(scores, positive), len(seen))
    return rows


async def detection_rows(inference: Inference) -> list[dict[str, str | float]]:
    """Recall by size of face, and boxes that are no face, on 1280 x 720."""
    rng = np.random.default_rng(1)
    portrait = image.decode(PHOTOGRAPH.read_bytes())
    rows: list[dict[str, str | float]] = []
    wrong = total = 0
    for side in (24, 32, 48, 64, 100):
        hits, count = 0, 0
        for _ in range(20):
            picture, centres = _composite(portrait, side, rng)
            found = (await detection.detect(inference, picture, 20)).detections
            middles = np.array([(d.box[:2] + d.box[2:]) / 2 for d in found]).reshape(-1, 2)
            near = np.linalg.norm(middles[:, None] - np.array(centres)[None], axis=2) < side / 2
            hits += int(near.any(0).sum())
            wrong += int((~near.any(1)).sum())
            count += len(centres)
        total += 20
        recall = round(hits / count, 4)
        rows.append(
            {"measure": f"face: detection recall at {side} px", "value": recall, "n": count}
        )
    share = round(wrong / total, 4)
    rows.append({"measure": "face: false boxes an image", "value": share, "n": total})
    return rows


def _composite(
    portrait: Pixels, side: int, rng: np.random.Generator
) -> tuple[Pixels, list[tuple[float, float]]]:
    x, y, original = FACE
    head = portrait[y - original // 2 : y + 2 * original, x - original // 2 : x + 3 * original // 2]
    scale = side / original
    small = cv2.resize(head, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    coarse = rng.integers(0, 256, (9, 16, 3)).astype(np.uint8)
    picture = np.asarray(cv2.resize(coarse, (1280, 720), interpolation=cv2.INTER_CUBIC), np.uint8)
    centres: list[tuple[float, float]] = []
    for column in range(4):
        part = small[:, ::-1] if rng.random() < 0.5 else small
        part = np.clip(part * rng.uniform(0.5, 1.1) + rng.normal(0, 3, part.shape), 0, 255)
        height, width = part.shape[:2]
        left = 320 * column + int(rng.integers(0, 320 - width))
        top = int(rng.integers(0, 720 - height))
        picture[top : top + height, left : left + width] = part
        centres.append((left + side, top + side))
    return picture, centres


if __name__ == "__main__":
    asyncio.run(main())
