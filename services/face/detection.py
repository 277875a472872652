"""Finds faces with MediaPipe's full-range BlazeFace, in two looks.

The net sees 192 x 192 pixels. The first look goes over the whole image and, where faces may be too
small for that, over tiles; anything that might be a face is a candidate. The second look zooms in
on each candidate that was small, doubtful or cut by a tile's edge, and decides.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np
import numpy.typing as npt

from services.common.inference import Inference
from services.face.batches import in_batches
from services.face.geometry import Floats, areas, overlaps
from services.face.image import Pixels

MODEL = "face_detection"
INPUT = 192
STRIDE = 4
BATCH = 4
CANDIDATE = 0.2
"""Score from which something gets a second look."""
SMALLEST_CANDIDATE = 15.0
"""Smallest face, in pixels of the net's input, that the first look brings up nine times in ten."""
DETAILED = 28.0
"""Size of a face in the net's input from which a good score needs no second look."""
ZOOMED = 40.0
"""Size of a face in the net's input at the second look."""
TILE_OVERLAP = 0.15
MAX_TILES = 96
MAX_SECOND_LOOKS = 64
SAME_FACE_OVERLAP = 0.3
SAME_FACE_CONTAINMENT = 0.6

LEFT_EYE, RIGHT_EYE, NOSE, MOUTH = range(4)
"""Rows of ``Detection.keypoints``; left and right as seen in the image."""


@dataclass(frozen=True)
class Detection:
    """A face: ``box [4]``, ``score`` in [0, 1], ``keypoints [6, 2]``, all in image pixels.

    ``detail`` is the side of the box in the net's input, 0 where an edge of the view cut it.
    """

    box: Floats
    score: float
    keypoints: Floats
    detail: float

    @property
    def side(self) -> float:
        """The longer side of the box in image pixels."""
        return float((self.box[2:] - self.box[:2]).max())


@dataclass(frozen=True)
class Window:
    """A square of the image shown to the net: its left, top and side in image pixels."""

    left: float
    top: float
    side: float


@dataclass(frozen=True)
class Known:
    """What earlier frames of a video tell of this one.

    ``boxes``: where faces should be, each ``[4]``. ``turn``: the tiles are gone over again and
    again, and this frame looks at those from the first to the second of these numbers of rounds.
    """

    boxes: Sequence[Floats]
    turn: tuple[float, float]


@dataclass(frozen=True)
class Search:
    """Faces found, largest first, and the smallest face that the search was laid out to find."""

    detections: list[Detection]
    smallest: float


async def detect(
    inference: Inference, image: Pixels, min_face_size: int, known: Known | None = None
) -> Search:
    """Faces whose shorter side is at least ``min_face_size`` pixels.

    With ``known`` small faces are sought around those and in some of the tiles only; one that the
    look at the whole image shows as large as a second look would needs none of its own.
    """
    height, width = image.shape[:2]
    whole = Window(0, 0, float(max(height, width)))
    windows = [whole]
    smallest = float(min_face_size)
    if whole.side * SMALLEST_CANDIDATE / INPUT > min_face_size:
        tiles = tile(width, height, min_face_size)
        windows += tiles if known is None else in_turn(tiles, known.turn)
        smallest = max(smallest, tiles[0].side * SMALLEST_CANDIDATE / INPUT)
    if known is not None:
        seen = ZOOMED * whole.side / INPUT
        windows += [_around(box) for box in known.boxes if float((box[2:] - box[:2]).max()) < seen]
    threshold = float(inference.info(MODEL).parameters["threshold"])
    found = merge(await _look(inference, image, windows, CANDIDATE))
    sure = [d for d in found if d.score >= threshold and d.detail >= DETAILED]
    doubtful = [
        d for d in found
        if not (d.score >= threshold and d.detail >= DETAILED) and d.side > min_face_size * 0.7
    ]  # fmt: skip
    if doubtful:
        doubtful.sort(key=lambda d: -d.score)
        zoomed = [_around(d.box) for d in doubtful[:MAX_SECOND_LOOKS]]
        sure = merge(sure + await _look(inference, image, zoomed, threshold))
    kept = [d for d in sure if _shorter_side(d.box, width, height) >= min_face_size]
    return Search(sorted(kept, key=lambda d: -float(areas(d.box[None])[0])), smallest)


def tile(width: int, height: int, min_face_size: int) -> list[Window]:
    """Overlapping square tiles in which a face of ``min_face_size`` pixels is large enough.

    Never more than ``MAX_TILES``: beyond that the tiles grow, and with them the smallest face.
    """
    side = min_face_size * INPUT / SMALLEST_CANDIDATE
    while True:
        side = min(side, float(max(width, height)))
        columns, rows = _starts(width, side), _starts(height, side)
        if len(columns) * len(rows) <= MAX_TILES:
            return [Window(left, top, side) for top in rows for left in columns]
        side *= 1.1


