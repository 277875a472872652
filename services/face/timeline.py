"""The faces of a video over time, and the video in short."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np

from services.face.analyze import Face, FaceAnalyzer, Options, limits
from services.face.smoothing import EmotionState
from services.face.tracking import Tracker
from services.face.video import Footage, Sample

FULL_SEARCH_EVERY = 5
"""Analysed frames between searches of the whole frame for small faces; between them small faces
are sought where the known ones should be."""


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
    """Everything in a video; ``duration_ms`` and ``frame_count`` are of the span asked for."""

    duration_ms: int
    frame_count: int
    moments: list[Moment]
    summary: Summary
    warnings: list[tuple[str, str]]


async def follow(
    analyzer: FaceAnalyzer, footage: Footage, options: Options, track_faces: bool
) -> VideoAnalysis:
    """Analyses the sampled frames of ``footage`` one by one.

    Without ``track_faces`` an id is the place of the face in its frame, and transitions are those
    of the largest face.

    Raises:
        InvalidVideo: it cannot be read, or has no frame in the span asked for.
    """
    tracker = Tracker()
    states: defaultdict[int, EmotionState] = defaultdict(EmotionState)
    moments: list[Moment] = []
    transitions, most, smallest = 0, 0, 0.0
    async with aclosing(_ahead(footage.samples())) as samples:
        async for sample in samples:
            full = len(moments) % FULL_SEARCH_EVERY == 0
            near = None if full else tracker.expected(sample.timestamp_ms)
            frame = await analyzer.frame(sample.pixels, options, near)
            ids = tracker.update([f.corners for f in frame.faces], frame.crops, sample.timestamp_ms)
            if not track_faces:
                ids = list(range(len(frame.faces)))
            faces = list(zip(ids, frame.faces, strict=True))
            for number, face in faces if track_faces else faces[:1]:
                changed = states[number].update(face.emotions, sample.timestamp_ms)
                transitions += changed is not None
            moments.append(Moment(sample.timestamp_ms, faces))
            most, smallest = max(most, len(faces)), max(smallest, frame.smallest)
    count = tracker.count if track_faces else most
    return VideoAnalysis(
        footage.duration_ms,
        footage.frame_count,
        moments,
        _summarise(moments, transitions, count),
        footage.warnings + limits(smallest, options.min_face_size) + _no_faces(count),
    )


async def _ahead(samples: Iterator[Sample]) -> AsyncGenerator[Sample, None]:
    """The samples, each decoded in a thread while the one before it is analysed."""
    coming = asyncio.create_task(asyncio.to_thread(next, samples, None))
    try:
        while (sample := await coming) is not None:
            coming = asyncio.create_task(asyncio.to_thread(next, samples, None))
            yield sample
    finally:
        coming.cancel()


def _summarise(moments: list[Moment], transitions: int, count: int) -> Summary:
    faces = [face for moment in moments for _, face in moment.faces]
    if not faces:
        return Summary(None, None, None, 0, 0)
    totals: defaultdict[str, float] = defaultdict(float)
    for face in faces:
        for label, confidence in face.emotions.items():
            totals[label] += confidence
    known = [face.dimensions for face in faces if face.dimensions is not None]
    valence, arousal = np.mean(known, axis=0).tolist() if known else (None, None)
    return Summary(max(totals, key=totals.__getitem__), valence, arousal, transitions, count)


def _no_faces(count: int) -> list[tuple[str, str]]:
    return [] if count else [("NO_FACE", "No face was found in any analysed frame.")]
