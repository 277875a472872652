"""Face, voice, words and body of a recording as one series of moments."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.fusion.analyze import LOW_QUALITY, Fusion, Opinion, fuse
from services.fusion.observations import Activation, Observations
from services.fusion.vocabulary import folded
from services.fusion.weights import DEFAULT_WEIGHTS, normalise

LEAST_COVER = 0.5
"""Share of a moment that sayings must fill for voice and words to speak in it."""


@dataclass(frozen=True)
class Moment:
    """start_ms up to, not including, end_ms. opinions: by modality, of those that speak in it.
    fusion: None where none speaks."""

    start_ms: int
    end_ms: int
    opinions: Mapping[str, Opinion]
    fusion: Fusion | None

    @property
    def agreement(self) -> float | None:
        """How far the modalities say the same, in [0, 1]; None where fewer than two speak."""
        return self.fusion.agreement if self.fusion and len(self.opinions) > 1 else None

    def clear(self, modality: str) -> Opinion | None:
        """What a modality says; None where it is silent or its input too poor to compare."""
        opinion = self.opinions.get(modality)
        return opinion if opinion and opinion.quality >= LOW_QUALITY else None

    @property
    def shares(self) -> dict[str, float]:
        """The fused emotions as shares summing to 1; empty where there are none."""
        emotions = self.fusion.emotions if self.fusion else {}
        total = sum(emotions.values())
        return {label: p / total for label, p in emotions.items()} if total else {}


def build(seen: Observations, hop_ms: int, activations: Sequence[Activation] = ()) -> list[Moment]:
    """The moments of the recording, each `hop_ms` long, from 0 to its end without gaps.

    A face speaks in a moment where a picture of it was analysed within; the pictures' results are
    averaged. Voice and words speak in a moment that sayings fill to at least LEAST_COVER, and
    signals of the body where their stretches do; each counts by the time it fills. Moments are
    fused by weighted average with the default weights, renormalised over those that speak.
    """
    count = max(1, -(-seen.duration_ms // hop_ms))
    heard: list[defaultdict[str, list[tuple[Opinion, float]]]] = [
        defaultdict(list) for _ in range(count)
    ]
    for sighting in seen.sightings:
        if 0 <= sighting.time_ms // hop_ms < count:
            heard[sighting.time_ms // hop_ms]["face"].append((sighting.opinion, float(hop_ms)))
    stretches = [
        *((one.start_ms, one.end_ms, (one.voice, one.words)) for one in seen.sayings),
        *((one.start_ms, one.end_ms, (one.opinion,)) for one in activations),
    ]
    for start_ms, end_ms, opinions in stretches:
        for index in range(max(0, start_ms // hop_ms), min(count, -(-end_ms // hop_ms))):
            start = max(start_ms, index * hop_ms)
            filled = float(min(end_ms, (index + 1) * hop_ms) - start)
            for opinion in filter(None, opinions):
                heard[index][opinion.modality].append((opinion, filled))
    return [
        _moment(index * hop_ms, min((index + 1) * hop_ms, max(seen.duration_ms, 1)), parts)
        for index, parts in enumerate(heard)
    ]


def breakdown(moments: Sequence[Moment]) -> dict[str, float]:
    """Mean share of each emotion over the time that has any, summing to 1 at 4 decimals."""
    spoken = [(one.shares, one.end_ms - one.start_ms) for one in moments if one.shares]
    time = sum(length for _, length in spoken)
    totals: defaultdict[str, float] = defaultdict(float)
    for shares, length in spoken:
        for label, share in shares.items():
            totals[label] += share * length / time
    rounded = {label: round(share, 4) for label, share in totals.items() if round(share, 4)}
    if rounded:
        largest = max(rounded, key=rounded.__getitem__)
        rounded[largest] = round(rounded[largest] + 1 - sum(rounded.values()), 4)
    return dict(sorted(rounded.items(), key=lambda pair: -pair[1]))


def _moment(
    start_ms: int, end_ms: int, heard: Mapping[str, Sequence[tuple[Opinion, float]]]
) -> Moment:
    opinions = {}
    for modality, parts in heard.items():
        if sum(filled for _, filled in parts) >= LEAST_COVER * (end_ms - start_ms):
            opinion = blend(modality, parts)
            if not opinion.silent:
                opinions[modality] = opinion
    if not opinions:
        return Moment(start_ms, end_ms, {}, None)
    weights = {modality: DEFAULT_WEIGHTS[modality] for modality in opinions}
    fusion = fuse(list(opinions.values()), weights, "weighted_average")
    return Moment(start_ms, end_ms, opinions, fusion)


def blend(modality: str, parts: Sequence[tuple[Opinion, float]]) -> Opinion:
    """The mean of opinions of one modality weighted by their time, in the broad vocabulary."""
    weights = normalise({str(place): filled for place, (_, filled) in enumerate(parts)})
    emotions: defaultdict[str, float] = defaultdict(float)
    for place, (opinion, _) in enumerate(parts):
        for label, confidence in folded(opinion.evidence).items():
            emotions[label] += weights[str(place)] * confidence
    return Opinion(
        modality,
        {label: min(1.0, confidence) for label, confidence in emotions.items()},
        valence=_mean([(one.valence, filled) for one, filled in parts]),
        arousal=_mean([(one.arousal, filled) for one, filled in parts]),
        dominance=_mean([(one.dominance, filled) for one, filled in parts]),
        dimensions_derived=all(one.dimensions_derived for one, _ in parts),
        quality=_mean([(one.quality, filled) for one, filled in parts]) or 0.0,
        confidence=_mean([(one.confidence, filled) for one, filled in parts]) or 0.0,
    )


def _mean(values: Sequence[tuple[float | None, float]]) -> float | None:
    given = [(value, weight) for value, weight in values if value is not None]
    total = sum(weight for _, weight in given)
    return sum(value * weight / total for value, weight in given) if given else None