def merge(found: Sequence[Detection]) -> list[Detection]:
    """One detection a face.

    Boxes belong together when they overlap (intersection over union) or one lies within the other,
    as a part of a face seen by a smaller tile does. The best-scored speaks for its group; boxes
    that overlap it are averaged by score.
    """
    if not found:
        return []
    boxes = np.stack([d.box for d in found])
    scores = np.array([d.score for d in found])
    common, area = overlaps(boxes, boxes), areas(boxes)
    union = area[:, None] + area[None] - common
    same = common / np.maximum(union, 1e-6) > SAME_FACE_OVERLAP
    within = common / np.maximum(np.minimum(area[:, None], area[None]), 1e-6)
    merged = []
    left = list(np.argsort(-scores, kind="stable"))
    while left:
        best = left[0]
        group = [i for i in left if same[best, i] or i == best]
        left = [i for i in left if i not in group and within[best, i] <= SAME_FACE_CONTAINMENT]
        weights = scores[group] / scores[group].sum()
        marks = np.stack([found[i].keypoints for i in group])
        merged.append(
            Detection(
                np.asarray(weights @ boxes[group], np.float32),
                float(scores[best]),
                np.asarray(np.tensordot(weights, marks, 1), np.float32),
                found[best].detail,
            )
        )
    return merged


def in_turn(tiles: Sequence[Window], turn: tuple[float, float]) -> list[Window]:
    """The tiles of a part of a round, each once."""
    count = len(tiles)
    first, last = ceil(turn[0] * count), ceil(turn[1] * count)
    return [tiles[place % count] for place in range(first, min(last, first + count))]


def _starts(length: int, side: float) -> list[float]:
    if length <= side:
        return [0.0]
    count = ceil((length - side) / (side * (1 - TILE_OVERLAP))) + 1
    return [float(v) for v in np.linspace(0, length - side, count)]


def _around(box: Floats) -> Window:
    side = max(float((box[2:] - box[:2]).max()), 4.0) * INPUT / ZOOMED
    centre = (box[:2] + box[2:]) / 2
    return Window(float(centre[0]) - side / 2, float(centre[1]) - side / 2, side)


async def _look(
    inference: Inference, image: Pixels, windows: Sequence[Window], threshold: float
) -> list[Detection]:
    async def look(part: Sequence[Window]) -> list[Detection]:
        views = await asyncio.to_thread(_views, image, part)
        outputs = await inference.infer(MODEL, {"image": views})
        return [
            detection
            for window, boxes, scores in zip(part, outputs["boxes"], outputs["scores"], strict=True)
            for detection in _decode(boxes, scores, window, threshold, image.shape)
        ]

    return await in_batches(windows, BATCH, look)


def _views(image: Pixels, windows: Sequence[Window]) -> Pixels:
    """What the net sees of each window, ``[N, 192, 192, 3]``; black beyond the image."""
    views = np.zeros((len(windows), INPUT, INPUT, 3), np.uint8)
    height, width = image.shape[:2]
    for view, window in zip(views, windows, strict=True):
        factor = INPUT / window.side
        left, top = max(round(window.left), 0), max(round(window.top), 0)
        right = min(round(window.left + window.side), width)
        bottom = min(round(window.top + window.side), height)
        column = max(round((left - window.left) * factor), 0)
        row = max(round((top - window.top) * factor), 0)
        columns = min(max(round((right - left) * factor), 1), INPUT - column)
        rows = min(max(round((bottom - top) * factor), 1), INPUT - row)
        if right > left and bottom > top and columns > 0 and rows > 0:
            mode = cv2.INTER_AREA if factor < 0.5 else cv2.INTER_LINEAR
            view[row : row + rows, column : column + columns] = cv2.resize(
                image[top:bottom, left:right], (columns, rows), interpolation=mode
            )
    return views


def _decode(
    boxes: Floats, scores: Floats, window: Window, threshold: float, shape: tuple[int, ...]
) -> list[Detection]:
    """Detections of one window in image pixels.

    The net's boxes ``[2304, 16]`` are offsets from the centres of a 48 x 48 grid: centre, size and
    six points.
    """
    chosen: npt.NDArray[np.intp] = np.flatnonzero(scores > threshold)
    cells = INPUT // STRIDE
    grid = (np.stack([chosen % cells, chosen // cells], 1) + 0.5) * STRIDE
    values = boxes[chosen].reshape(-1, 8, 2)
    points = values + grid[:, None]
    middle, half = points[:, 0], np.abs(values[:, 1]) / 2
    corners = np.concatenate([middle - half, middle + half], 1)
    factor, offset = window.side / INPUT, np.array([window.left, window.top])
    cut = _cut(corners, window, shape)
    detail = np.where(cut, 0.0, 2 * half.max(1, initial=0.0))
    in_image = (corners * factor + np.tile(offset, 2)).astype(np.float32)
    keypoints = (points[:, 2:] * factor + offset).astype(np.float32)
    return [
        Detection(box, float(scores[row]), marks, float(size))
        for row, box, marks, size in zip(chosen, in_image, keypoints, detail, strict=True)
    ]


def _cut(corners: Floats, window: Window, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Which boxes touch an edge of the view that is not an edge of the image, ``[N]``."""
    height, width = shape[:2]
    inner = np.array(
        [
            window.left > 0,
            window.top > 0,
            window.left + window.side < width,
            window.top + window.side < height,
        ]
    )
    touching = np.concatenate([corners[:, :2] < 2, corners[:, 2:] > INPUT - 2], 1)
    return np.asarray((touching & inner).any(1))


def _shorter_side(box: Floats, width: int, height: int) -> float:
    """The shorter side of the box as far as it lies in the image."""
    across = min(float(box[2]), width) - max(float(box[0]), 0.0)
    down = min(float(box[3]), height) - max(float(box[1]), 0.0)
    return min(across, down)
