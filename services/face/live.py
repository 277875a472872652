"""Live frames: the newest is analysed, what came too fast is dropped and counted."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np

from services.common.errors import InvalidImage
from services.common.labels import dimensions
from services.common.live import Event, Happening, Problem, Rate, Summary
from services.face import image
from services.face.analyze import Face, FaceAnalyzer, Options
from services.face.smoothing import EmotionState
from services.face.tracking import KEPT_MS, Tracker

LOST_MS = 1000
"""How long a face is unseen before it counts as lost."""
HIGH_AROUSAL = 0.6
NEGATIVE_VALENCE = -0.4
DROPS_REPORTED_EVERY_MS = 1000


@dataclass(frozen=True)
class LiveFrame:
    """An encoded frame with the client's number and time."""

    number: int
    timestamp_ms: int
    data: bytes
    arrived: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Result:
    """The faces of one frame, largest first, each with the id of its track."""

    number: int
    timestamp_ms: int
    latency_ms: int
    change_detected: bool
    faces: list[tuple[int, Face]]


Output = Result | Event | Problem | Summary


@dataclass
class _Followed:
    """What is known of one face of the session."""

    state: EmotionState = field(default_factory=EmotionState)
    seen_ms: int = 0
    visible: bool = False
    aroused: bool = False
    unhappy: bool = False


class LiveSession:
    """One stream. ``offer`` frames as they come; ``outputs`` gives what to answer."""

    def __init__(
        self, analyzer: FaceAnalyzer, options: Options, rate: Rate, threshold: float
    ) -> None:
        self._analyzer = analyzer
        self._options = options
        self._rate = rate
        self._threshold = threshold
        self._tracker = Tracker()
        self._faces: defaultdict[int, _Followed] = defaultdict(_Followed)
        self._waiting: LiveFrame | None = None
        self._wake = asyncio.Event()
        self._closed = False
        self._paused = False
        self._first_ms: int | None = None
        self._now_ms = 0
        self._processed = 0
        self._dropped = 0
        self._dropped_unreported = 0
        self._reported_ms = -DROPS_REPORTED_EVERY_MS
        self._answered_ms: int | None = None
        self._seen: Counter[str] = Counter()
        self._dimensions = np.zeros(2)
        self._happened: Counter[Happening] = Counter()

    def offer(self, frame: LiveFrame) -> None:
        """Takes a frame; one that still waits gives way to it."""
        if self._paused or self._closed:
            return
        if self._waiting is not None:
            self._dropped += 1
            self._dropped_unreported += 1
        self._waiting = frame
        self._wake.set()

    def pause(self) -> None:
        """Ignores frames until resumed."""
        self._paused = True

    def resume(self) -> None:
        """Takes frames again."""
        self._paused = False

    def close(self) -> None:
        """Ends the session once the waiting frame is answered."""
        self._closed = True
        self._wake.set()

    async def outputs(self) -> AsyncIterator[Output]:
        """Results, events and problems as they come; last the summary."""
        while (frame := await self._next()) is not None:
            for output in await self._answer(frame):
                yield output
        yield self._summary()

    async def _next(self) -> LiveFrame | None:
        while self._waiting is None and not self._closed:
            self._wake.clear()
            await self._wake.wait()
        frame, self._waiting = self._waiting, None
        return frame

    async def _answer(self, frame: LiveFrame) -> list[Output]:
        if self._first_ms is None:
            self._first_ms = frame.timestamp_ms
        self._now_ms = max(frame.timestamp_ms - self._first_ms, self._now_ms)
        try:
            pixels = await asyncio.to_thread(image.decode, frame.data)
        except InvalidImage as error:
            return [Problem("INVALID_FRAME", error.message, frame.number)]
        known = self._tracker.known(self._now_ms)
        found = await self._analyzer.frame(pixels, self._options, known)
        ids = self._tracker.update([f.corners for f in found.faces], found.crops, self._now_ms)
        self._processed += 1
        pairs = list(zip(ids, found.faces, strict=True))
        events = [e for number, face in pairs for e in self._update(number, face)]
        events += self._lost()
        if self._dropped_unreported and self._now_ms - self._reported_ms >= DROPS_REPORTED_EVERY_MS:
            events.append(
                Event(Happening.INPUT_DROPPED, self._now_ms, dropped=self._dropped_unreported)
            )
            self._dropped_unreported, self._reported_ms = 0, self._now_ms
        self._happened.update(event.happening for event in events)
        changed = bool(ids) and any(
            e.happening is Happening.EMOTION_CHANGE and e.tracking_id == ids[0] for e in events
        )
        latency = round((time.perf_counter() - frame.arrived) * 1000)
        result = Result(frame.number, self._now_ms, latency, changed, pairs)
        return [*([result] if self._due(result) else []), *events]

    def _update(self, number: int, face: Face) -> list[Event]:
        followed, now = self._faces[number], self._now_ms
        events = []
        if not followed.visible:
            events.append(Event(Happening.FACE_DETECTED, now, number))
        followed.seen_ms, followed.visible = now, True
        change = followed.state.update(face.emotions, now)
        if change is not None:
            events.append(
                Event(
                    Happening.EMOTION_CHANGE,
                    now,
                    number,
                    previous=change.previous,
                    current=change.current,
                    duration_ms=change.duration_ms,
                    sudden=change.sudden,
                )
            )
        valence, arousal = dimensions(followed.state.mean)
        if arousal > HIGH_AROUSAL and not followed.aroused:
            events.append(Event(Happening.HIGH_AROUSAL, now, number))
        if valence < NEGATIVE_VALENCE and not followed.unhappy:
            events.append(Event(Happening.NEGATIVE_VALENCE, now, number))
        followed.aroused, followed.unhappy = arousal > HIGH_AROUSAL, valence < NEGATIVE_VALENCE
        self._seen[face.primary] += 1
        self._dimensions += (valence, arousal)
        return events

    def _lost(self) -> list[Event]:
        events = []
        for number, followed in list(self._faces.items()):
            unseen = self._now_ms - followed.seen_ms
            if followed.visible and unseen >= LOST_MS:
                followed.visible = False
                events.append(Event(Happening.FACE_LOST, self._now_ms, number))
            if unseen > KEPT_MS:
                del self._faces[number]
        return events

    def _due(self, result: Result) -> bool:
        """Whether the rate asked for answers this frame."""
        due = True
        if self._rate is Rate.PER_SECOND:
            due = self._answered_ms is None or result.timestamp_ms - self._answered_ms >= 1000
        elif self._rate is Rate.ON_CHANGE:
            due = self._answered_ms is None or result.change_detected
        elif self._rate is Rate.THRESHOLD:
            due = any(f.emotions[f.primary] >= self._threshold for _, f in result.faces)
        if due:
            self._answered_ms = result.timestamp_ms
        return due

    def _summary(self) -> Summary:
        total = sum(self._seen.values())
        valence, arousal = (self._dimensions / total).tolist() if total else (None, None)
        return Summary(
            duration_ms=self._now_ms,
            processed=self._processed,
            dropped=self._dropped,
            distribution={label: count / total for label, count in self._seen.items()},
            valence=valence,
            arousal=arousal,
            emotion_changes=self._happened[Happening.EMOTION_CHANGE],
            high_arousal_moments=self._happened[Happening.HIGH_AROUSAL],
        )
