"""Quality measures, and the thresholds they need."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.training.text.corpora import POLARITIES, WNUT_TYPES, Record
from models.training.text.schema import EMOTIONS, ENTITY_TYPES, MAX_TOKENS
from services.text.tagging import spans
from services.text.tokens import Tokens

Floats = NDArray[np.float32]
Rows = dict[int, dict[str, Floats]]
"""Outputs by name of each text, by its index."""


def truth_of(records: Sequence[Record]) -> Floats:
    """Multi-hot emotion labels [N, 28]."""
    truth = np.zeros((len(records), EMOTIONS), np.float32)
    for i, record in enumerate(records):
        truth[i, list(record.emotions or ())] = 1.0
    return truth


def f1(found: NDArray[np.bool_], truth: Floats) -> Floats:
    """F1 of each label, [L]; 0 where a label is neither found nor there."""
    hit = (found & (truth > 0)).sum(0)
    return np.asarray(2 * hit / np.maximum(found.sum(0) + truth.sum(0), 1), np.float32)


def best_thresholds(scores: Floats, truth: Floats) -> Floats:
    """The threshold of each label with the highest F1, smoothed over its neighbours, [L]."""
    grid = np.concatenate((np.linspace(0.02, 0.1, 9), np.linspace(0.12, 0.9, 40)))
    table = np.stack([f1(scores >= t, truth) for t in grid])
    padded = np.pad(table, ((1, 1), (0, 0)), mode="edge")
    smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return np.asarray(grid[smooth.argmax(0)], np.float32)


def threshold_at_share(scores: Floats, truth: Floats, share: float) -> float:
    """The threshold with the highest F1 were a share of the texts positive, negatives weighted.

    Of thresholds within .02 of the best the highest is taken: better missed than invented.
    """
    weight = truth.mean() / (1.0 - truth.mean()) * (1.0 - share) / share

    def f1_at(threshold: float) -> float:
        found = scores >= threshold
        hit = float((found & (truth > 0)).sum())
        wrong = float(weight * (found & (truth == 0)).sum())
        return 2 * hit / max(hit + wrong + float(truth.sum()), 1.0)

    grid = [float(t) for t in np.linspace(0.05, 0.9, 86)]
    table = np.convolve([f1_at(t) for t in grid], np.ones(5) / 5, mode="same")
    return grid[int(np.flatnonzero(table >= table.max() - 0.02).max())]


def tuned_f1(scores: Floats, truth: Floats) -> float:
    """Macro-F1 with thresholds tuned on these very scores: for comparing runs only."""
    return float(f1(scores >= best_thresholds(scores, truth), truth).mean())


def crossed(scores: Floats, truth: Floats) -> NDArray[np.bool_]:
    """What is found with each half's thresholds tuned on the other half."""
    even = np.arange(len(scores)) % 2 == 0
    found = np.zeros(truth.shape, bool)
    for part in (even, ~even):
        found[part] = scores[part] >= best_thresholds(scores[~part], truth[~part])
    return found


def standard_error(
    found: NDArray[np.bool_], truth: Floats, draws: int = 500, seed: int = 7
) -> float:
    """Of the F1 of one label, [N, 1], over texts drawn anew (bootstrap, Efron 1979)."""
    rows = np.random.default_rng(seed).integers(0, len(truth), (draws, len(truth)))
    return float(np.std([f1(found[row], truth[row])[0] for row in rows]))


def crossed_f1(scores: Floats, truth: Floats) -> tuple[float, float]:
    """Macro- and micro-F1 with each half's thresholds tuned on the other half."""
    found = crossed(scores, truth)
    micro = 2 * (found & (truth > 0)).sum() / max(found.sum() + truth.sum(), 1)
    return float(f1(found, truth).mean()), float(micro)


