"""Fit what turns scores into probabilities, on development data, and write the model's settings.

    DATA=../shared/data python -m models.training.text.calibrate

Writes calibration.json and config.pbtxt into the model's folder. Figures are cross-fitted: each
half of a development set is measured with what was fitted on the other half; what is written is
fitted on all of it.
"""

import argparse
import json
import os
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from models.training.text import corpora
from models.training.text.corpora import POLARITIES
from models.training.text.examples import MAX_TOKENS, polarity_of
from models.training.text.export import REPOSITORY
from models.training.text.network import EMBEDDING, EMOTIONS, ENTITY_TAGS, ENTITY_TYPES, LEVELS
from models.training.text.scores import (
    best_thresholds,
    macro_f1,
    sarcasm_records,
    sigmoid,
    truth_of,
)
from models.training.text.session import Rows, Session, stack
from services.text import calibration
from services.text.emotions import GROUPS, EmotionTable
from services.text.model import softmax, spans
from services.text.tokens import Tokens

Floats = NDArray[np.float32]
Fit = Callable[[Floats, Floats], list[list[float]]]
SENTIMENT_LEVELS = (-0.95, -0.45, 0.0, 0.45, 0.95)
GRID = (1.0 / (1.0 + np.exp(-np.linspace(-7.0, 6.0, 27)))).astype(np.float32)
VERSION = "1.0.0"


def platt(scores: Floats, truth: Floats) -> list[list[float]]:
    """Platt scaling (1999) on the score's log odds, as knots of a curve."""
    fit = LogisticRegression(C=100.0).fit(_odds(scores)[:, None], truth > 0)
    fitted = fit.predict_proba(_odds(GRID)[:, None])[:, 1]
    return [[round(float(s), 6), round(float(p), 5)] for s, p in zip(GRID, fitted, strict=True)]


def _odds(scores: Floats) -> Floats:
    clipped = np.clip(scores, 1e-5, 1.0 - 1e-5)
    return np.asarray(np.log(clipped / (1.0 - clipped)), np.float32)


def isotonic(scores: Floats, truth: Floats) -> list[list[float]]:
    """Isotonic regression over Platt scaling, thinned to one knot per twentieth of the scores."""
    fit = IsotonicRegression(y_min=0.001, y_max=0.999, out_of_bounds="clip").fit(scores, truth)
    knots = np.unique(np.quantile(scores, np.linspace(0.0, 1.0, 21)))
    edges = np.concatenate(([-np.inf], (knots[1:] + knots[:-1]) / 2, [np.inf]))
    values = []
    for low, high in pairwise(edges):
        inside = scores[(scores >= low) & (scores < high)]
        values.append(float(fit.predict(inside).mean()))
    return [[round(float(s), 6), round(p, 5)] for s, p in zip(knots, values, strict=True)]


def temperature(logits: Floats, loss: Callable[[Floats], float]) -> float:
    """The temperature of a grid with the least loss (Guo et al. 2017)."""
    grid = np.exp(np.linspace(np.log(0.4), np.log(4.0), 60)).astype(np.float32)
    return float(min(grid, key=lambda t: loss(logits / t)))


