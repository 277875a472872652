"""Several opinions on one subject as one; docs/fusion.md gives every formula with its reason."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from services.fusion.vocabulary import KNOWN, common_labels
from services.fusion.weights import normalise

Floats = NDArray[np.float64]
Method = Literal["weighted_average", "confidence_weighted", "bayesian"]

CALIBRATION_ERROR = 0.03
"""The expected calibration error the models are held to: no confidence is taken as surer."""
TEMPERATURE = 2.0
"""Of the Bayesian product: 1 takes modalities as independent witnesses, infinity as one witness."""
LOW_QUALITY = 0.2
"""A modality whose quality is below this loses weight in proportion."""
_LEAST_QUALITY = 0.01
_NEGLIGIBLE = 1e-12


@dataclass(frozen=True)
class Opinion:
    """What one modality says of the subject.

    emotions: calibrated confidence in [0, 1] by label, each on its own (they need not sum to 1).
    derived: labels computed from the others, which are no evidence of their own.
    valence, arousal, dominance: in [-1, 1], None where the modality does not give it.
    quality: in [0, 1], how good its input was.
    confidence: in [0, 1], of a modality without emotions.
    """

    modality: str
    emotions: Mapping[str, float]
    derived: frozenset[str] = frozenset()
    valence: float | None = None
    arousal: float | None = None
    dominance: float | None = None
    dimensions_derived: bool = False
    quality: float = 1.0
    confidence: float = 0.0

    @property
    def silent(self) -> bool:
        """Whether it says nothing that could be weighed."""
        return not self.emotions and self.valence is None and self.arousal is None

    @property
    def evidence(self) -> Mapping[str, float]:
        """Emotions without those derived from others, unless all are."""
        measured = {k: p for k, p in self.emotions.items() if k not in self.derived}
        return measured or self.emotions


@dataclass(frozen=True)
class Fusion:
    """All opinions as one.

    emotions: confidence in [0, 1] by label; empty where no opinion has emotions.
    derived: labels computed from others, where a single modality spoke and said so.
    valence, arousal, dominance: in [-1, 1]; None where no modality gives it.
    entropy, uncertainty, agreement: in [0, 1]; entropy is None without emotions.
    weights: by modality, summing to 1.
    contributions: share of each modality in the primary emotion, summing to 1.
    """

    emotions: Mapping[str, float]
    derived: frozenset[str]
    valence: float | None
    arousal: float | None
    dominance: float | None
    dimensions_derived: bool
    entropy: float | None
    uncertainty: float
    agreement: float
    weights: Mapping[str, float]
    contributions: Mapping[str, float]


def fuse(opinions: Sequence[Opinion], weights: Mapping[str, float], method: Method) -> Fusion:
    """Weighs at least one opinion, each of another modality.

    `weights` are 0 or more by modality and not all 0 among the opinions; only their proportions
    count. The order of the opinions does not matter. One opinion comes back unchanged.
    """
    opinions = sorted(opinions, key=lambda one: one.modality)
    trust = _trust(opinions, weights, method)
    heard = [one for one in opinions if trust[one.modality] > _NEGLIGIBLE]
    speaking = [one for one in heard if one.emotions]
    emotions: Mapping[str, float] = {}
    derived = frozenset[str]()
    parts: dict[str, float] = {}
    rows: dict[str, Floats] = {}
    if len(speaking) == 1:
        emotions, derived = speaking[0].emotions, speaking[0].derived
        parts = {speaking[0].modality: 1.0}
    elif speaking:
        shares = normalise({one.modality: trust[one.modality] for one in speaking})
        share = np.array([shares[one.modality] for one in speaking])
        labels, table, judged = _tabulate(speaking, share)
        pool = _product(table, judged, share) if method == "bayesian" else share @ table
        emotions = {label: _clip(p) for label, p in zip(labels, pool.tolist(), strict=True)}
        for one, row in zip(speaking, table, strict=True):
            rows[one.modality] = distribution(row)
            parts[one.modality] = shares[one.modality] * float(row[pool.argmax()])
    agreement = _agreement(heard, trust, rows)
    primary = max(emotions.values()) if emotions else _mean_confidence(heard, trust)
    dimensional = [one for one in heard if one.valence is not None or one.arousal is not None]
    return Fusion(
        emotions=emotions,
        derived=derived,
        valence=_mean({one.modality: one.valence for one in heard}, trust),
        arousal=_mean({one.modality: one.arousal for one in heard}, trust),
        dominance=_mean({one.modality: one.dominance for one in heard}, trust),
        dimensions_derived=all(one.dimensions_derived for one in dimensional),
        entropy=entropy(distribution(np.array(list(emotions.values())))) if emotions else None,
        uncertainty=_clip(1 - primary * agreement),
        agreement=agreement,
        weights=trust,
        contributions=_contributions(opinions, parts),
    )


def distribution(confidences: Floats) -> Floats:
    """The single-label distribution behind confidences of labels [labels], summing to 1.

    Confidences above 1 in sum are scaled down; what is missing to 1 is spread evenly, since
    nothing is known of it.
    """
    missing = max(0.0, 1.0 - float(confidences.sum()))
    spread: Floats = confidences + missing / confidences.size
    spread /= spread.sum()
    return spread


def entropy(shares: Floats) -> float:
    """Shannon entropy of a distribution over its maximum, in [0, 1]; 0 for a single label."""
    if shares.size == 1:
        return 0.0
    present = shares[shares > 0]
    return _clip(float(-(present * np.log(present)).sum()) / math.log(shares.size))


def _trust(
    opinions: Sequence[Opinion], weights: Mapping[str, float], method: Method
) -> dict[str, float]:
    """Weights summing to 1 once quality, and the variance where asked for, have been counted."""
    given = normalise({one.modality: weights[one.modality] for one in opinions})
    trust = {}
    for one in opinions:
        quality = min(1.0, max(one.quality, _LEAST_QUALITY) / LOW_QUALITY)
        variance = _variance(one) if method == "confidence_weighted" else 1.0
        trust[one.modality] = given[one.modality] * quality / variance
    return normalise(trust)


def _variance(opinion: Opinion) -> float:
    """Total variance of the emotion as this modality sees it: 1 - sum of squared shares."""
    if opinion.emotions:
        shares = np.array(list(opinion.emotions.values()))
        shares = shares / max(1.0, shares.sum())
    else:
        shares = np.array([opinion.confidence])
    return max(CALIBRATION_ERROR, 1.0 - float((shares**2).sum()))


def _tabulate(
    opinions: Sequence[Opinion], share: Floats
) -> tuple[list[str], Floats, NDArray[np.bool_]]:
    """Labels, confidences [opinions, labels] in the common vocabulary, and who can judge what.

    Of labels folded into one, the most confident counts. A label that a modality cannot emit gets
    from it what those that can emit it say on average, at most what its own most confident label
    leaves.
    """
    known = {one.modality: KNOWN[one.modality] | one.evidence.keys() for one in opinions}
    common = common_labels(known)
    labels = sorted(set(common.values()))
    column = {label: index for index, label in enumerate(labels)}
    table = np.zeros((len(opinions), len(labels)))
    judged = np.zeros(table.shape, bool)
    for row, one in enumerate(opinions):
        judged[row, [column[common[label]] for label in known[one.modality]]] = True
        for label, confidence in one.evidence.items():
            place = row, column[common[label]]
            table[place] = max(table[place], confidence)
    heard = share @ table / (share @ judged)
    left = 1.0 - table.max(axis=1, keepdims=True)
    return labels, np.where(judged, table, np.minimum(heard, left)), judged


def _product(table: Floats, judged: NDArray[np.bool_], share: Floats) -> Floats:
    """Bayes' rule with a flat prior over opinions that may share their cause.

    Each opinion [labels] is evidence to the power of its share times the number of witnesses,
    1 + (effective number - 1) / TEMPERATURE; on a label it cannot judge it is no evidence.
    """
    evidence = np.zeros(table.shape[1])
    witnesses = 1 + (1 / float((share**2).sum()) - 1) / TEMPERATURE
    for row, can, weight in zip(table, judged, share, strict=True):
        shares = distribution(row[can])
        doubted = (1 - CALIBRATION_ERROR) * shares * shares.size + CALIBRATION_ERROR
        evidence[can] += witnesses * weight * np.log(doubted)
    posterior: Floats = np.exp(evidence - evidence.max())
    posterior /= posterior.sum()
    return posterior


def _contributions(opinions: Sequence[Opinion], parts: Mapping[str, float]) -> dict[str, float]:
    """Share of each opinion, summing to 1, from its part; empty where nobody has one."""
    if not any(parts.values()):
        return {}
    shares = normalise(parts)
    return {one.modality: shares.get(one.modality, 0.0) for one in opinions}


def _agreement(
    opinions: Sequence[Opinion], trust: Mapping[str, float], rows: Mapping[str, Floats]
) -> float:
    """1 minus the mean distance of the pairs of opinions, each weighing as its weights' product."""
    distances: list[float] = []
    weights: list[float] = []
    for place, one in enumerate(opinions):
        for other in opinions[:place]:
            apart = _distance(one, other, rows)
            if apart is not None:
                distances.append(apart)
                weights.append(trust[one.modality] * trust[other.modality])
    if not math.fsum(weights):
        return 1.0
    return _clip(1.0 - float(np.average(distances, weights=weights)))