def ece(confidence: Floats, right: Floats, bins: int = 15) -> float:
    """Expected calibration error over bins of equal width (Naeini et al. 2015)."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[place == b].mean() - right[place == b].mean()) * (place == b).mean()
        for b in range(bins)
        if (place == b).any()
    ]
    return float(sum(gaps))


def ece_floor(confidence: Floats, draws: int = 200, seed: int = 7) -> float:
    """The mean ece of answers that are right just as often as they say: what chance alone gives."""
    rng = np.random.default_rng(seed)
    drawn = (rng.random((draws, len(confidence))) < confidence).astype(np.float32)
    return float(np.mean([ece(confidence, right) for right in drawn]))


def correlations(predicted: Floats, ratings: Floats) -> dict[str, float]:
    """Pearson's r of valence, arousal and dominance, [N, 3] against [N, 3]."""
    return {
        name: float(np.corrcoef(predicted[:, i], ratings[:, i])[0, 1])
        for i, name in enumerate(("valence", "arousal", "dominance"))
    }


def aspect_polarities(
    records: Sequence[Record], tokens: Sequence[Tokens], rows: Rows
) -> tuple[Floats, NDArray[np.int64]]:
    """Mean polarity logits [terms, 3] and true polarity [terms] of the gold aspect terms."""
    logits, truth = [], []
    for i, record in enumerate(records):
        for span in record.aspects or ():
            inside = [
                j + 1
                for j, (start, end) in enumerate(tokens[i].offsets[:MAX_TOKENS])
                if start >= span.start and end <= span.end
            ]
            if inside:
                logits.append(rows[i]["aspect_polarity"][inside].mean(0))
                truth.append(POLARITIES.index(span.label))
    return np.stack(logits), np.array(truth)


def aspect_f1(
    records: Sequence[Record], tokens: Sequence[Tokens], rows: Rows, transitions: Floats
) -> float:
    """Exact-span F1 of aspect terms."""
    gold = [{(s.start, s.end, "") for s in r.aspects or ()} for r in records]
    found = [_found(one, rows[i]["aspect_tags"], [""], transitions) for i, one in enumerate(tokens)]
    return _span_f1(found, gold)


def entity_f1(
    records: Sequence[Record], tokens: Sequence[Tokens], rows: Rows, transitions: Floats
) -> float:
    """Exact-span and type F1 on the types of WNUT17; place types count as one."""
    gold = [{(s.start, s.end, s.label) for s in r.entities or ()} for r in records]
    found = [
        _found(one, rows[i]["entity_tags"], WNUT_NAMES, transitions) for i, one in enumerate(tokens)
    ]
    return _span_f1(found, gold)


def entities_right(
    records: Sequence[Record], tokens: Sequence[Tokens], rows: Rows, transitions: Floats
) -> tuple[Floats, Floats]:
    """Score of each entity found, and whether its span and type are right, on WNUT17's types."""
    scores, right = [], []
    for i, record in enumerate(records):
        gold = {(s.start, s.end, s.label) for s in record.entities or ()}
        for place, sure in _found(tokens[i], rows[i]["entity_tags"], WNUT_NAMES, transitions):
            scores.append(sure)
            right.append(float(place in gold))
    return np.array(scores, np.float32), np.array(right, np.float32)


WNUT_NAMES = [
    "GPE" if name in {"LOC", "FAC"} else name if name in WNUT_TYPES.values() else ""
    for name in ENTITY_TYPES
]
"""WNUT17's name of each of the model's entity types; "" where WNUT17 does not label it."""


Place = tuple[int, int, str]


def _found(
    tokens: Tokens, logits: Floats, names: Sequence[str], transitions: Floats
) -> list[tuple[Place, float]]:
    n = min(len(tokens), MAX_TOKENS)
    return [
        ((tokens.offsets[a][0], tokens.offsets[b - 1][1], names[kind]), sure)
        for a, b, kind, sure in spans(logits[1 : n + 1], tokens.words[:n], transitions)
        if names[kind] or len(names) == 1
    ]


def _span_f1(found: Sequence[list[tuple[Place, float]]], gold: Sequence[set[Place]]) -> float:
    hit = found_n = gold_n = 0
    for scored, wanted in zip(found, gold, strict=True):
        places = {place for place, _ in scored}
        hit += len(places & wanted)
        found_n += len(places)
        gold_n += len(wanted)
    return 2 * hit / max(found_n + gold_n, 1)