def ece(confidence: Floats, right: Floats, bins: int = 15) -> float:
    """Expected calibration error over bins of equal width (Naeini et al. 2015)."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[place == b].mean() - right[place == b].mean()) * (place == b).mean()
        for b in range(bins)
        if (place == b).any()
    ]
    return float(sum(gaps))


def cross(scores: Floats, truth: Floats, fit: Fit) -> Floats:
    """Each half calibrated with what was fitted on the other."""
    out = np.zeros_like(scores)
    even = np.arange(len(scores)) % 2 == 0
    for part in (even, ~even):
        out[part] = calibration.curve(fit(scores[~part], truth[~part]))(scores[part])
    return out


def group_truth(truth: Floats, table: EmotionTable) -> Floats:
    """Whether each group has any of its labels, [N, groups]."""
    return np.stack([truth[:, m].max(-1) for m in table.groups.values()], -1)


def aspect_spans(data: Path, session: Session) -> tuple[Floats, NDArray[np.int64]]:
    """Mean polarity logits [spans, 3] and true polarity of the gold terms of MAMS val."""
    records = list(corpora.mams(data, "val"))
    tokens, rows = session.read([r.text for r in records])
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


def entity_spans(
    data: Path, tokens: list[Tokens], rows: Rows, records: list[corpora.Record]
) -> tuple[Floats, Floats]:
    """Score of each entity found in WNUT17 dev, and whether span and type are right."""
    places = {"GPE", "LOC", "FAC"}
    asked = set(corpora.WNUT_TYPES.values()) | places
    scores, right = [], []
    for i, record in enumerate(records):
        n = min(len(tokens[i]), MAX_TOKENS)
        gold = {(s.start, s.end, s.label) for s in record.entities or ()}
        found = spans(rows[i]["entity_tags"][1 : n + 1], tokens[i].words[:n])
        for first, last, kind, sure in found:
            if ENTITY_TYPES[kind] in asked:
                name = "GPE" if ENTITY_TYPES[kind] in places else ENTITY_TYPES[kind]
                place = (tokens[i].offsets[first][0], tokens[i].offsets[last - 1][1], name)
                scores.append(sure)
                right.append(float(place in gold))
    return np.array(scores, np.float32), np.array(right, np.float32)


def fit_all(
    data: Path, session: Session
) -> tuple[dict[str, Mapping[str, object]], dict[str, float]]:
    """Contents of calibration.json, and cross-fitted figures."""
    names = corpora.goemotions_labels(data)
    table = EmotionTable(tuple(names))
    curves: dict[str, list[list[float]]] = {}
    thresholds: dict[str, float] = {}
    figures: dict[str, float] = {}

    go = list(corpora.goemotions(data, "dev"))
    _, rows = session.read([r.text for r in go])
    raw, truth = sigmoid(stack(rows, "emotions")), truth_of(go)
    label_ece = []
    calibrated, labels = np.zeros_like(raw), np.zeros_like(raw)
    for i, name in enumerate(names):
        curves[f"emotion.{name}"] = platt(raw[:, i], truth[:, i])
        calibrated[:, i] = calibration.curve(curves[f"emotion.{name}"])(raw[:, i])
        labels[:, i] = cross(raw[:, i], truth[:, i], platt)
        label_ece.append(ece(labels[:, i], truth[:, i]))
    for name, threshold in zip(names, best_thresholds(calibrated, truth), strict=True):
        thresholds[f"emotion.{name}"] = round(float(threshold), 4)
    figures["emotions_macro_f1"], figures["emotions_micro_f1"] = crossed_f1(raw, truth)
    figures["emotions_label_ece"] = float(np.mean(label_ece))

    groups, present = table.group_scores(raw), group_truth(truth, table)
    crossed = np.zeros_like(groups)
    for i, name in enumerate(GROUPS):
        curves[f"group.{name}"] = isotonic(groups[:, i], present[:, i])
        crossed[:, i] = cross(groups[:, i], present[:, i], isotonic)
        fitted = calibration.curve(curves[f"group.{name}"])(groups[:, i])
        best = best_thresholds(fitted[:, None], present[:, i : i + 1])
        thresholds[f"group.{name}"] = round(float(best[0]), 4)
    crossed = table.coherent(crossed, labels)
    first = crossed.argmax(-1)
    right = present[np.arange(len(first)), first]
    figures["primary_accuracy"] = float(right.mean())
    figures["primary_ece"] = ece(crossed.max(-1), right)
    figures["groups_macro_f1"] = crossed_f1(groups, present)[0]

    logits = stack(rows, "sentiment")
    signs = np.array([polarity_of(r.emotions or ()) for r in go])
    three = (signs > 0.15).astype(int) - (signs < -0.15) + 1

    def directions(x: Floats) -> Floats:
        p = softmax(x)
        return np.stack((p[:, :2].sum(-1), p[:, 2], p[:, 3:].sum(-1)), -1)

    def nll(x: Floats) -> float:
        chosen = directions(x)[np.arange(len(three)), three]
        return float(-np.log(np.maximum(chosen, 1e-6)).mean())

    heat = temperature(logits, nll)
    at = directions(logits / np.float32(heat))
    figures["sentiment_accuracy"] = float((at.argmax(-1) == three).mean())
    figures["sentiment_ece"] = ece(at.max(-1), (at.argmax(-1) == three).astype(np.float32))

    tweets = sarcasm_records(data)
    _, rows = session.read([r.text for r in tweets])
    score = sigmoid(stack(rows, "sarcasm"))[:, 0]
    sarcastic = np.array([r.sarcasm or 0 for r in tweets], np.float32)
    curves["sarcasm"] = platt(score, sarcastic)
    fitted = calibration.curve(curves["sarcasm"])(score)
    thresholds["sarcasm"] = round(float(best_thresholds(fitted[:, None], sarcastic[:, None])[0]), 4)
    figures["sarcasm_f1"] = crossed_f1(score[:, None], sarcastic[:, None])[0]
    figures["sarcasm_ece"] = ece(cross(score, sarcastic, platt), sarcastic)

    polarity, gold = aspect_spans(data, session)

    def span_nll(x: Floats) -> float:
        return float(-np.log(np.maximum(softmax(x)[np.arange(len(gold)), gold], 1e-6)).mean())

    aspect_heat = temperature(polarity, span_nll)
    at = softmax(polarity / np.float32(aspect_heat))
    figures["aspect_polarity_accuracy"] = float((at.argmax(-1) == gold).mean())
    figures["aspect_polarity_ece"] = ece(at.max(-1), (at.argmax(-1) == gold).astype(np.float32))

    wnut = list(corpora.wnut(data, "emerging.dev"))
    tokens, rows = session.read([r.text for r in wnut])
    sure, correct = entity_spans(data, tokens, rows, wnut)
    curves["entity"] = platt(sure, correct)
    figures["entity_ece"] = ece(cross(sure, correct, platt), correct)
    content: dict[str, Mapping[str, object]] = {
        "curves": curves,
        "thresholds": thresholds,
        "numbers": {
            "sentiment_temperature": round(heat, 4),
            "aspect_temperature": round(aspect_heat, 4),
        },
    }
    return content, figures


def crossed_f1(scores: Floats, truth: Floats) -> tuple[float, float]:
    """Macro- and micro-F1 with each half's thresholds tuned on the other half."""
    even = np.arange(len(scores)) % 2 == 0
    found = np.zeros(truth.shape, bool)
    for part in (even, ~even):
        found[part] = scores[part] >= best_thresholds(scores[~part], truth[~part])
    macro = macro_f1(found.astype(np.float32), truth, np.full(truth.shape[1], 0.5, np.float32))[0]
    micro = 2 * (found & (truth > 0)).sum() / max(found.sum() + truth.sum(), 1)
    return macro, float(micro)


