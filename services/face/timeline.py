"""The faces of a video over time, and the video in short."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np

from services.face.analyze import Face, FaceAnalyzer, Options, limits
from services.face.smoothing import EmotionState
from services.face.tracking import Tracker
from services.face.video import Footage, Sample


@dataclass(frozen=True)
class Moment:
    """The faces of one analysed frame, largest first, each with its id."""

    timestamp_ms: int
    faces: list[tuple[int, Face]]


@dataclass(frozen=True)
class Summary:
    """A video in short; the first three are None where no face was found."""

    dominant_emotion: str | None
    average_valence: float | None
    average_arousal: float | None
    emotion_transitions: int
    face_count: int


@dataclass(frozen=True)
class VideoAnalysis:
    """Everything in a video but its moments; duration and ``frame_count`` are of the span asked
    for."""

    duration_ms: int
    frame_count: int
    analyzed_frames: int
    summary: Summary
    warnings: list[tuple[str, str]]


class Following:
    """The faces of ``footage``, frame by frame; what is kept does not grow with its length.

    Without ``track_faces`` an id is the place of the face in its frame, and transitions are those
    of the largest face.
    """

    def __init__(
        self, analyzer: FaceAnalyzer, footage: Footage, options: Options, track_faces: bool
    ) -> None:
        self._analyzer = analyzer
        self._footage = footage
        self._options = options
        self._track_faces = track_faces
        self._tracker = Tracker()
        self._states: defaultdict[int, EmotionState] = defaultdict(EmotionState)
        self._sums = _Sums()
        self._analysed, self._most, self._smallest = 0, 0, 0.0

    async def moments(self) -> AsyncGenerator[Moment]:
        """The sampled frames, analysed one by one.

        Raises:
            InvalidVideo: it cannot be read, or has no frame in the span asked for.
        """
        async with aclosing(_ahead(self._footage.samples())) as samples:
            async for sample in samples:
                yield await self._moment(sample)

    def result(self) -> VideoAnalysis:
        """The whole, once the moments are over."""
        count = self._tracker.count if self._track_faces else self._most
        warnings = limits(self._smallest, self._options.min_face_size) + _no_faces(count)
        return VideoAnalysis(
            self._footage.duration_ms,
            self._footage.frame_count,
            self._analysed,
            self._sums.summary(count),
            self._footage.warnings + warnings,
        )

    async def _moment(self, sample: Sample) -> Moment:
        known = self._tracker.known(sample.timestamp_ms)
        frame = await self._analyzer.frame(sample.pixels, self._options, known)
        boxes = [face.corners for face in frame.faces]
        ids = self._tracker.update(boxes, frame.crops, sample.timestamp_ms)
        if not self._track_faces:
            ids = list(range(len(frame.faces)))
        faces = list(zip(ids, frame.faces, strict=True))
        for number, face in faces if self._track_faces else faces[:1]:
            changed = self._states[number].update(face.emotions, sample.timestamp_ms)
            self._sums.transitions += changed is not None
        for face in frame.faces:
            self._sums.add(face)
        self._analysed += 1
        self._most = max(self._most, len(faces))
        self._smallest = max(self._smallest, frame.smallest)
        return Moment(sample.timestamp_ms, faces)


async def _ahead(samples: Iterator[Sample]) -> AsyncGenerator[Sample, None]:
    """The samples, each decoded in a thread while the one before it is analysed."""
    coming = asyncio.create_task(asyncio.to_thread(next, samples, None))
    try:
        while (sample := await coming) is not None:
            coming = asyncio.create_task(asyncio.to_thread(next, samples, None))
            yield sample
    finally:
        coming.cancel()


class _Sums:
    """What a summary is made of, over faces and frames."""

    def __init__(self) -> None:
        self.transitions = 0
        self._confidences: Counter[str] = Counter()
        self._dimensions = np.zeros(2)
        self._dimensional = 0

    def add(self, face: Face) -> None:
        self._confidences.update(face.emotions)
        if face.dimensions is not None:
            self._dimensions += face.dimensions
            self._dimensional += 1

    def summary(self, count: int) -> Summary:
        if not self._confidences:
            return Summary(None, None, None, 0, 0)
        dominant = max(self._confidences, key=self._confidences.__getitem__)
        valence, arousal = None, None
        if self._dimensional:
            valence, arousal = (self._dimensions / self._dimensional).tolist()
        return Summary(dominant, valence, arousal, self.transitions, count)


def _no_faces(count: int) -> list[tuple[str, str]]:
    return [] if count else [("NO_FACE", "No face was found in any analysed frame.")]
