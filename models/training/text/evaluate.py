"""Measure the text models as they stand in the repository, on development data.

    DATA=../shared/data python -m models.training.text.evaluate

Prints one JSON line a measure, then a table with the targets. Thresholds and calibration curves are
cross-fitted: each half of a development set is measured with what was fitted on the other half.
Needs nothing but the packages of the mesh.
"""

import argparse
import asyncio
import json
import os
from pathlib import Path

import numpy as np
import onnxruntime

from models.training.text import corpora
from models.training.text.calibrate import Calibrator
from models.training.text.metrics import correlations
from models.training.text.multilingual.evaluate import languages
from models.training.text.schema import REPOSITORY, SENTIMENT_LEVELS
from models.training.text.session import Session, stack
from services.text.model import ENGLISH, softmax

CLEAR = 0.25
"""Least distance of an EmoBank valence from 0, in [-1, 1], for its sign to be clear."""

TARGETS = {
    "emotions_macro_f1": 0.50,
    "emobank_valence_r": 0.75,
    "emobank_arousal_r": 0.52,
    "sentiment_two_class_accuracy_emobank": 0.88,
    "aspect_term_f1": 0.75,
    "aspect_polarity_accuracy": 0.78,
    "sarcasm_f1": 0.50,
    "primary_ece": 0.03,
    "sentiment_ece": 0.03,
    "sarcasm_ece": 0.03,
    "aspect_polarity_ece": 0.03,
    "entity_ece": 0.03,
}


def emobank(data: Path, repository: Path) -> dict[str, float]:
    """Correlations on EmoBank dev, and sign of polarity against clear valence on all of EmoBank.

    The text model never saw EmoBank: news, letters, essays, fiction and blogs.
    """
    model = onnxruntime.InferenceSession(
        str(repository / "text_dimensions" / "1" / "model.onnx"),
        providers=["CPUExecutionProvider"],
    )
    dev = list(corpora.emobank(data, "dev"))
    tokens, rows = Session(repository / "text_affect", "states").read([r.text for r in dev])
    predicted = []
    for i, one in enumerate(tokens):
        states = rows[i]["states"][None, : len(one) + 2]
        given = {"states": states, "mask": np.ones(states.shape[:2], np.float32)}
        predicted.append(model.run(None, given)[0])
    ratings = np.array([r.dimensions for r in dev], np.float32)
    found = correlations(np.concatenate(predicted), ratings)
    out = {f"emobank_{name}_r": r for name, r in found.items()}
    clear = [
        record
        for split in ("train", "dev")
        for record in corpora.emobank(data, split)
        if record.dimensions is not None and abs(record.dimensions[0]) >= CLEAR
    ]
    session = Session(repository / "text_affect", "sentiment")
    _, rows = session.read([r.text for r in clear])
    polarity = softmax(stack(rows, "sentiment")) @ np.array(SENTIMENT_LEVELS, np.float32)
    valence = np.array([r.dimensions[0] for r in clear if r.dimensions is not None])
    out["sentiment_two_class_accuracy_emobank"] = float(((polarity > 0) == (valence > 0)).mean())
    return out


def measure(data: Path, repository: Path) -> dict[str, float]:
    """Every text measure."""
    session = Session(repository / "text_affect", *ENGLISH.heads)
    calibrator = Calibrator(data, session)
    calibrator.fit()
    return calibrator.figures | emobank(data, repository)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, default=REPOSITORY)
    args = parser.parse_args()
    figures = measure(Path(os.environ.get("DATA", "../shared/data")), args.repository)
    others = asyncio.run(languages(args.repository))["all but English"]
    for name in ("sentiment", "positive_or_negative", "primary_emotion", "valence_sign"):
        figures[f"seven_languages_{name}"] = others[name]
    for name, value in figures.items():
        print(json.dumps({"modality": "text", "measure": name, "value": round(value, 4)}))
    print(f"\n{'text, development data':40} {'value':>7} {'target':>8}")
    for name, value in figures.items():
        sign = "≤" if name.endswith("_ece") else "≥"
        bound = f"{sign} {TARGETS[name]:.2f}" if name in TARGETS else ""
        print(f"{name:40} {value:7.3f} {bound:>8}")


if __name__ == "__main__":
    main()