def config(names: list[str], figures: dict[str, float]) -> str:
    """config.pbtxt of the model."""
    shapes: dict[str, list[int]] = {
        "emotions": [EMOTIONS],
        "sentiment": [LEVELS],
        "subjectivity": [1],
        "sarcasm": [1],
        "aspect_tags": [-1, 3],
        "aspect_polarity": [-1, 3],
        "entity_tags": [-1, ENTITY_TAGS],
        "embedding": [EMBEDDING],
    }
    parameters = {
        "version": VERSION,
        "license": "Apache-2.0",
        "calibration": f"GoEmotions dev, ECE {figures['primary_ece']:.3f}",
        "labels": ",".join(names),
        "sentiment_levels": ",".join(map(str, SENTIMENT_LEVELS)),
        "entity_types": ",".join(ENTITY_TYPES),
    }
    lines = [
        'name: "text_affect"',
        'platform: "onnxruntime_onnx"',
        "max_batch_size: 64",
        "input [",
        '  { name: "ids", data_type: TYPE_INT64, dims: [ -1 ] },',
        '  { name: "cases", data_type: TYPE_INT64, dims: [ -1 ] }',
        "]",
        "output [",
    ]
    for name, shape in shapes.items():
        dims = ", ".join(map(str, shape))
        comma = "," if name != "embedding" else ""
        lines.append(f'  {{ name: "{name}", data_type: TYPE_FP32, dims: [ {dims} ] }}{comma}')
    lines += ["]", "dynamic_batching { max_queue_delay_microseconds: 1000 }"]
    for key, value in parameters.items():
        lines.append(f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}')
    return "\n".join(lines) + "\n"


def _lines(content: Mapping[str, Mapping[str, object]]) -> str:
    """JSON with one curve, threshold or number a line."""
    parts = []
    for part, entries in content.items():
        rows = (f'  "{k}": {json.dumps(v, separators=(",", ":"))}' for k, v in entries.items())
        parts.append(f'"{part}": {{\n' + ",\n".join(rows) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "text_affect")
    args = parser.parse_args()
    data = Path(os.environ.get("DATA", "../shared/data"))
    content, figures = fit_all(data, Session(args.out))
    (args.out / "calibration.json").write_text(_lines(content), encoding="utf-8")
    names = corpora.goemotions_labels(data)
    (args.out / "config.pbtxt").write_text(config(names, figures), encoding="utf-8")
    for name, value in figures.items():
        print(json.dumps({"measure": name, "value": round(value, 4)}))


if __name__ == "__main__":
    main()
