"""The analysis of a face, from pixels to emotions.

detect → landmarks → align → expression, and from the landmarks action units, pose and gaze.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.common.errors import InvalidRequest, NoFaceDetected
from services.common.inference import Inference, ModelInfo
from services.common.labels import dimensions
from services.face import (
    action_units,
    alignment,
    annotation,
    detection,
    expression,
    image,
    landmarks,
    pose,
    quality,
)
from services.face.action_units import ActionUnit
from services.face.detection import Known
from services.face.geometry import Floats
from services.face.image import Pixels
from services.face.landmarks import Landmarks
from services.face.pose import Gaze, HeadPose
from services.face.quality import Quality

MIN_PRESENCE = 0.02
"""A detection in which the landmark net sees less of a face than this is dropped."""

MAX_FACES = 50

MODELS = (detection.MODEL, landmarks.MODEL, expression.MODEL, action_units.MODEL)


@dataclass(frozen=True)
class Options:
    """What to look for and what to return; work for what is not returned is not done.

    ``min_face_size`` is in pixels, by the shorter side of the box.
    """

    action_units: bool = True
    dimensions: bool = True
    landmarks: bool = False
    min_face_size: int = 24
    max_faces: int = MAX_FACES
    annotated: bool = False

    def __post_init__(self) -> None:
        _within("min_face_size", self.min_face_size, 16, 4096)
        _within("max_faces", self.max_faces, 1, MAX_FACES)


@dataclass(frozen=True)
class Face:
    """One face. ``box`` is x, y, width, height in whole pixels of the upright image, clipped.

    ``emotions`` maps every label to its calibrated confidence; they sum to 1. ``dimensions`` are
    valence and arousal in [-1, 1], derived from the emotions and drawn to 0 by poor quality.
    ``landmarks`` are ``[478, 3]``. ``luminance`` is the mean grey level of the face in [0, 255],
    ``interocular`` the distance between the outer corners of the eyes in pixels.
    """

    box: tuple[int, int, int, int]
    score: float
    emotions: dict[str, float]
    dimensions: tuple[float, float] | None
    action_units: list[ActionUnit] | None
    landmarks: Floats | None
    pose: HeadPose
    gaze: Gaze
    quality: Quality
    luminance: float
    interocular: float

    @property
    def corners(self) -> Floats:
        """The box as left, top, right, bottom, ``[4]``."""
        x, y, width, height = self.box
        return np.array([x, y, x + width, y + height], np.float32)

    @property
    def primary(self) -> str:
        """The most confident emotion."""
        return max(self.emotions, key=self.emotions.__getitem__)


@dataclass(frozen=True)
class Frame:
    """The faces of one image, largest first, and their aligned crops ``[48, 48]``.

    ``smallest`` is the smallest face, in pixels, that could be found; ``left_out`` how many faces
    were found beyond ``max_faces``.
    """

    faces: list[Face]
    crops: list[Floats]
    smallest: float
    left_out: int


@dataclass(frozen=True)
class ImageAnalysis:
    """The faces of one encoded image, its upright size, warnings (code, message), and the PNG."""

    faces: list[Face]
    width: int
    height: int
    warnings: list[tuple[str, str]]
    annotated: bytes | None


class FaceAnalyzer:
    """Analyses images with the models of one inference."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._labels = inference.info(expression.MODEL).labels
        self._geometry = inference.info(landmarks.MODEL).path

    def provenance(self, options: Options) -> list[ModelInfo]:
        """The models that an analysis with these options uses."""
        used = MODELS if options.action_units else MODELS[:-1]
        return [self._inference.info(name) for name in used]

    async def warm_up(self) -> None:
        """Runs every model once, so that the first request is as fast as the others."""
        grey = np.full((64, 64, 3), 128, np.uint8)
        box = np.array([8, 8, 56, 56], np.float32)
        marks = np.array([[24, 28], [40, 28], [32, 36], [32, 44], [12, 30], [52, 30]], np.float32)
        await detection.detect(self._inference, grey, 64)
        points = await landmarks.locate(
            self._inference, grey, [detection.Detection(box, 1.0, marks, 48.0)]
        )
        await expression.classify(self._inference, [alignment.crop(grey, marks[[0, 1, 3]])])
        await action_units.measure(self._inference, points)

    async def image(self, data: bytes, options: Options) -> ImageAnalysis:
        """Finds and reads the faces of one encoded image.

        Raises:
            InvalidImage: it cannot be decoded.
            NoFaceDetected: it shows no face of the size asked for.
        """
        pixels = await asyncio.to_thread(image.decode, data)
        frame = await self.frame(pixels, options)
        if not frame.faces:
            raise NoFaceDetected(
                "No face was found in the image.",
                reason="No face detected in image",
                suggestion="Ensure the image contains a clearly visible face",
            )
        drawn = None
        if options.annotated:
            drawn = await asyncio.to_thread(annotation.draw, pixels, frame.faces)
        height, width = pixels.shape[:2]
        warnings = limits(frame.smallest, options.min_face_size) + _crowd(frame.left_out, options)
        return ImageAnalysis(frame.faces, width, height, warnings, drawn)

    async def frame(self, pixels: Pixels, options: Options, known: Known | None = None) -> Frame:
        """The faces of an upright RGB image.

        With ``known`` small faces are not sought everywhere.
        """
        search = await detection.detect(self._inference, pixels, options.min_face_size, known)
        detections = search.detections[: options.max_faces]
        points = await landmarks.locate(self._inference, pixels, detections)
        pairs = [
            (d, p) for d, p in zip(detections, points, strict=True) if p.presence >= MIN_PRESENCE
        ]
        if not pairs:
            return Frame([], [], search.smallest, 0)
        crops = [alignment.crop(pixels, alignment.anchors(d, p)) for d, p in pairs]
        probabilities = await expression.classify(self._inference, crops)
        units: Sequence[list[ActionUnit] | None] = [None] * len(pairs)
        if options.action_units:
            units = await action_units.measure(self._inference, [p for _, p in pairs])
        faces = [
            self._face(d, p, crop, row, found, pixels, options)
            for (d, p), crop, row, found in zip(pairs, crops, probabilities, units, strict=True)
        ]
        left_out = len(search.detections) - len(detections)
        return Frame(faces, crops, search.smallest, left_out)

    def _face(
        self,
        found: detection.Detection,
        points: Landmarks,
        crop: Floats,
        probabilities: Floats,
        units: list[ActionUnit] | None,
        pixels: Pixels,
        options: Options,
    ) -> Face:
        height, width = pixels.shape[:2]
        head = pose.head_pose(points, self._geometry)
        worth = quality.assess(crop, found.box, (width, height), points, head)
        confidences = _rounded(expression.temper(probabilities, worth.trust))
        emotions = dict(zip(self._labels, confidences, strict=True))
        return Face(
            box=_pixel_box(found.box, width, height),
            score=found.score,
            emotions=emotions,
            dimensions=self._dimensions(probabilities, worth.trust) if options.dimensions else None,
            action_units=units,
            landmarks=points.points if options.landmarks or options.annotated else None,
            pose=head,
            gaze=pose.gaze(points, self._geometry),
            quality=worth,
            luminance=float(crop.mean()),
            interocular=points.interocular,
        )

    def _dimensions(self, probabilities: Floats, trust: float) -> tuple[float, float]:
        """Valence and arousal of what the net saw, drawn to 0 where it is not to be trusted: those
        of even probabilities are not 0."""
        seen = dict(zip(self._labels, probabilities.tolist(), strict=True))
        valence, arousal = dimensions(seen)
        return round(trust * valence, 4), round(trust * arousal, 4)