def _distance(one: Opinion, other: Opinion, rows: Mapping[str, Floats]) -> float | None:
    """Mean distance of emotions and dimensions, in [0, 1]; None without common ground."""
    parts = []
    if one.modality in rows and other.modality in rows:
        parts.append(_jensen_shannon(rows[one.modality], rows[other.modality]))
    gaps = [
        (a - b) / 2
        for a, b in ((one.valence, other.valence), (one.arousal, other.arousal))
        if a is not None and b is not None
    ]
    if gaps:
        parts.append(math.sqrt(math.fsum(gap**2 for gap in gaps) / len(gaps)))
    return math.fsum(parts) / len(parts) if parts else None


def _jensen_shannon(p: Floats, q: Floats) -> float:
    """Jensen-Shannon distance in base 2, in [0, 1] (Endres and Schindelin 2003)."""
    middle = (p + q) / 2
    divergence = 0.0
    for side in (p, q):
        present = side > _NEGLIGIBLE
        divergence += float((side[present] * np.log2(side[present] / middle[present])).sum()) / 2
    return math.sqrt(_clip(divergence))


def _mean(values: Mapping[str, float | None], trust: Mapping[str, float]) -> float | None:
    """Weighted mean over the modalities that give a value."""
    given = {name: value for name, value in values.items() if value is not None}
    if not given:
        return None
    weights = normalise({name: trust[name] for name in given})
    return max(-1.0, min(1.0, math.fsum(weights[name] * given[name] for name in given)))


def _mean_confidence(opinions: Sequence[Opinion], trust: Mapping[str, float]) -> float:
    return math.fsum(trust[one.modality] * one.confidence for one in opinions)


def _clip(value: float) -> float:
    return max(0.0, min(1.0, value))
