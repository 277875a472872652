"""What the speaker's head, eyes and lids did, as far as it is measured."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from services.fusion import series
from services.fusion.observations import Observations, Sighting

STEP_MS = 500
"""Head movement is measured between means of this length, so that the rate at which pictures are
analysed and the jitter of single ones do not count as movement."""
AVERTED_DEG = 15.0
"""Farther than this from their usual direction the eyes look away; well above the error of a gaze
read from the iris, and below a glance at somebody else in the room."""
BLINK_HZ = 8.0
"""Least rate of pictures at which blinks, which last 0.1 to 0.4 s, are counted."""
CLOSED = 0.35
CLOSED_ABOVE_USUAL = 0.2
"""Lids count as closed from this intensity of AU45, and this far above the speaker's usual."""
LONGEST_BLINK_MS = 600
_LEAST_SIGHTINGS = 10
_LEAST_BLINKING_MS = 10_000
_GAP = 3


@dataclass(frozen=True)
class Cue:
    """A measured cue: name, value, unit, and how much of the recording it was measured over."""

    name: str
    value: float
    unit: str
    measured_ms: int


def cues(seen: Observations) -> list[Cue]:
    """Every cue that can be measured."""
    found = (_head_movement(seen), _gaze_aversion(seen), _blink_rate(seen))
    return [cue for cue in found if cue is not None]


def head_speeds(sightings: Sequence[Sighting]) -> list[tuple[int, float]]:
    """Time in ms and angular speed of the head in degrees a second, every STEP_MS at most."""
    steps: dict[int, list[tuple[float, float, float]]] = {}
    for sighting in sightings:
        if sighting.clear:
            steps.setdefault(sighting.time_ms // STEP_MS, []).append(sighting.head)
    means = {step: [statistics.fmean(axis) for axis in zip(*h)] for step, h in steps.items()}  # noqa: B905
    return [
        (step * STEP_MS, math.dist(means[step], means[step - 1]) * 1000 / STEP_MS)
        for step in means
        if step - 1 in means
    ]


def gaze_offsets(sightings: Sequence[Sighting]) -> list[tuple[int, float]]:
    """Time in ms and angle in degrees between where the eyes look and where they usually look.

    The direction is head and eyes together; the usual one is its median, since nothing says where
    the camera stood. Pictures with closed lids are left out.
    """
    looking = [
        (one.time_ms, one.head[0] + one.eyes[0], one.head[1] + one.eyes[1])
        for one in sightings
        if one.clear and (one.eyes_closed is None or one.eyes_closed < CLOSED)
    ]
    if not looking:
        return []
    pitch = statistics.median(pitch for _, pitch, _ in looking)
    yaw = statistics.median(yaw for _, _, yaw in looking)
    return [(time, math.hypot(p - pitch, y - yaw)) for time, p, y in looking]


def _head_movement(seen: Observations) -> Cue | None:
    speeds = [speed for _, speed in head_speeds(seen.sightings)]
    if len(speeds) < _LEAST_SIGHTINGS // 2:
        return None
    return Cue("head_movement", statistics.fmean(speeds), "deg/s", len(speeds) * STEP_MS)


def _gaze_aversion(seen: Observations) -> Cue | None:
    offsets = [offset for _, offset in gaze_offsets(seen.sightings)]
    if len(offsets) < _LEAST_SIGHTINGS or seen.interval_ms is None:
        return None
    share = sum(offset > AVERTED_DEG for offset in offsets) / len(offsets)
    return Cue("gaze_aversion", share, "share", _covered_ms(seen, len(offsets)))


def _blink_rate(seen: Observations) -> Cue | None:
    """Closings of the lids a minute; those of more than LONGEST_BLINK_MS are no blinks."""
    if seen.interval_ms is None or seen.interval_ms > 1000 / BLINK_HZ + 1:
        return None
    lids = [
        (one.time_ms, one.eyes_closed)
        for one in seen.sightings
        if one.clear and one.eyes_closed is not None
    ]
    measured_ms = _covered_ms(seen, len(lids))
    if measured_ms < _LEAST_BLINKING_MS:
        return None
    usual = statistics.median(closed for _, closed in lids)
    threshold = max(CLOSED, usual + CLOSED_ABOVE_USUAL)
    blinks = 0
    for first, last in series.stretches([c for _, c in lids], lambda c: c >= threshold):
        opened = first > 0 and last + 1 < len(lids)
        around = lids[last + 1][0] - lids[first - 1][0] if opened else math.inf
        lasted = lids[last][0] - lids[first][0]
        watched = around <= lasted + 2 * _GAP * seen.interval_ms
        blinks += lasted <= LONGEST_BLINK_MS and watched
    return Cue("blink_rate", blinks * 60_000 / measured_ms, "1/min", measured_ms)


def _covered_ms(seen: Observations, pictures: int) -> int:
    return min(seen.duration_ms, round(pictures * (seen.interval_ms or 0)))