def limits(smallest: float, min_face_size: int) -> list[tuple[str, str]]:
    """The warning that an image was too large to be searched for faces as small as asked for."""
    if smallest <= min_face_size * 1.05:
        return []
    message = f"The image is large: faces below about {round(smallest)} pixels may be missed."
    return [("SMALL_FACES_NOT_SOUGHT", message)]


def _crowd(left_out: int, options: Options) -> list[tuple[str, str]]:
    """The warning that there were more faces than are ever given."""
    if not left_out or options.max_faces < MAX_FACES:
        return []
    return [("FACES_LEFT_OUT", f"There are more faces; the {MAX_FACES} largest are given.")]


def _within(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InvalidRequest(
            f"{field} is {value:g}.",
            field=f"options.{field}",
            suggestion=f"Give {field} between {low:g} and {high:g}.",
        )


def _rounded(probabilities: Floats) -> list[float]:
    """Probabilities to four decimals that still sum to 1."""
    values = [round(float(p), 4) for p in probabilities]
    first = int(np.argmax(probabilities))
    values[first] = round(1.0 - sum(v for i, v in enumerate(values) if i != first), 4)
    return values


def _pixel_box(box: Floats, width: int, height: int) -> tuple[int, int, int, int]:
    left, top = max(round(float(box[0])), 0), max(round(float(box[1])), 0)
    right, bottom = min(round(float(box[2])), width), min(round(float(box[3])), height)
    return left, top, right - left, bottom - top
