"""Piecewise-linear calibration of scores, fitted in training and kept beside the model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Monotone piecewise-linear map from a model's score to a probability (isotonic regression,
    Zadrozny and Elkan 2002, thinned to a few knots)."""

    scores: NDArray[np.float64]
    probabilities: NDArray[np.float64]

    def __call__(self, score: Floats) -> Floats:
        """Probabilities of scores of any shape; flat outside the knots."""
        return np.asarray(np.interp(score, self.scores, self.probabilities), dtype=np.float32)

    def one(self, score: float) -> float:
        """Probability of one score."""
        return float(np.interp(score, self.scores, self.probabilities))


class Curves:
    """One curve a column, all in one interpolation: column i of the scores, in [0, 1], is moved to
    [2 i, 2 i + 1], where the knots of its curve lie."""

    def __init__(self, curves: Sequence[Curve]) -> None:
        self._moves = 2.0 * np.arange(len(curves))
        self._at = np.concatenate(
            [2.0 * i + np.concatenate(([0.0], c.scores, [1.0])) for i, c in enumerate(curves)]
        )
        self._probabilities = np.concatenate(
            [c.probabilities[np.r_[0, 0 : len(c.probabilities), -1]] for c in curves]
        )

    def __call__(self, scores: Floats) -> Floats:
        """Probabilities [N, curves] of scores [N, curves]; flat outside the knots."""
        found = np.interp(scores + self._moves, self._at, self._probabilities)
        return np.asarray(found, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What turns the text model's outputs into what is reported.

    transitions: of aspect and entity tags, [tags, tags], see `tagging.spans`; none where the model
    has no tags.
    """

    curves: Mapping[str, Curve]
    thresholds: Mapping[str, float]
    numbers: Mapping[str, float]
    transitions: Mapping[str, Floats]


def read(path: Path) -> Calibration:
    """Reads calibration.json, which training writes beside config.pbtxt."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return Calibration(
        {name: curve(points) for name, points in content["curves"].items()},
        content["thresholds"],
        content["numbers"],
        {name: np.array(rows, np.float32) for name, rows in content["transitions"].items()},
    )


def curve(points: Sequence[Sequence[float]]) -> Curve:
    """A curve from [[score, probability], …] in increasing order of score."""
    scores, probabilities = np.array(points, np.float64).T.copy()
    return Curve(scores, probabilities)
