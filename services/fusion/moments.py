"""The moments of a recording worth looking at."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from services.fusion import body, honesty, series
from services.fusion.analyze import Opinion
from services.fusion.observations import Observations
from services.fusion.timeline import Moment
from services.fusion.weights import MODALITIES

MOST = 20
"""Moments reported, those of the highest score."""
WINDOW_MS = 3000
"""Over which the timeline is smoothed, so that a single frame or word makes no moment."""
LEAST_DROP, DROP_SPREADS = 0.12, 2.0
"""Agreement falls when it is this far, and this many robust deviations, below its median."""
LEAST_PEAK, LEAST_RISE = 0.4, 0.25
"""Confidence an emotion reaches at its peak, and how far that is above its own median."""
LEAST_SHIFT = 0.2
"""Total variation distance between the emotions before and after a shift."""
LASTING_MS = 2000
"""How long a fall, an emotion before and after its shift, a pause or an aversion lasts at least."""
LEAST_MS = 10_000
"""Of a recording before it has a baseline of its own."""
_HALF_MS = 4000
_UNMOVED = frozenset({"neutral"})


@dataclass(frozen=True)
class KeyMoment:
    """score: how marked it is, in [0, 1]. evidence: what was seen or heard, for people."""

    start_ms: int
    end_ms: int
    kind: str
    score: float
    evidence: tuple[str, ...]


def find(seen: Observations, timeline: Sequence[Moment]) -> list[KeyMoment]:
    """The key moments of a recording, in order of time."""
    found = [
        *honesty_drops(timeline),
        *emotion_peaks(timeline),
        *emotion_shifts(timeline),
        *long_pauses(seen),
        *gaze_aversions(seen),
    ]
    kept = sorted(found, key=lambda one: -one.score)[:MOST]
    return sorted(kept, key=lambda one: (one.start_ms, one.kind))


def honesty_drops(timeline: Sequence[Moment]) -> Iterable[KeyMoment]:
    """Where words, voice and face agree less than elsewhere in the same recording.

    The score is the depth of the fall as a share of the usual agreement.
    """
    values = series.smooth([one.agreement for one in timeline], _reach(timeline))
    given = [value for value in values if value is not None]
    if not _enough(timeline, len(given)):
        return
    usual, spread = series.baseline(given)
    limit = usual - max(LEAST_DROP, DROP_SPREADS * spread)
    for first, last in series.stretches(values, lambda value: value <= limit):
        if _length(timeline, first, last) < LASTING_MS:
            continue
        worst = min(range(first, last + 1), key=lambda place: values[place] or 0.0)
        lowest = values[worst] or 0.0
        yield KeyMoment(
            timeline[first].start_ms,
            timeline[last].end_ms,
            "honesty_drop",
            series.clip((usual - lowest) / usual),
            (
                f"agreement {lowest:.2f} against {usual:.2f} in the whole recording",
                *map(_in_words, timeline[worst].opinions.values()),
            ),
        )


def emotion_peaks(timeline: Sequence[Moment]) -> Iterable[KeyMoment]:
    """Where a modality shows an emotion far more than it does elsewhere in the recording.

    Each modality is held against itself, so that none peaks because another is silent. The score
    is the rise over the median.
    """
    for modality in MODALITIES:
        spoken = [one.clear(modality) for one in timeline]
        labels = {label for one in spoken if one for label in one.emotions} - _UNMOVED
        for label in sorted(labels):
            raw = [one.emotions.get(label, 0.0) if one else None for one in spoken]
            values = series.smooth(raw, _reach(timeline))
            given = [value for value in values if value is not None]
            if not _enough(timeline, len(given)):
                continue
            usual, _ = series.baseline(given)
            limit = max(LEAST_PEAK, usual + LEAST_RISE)
            for first, last in series.stretches(values, _at_least(limit)):
                highest = max(values[place] or 0.0 for place in range(first, last + 1))
                yield KeyMoment(
                    timeline[first].start_ms,
                    timeline[last].end_ms,
                    "emotion_peak",
                    series.clip(highest - usual),
                    (f"{modality}: {label} {highest:.2f} against {usual:.2f} in all",),
                )


def emotion_shifts(timeline: Sequence[Moment]) -> Iterable[KeyMoment]:
    """Where the foremost fused emotion changes for good.

    The score is the distance (total variation) between before and after in the modality that
    changes most, of those that speak on both sides; one that falls silent is no shift.
    """
    labels = sorted({label for one in timeline for label in one.shares})
    smoothed = {
        label: series.smooth(
            [one.shares.get(label, 0.0) if one.shares else None for one in timeline],
            _reach(timeline),
        )
        for label in labels
    }
    foremost: list[tuple[str, int, int]] = []
    for place, one in enumerate(timeline):
        if not one.shares:
            continue
        label = max(labels, key=lambda name: smoothed[name][place] or 0.0)
        if foremost and foremost[-1][0] == label:
            foremost[-1] = (label, foremost[-1][1], place)
        else:
            foremost.append((label, place, place))
    lasting = [run for run in foremost if _length(timeline, run[1], run[2]) >= LASTING_MS]
    for (before, start, end), (after, begin, finish) in pairwise(lasting):
        if before == after:
            continue
        changes = _changes(timeline[start : end + 1], timeline[begin : finish + 1])
        modality = max(changes, key=changes.__getitem__, default="")
        if modality and changes[modality] >= LEAST_SHIFT:
            yield KeyMoment(
                timeline[end].end_ms,
                max(timeline[begin].start_ms, timeline[end].end_ms),
                "emotion_shift",
                series.clip(changes[modality]),
                (f"{before} before, {after} after", f"{modality} changes most"),
            )


def long_pauses(seen: Observations) -> Iterable[KeyMoment]:
    """Silences between words; a score of 0.5 is a pause of four seconds."""
    for start_ms, length_ms in honesty.pauses(seen.words):
        if length_ms >= LASTING_MS:
            yield KeyMoment(
                start_ms,
                start_ms + length_ms,
                "long_pause",
                _long(length_ms),
                (f"no word for {length_ms / 1000:.1f} s",),
            )


def gaze_aversions(seen: Observations) -> Iterable[KeyMoment]:
    """Where the eyes stay away from where they usually look; scored by length as pauses are."""
    offsets = body.gaze_offsets(seen.sightings)
    longest_gap_ms = 2.5 * (seen.interval_ms or 0)
    runs: list[list[tuple[int, float]]] = []
    previous_ms: int | None = None
    for time_ms, offset in offsets:
        if offset > body.AVERTED_DEG:
            if previous_ms is None or time_ms - previous_ms > longest_gap_ms:
                runs.append([])
            runs[-1].append((time_ms, offset))
            previous_ms = time_ms
        else:
            previous_ms = None
    for run in runs:
        start_ms, end_ms = run[0][0], run[-1][0]
        if end_ms - start_ms >= LASTING_MS:
            farthest = max(offset for _, offset in run)
            yield KeyMoment(
                start_ms,
                end_ms,
                "gaze_aversion",
                _long(end_ms - start_ms),
                (f"eyes up to {farthest:.0f} degrees from their usual direction",),
            )


def _in_words(opinion: Opinion) -> str:
    said = opinion.modality
    if opinion.emotions:
        label = max(opinion.emotions, key=opinion.emotions.__getitem__)
        said += f" {label} {opinion.emotions[label]:.2f}"
    if opinion.valence is not None:
        said += f", valence {opinion.valence:+.2f}"
    return said


def _changes(before: Sequence[Moment], after: Sequence[Moment]) -> dict[str, float]:
    """Total variation distance between two stretches, by modality that speaks in both."""
    distances = {}
    for modality in MODALITIES:
        one, other = _mean_shares(before, modality), _mean_shares(after, modality)
        if one and other:
            labels = one.keys() | other.keys()
            distances[modality] = (
                sum(abs(one.get(label, 0.0) - other.get(label, 0.0)) for label in labels) / 2
            )
    return distances


def _mean_shares(stretch: Sequence[Moment], modality: str) -> dict[str, float]:
    """A modality's emotions over a stretch as shares summing to 1; empty where it is silent."""
    totals: Counter[str] = Counter()
    for one in stretch:
        if opinion := one.clear(modality):
            totals.update(opinion.emotions)
    total = sum(totals.values())
    return {label: value / total for label, value in totals.items()} if total else {}


def _at_least(limit: float) -> Callable[[float], bool]:
    return lambda value: value >= limit


def _long(length_ms: int) -> float:
    return length_ms / (length_ms + _HALF_MS)


def _length(timeline: Sequence[Moment], first: int, last: int) -> int:
    return timeline[last].end_ms - timeline[first].start_ms


def _reach(timeline: Sequence[Moment]) -> int:
    return WINDOW_MS // (timeline[0].end_ms - timeline[0].start_ms) // 2


def _enough(timeline: Sequence[Moment], count: int) -> bool:
    return count * (timeline[0].end_ms - timeline[0].start_ms) >= LEAST_MS
