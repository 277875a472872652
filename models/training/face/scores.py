"""How good probabilities are, from numpy arrays alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.intp]


def accuracy(probabilities: Floats, truth: Labels) -> float:
    """Share of rows ``[N, C]`` whose most probable class is the true one ``[N]``."""
    return float((probabilities.argmax(1) == truth).mean())


def recalls(probabilities: Floats, truth: Labels) -> dict[int, float]:
    """Share found of each class that occurs; their mean is the balanced accuracy."""
    guess = probabilities.argmax(1)
    return {int(c): float((guess[truth == c] == c).mean()) for c in np.unique(truth)}


def area_under_curve(scores: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """Chance that a positive scores above a negative (ties count half; Mann-Whitney)."""
    order = np.unique(scores, return_inverse=True)[1]
    counts = np.bincount(order)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[order]
    wins = ranks[positive].sum() - positive.sum() * (positive.sum() + 1) / 2
    return float(wins / (positive.sum() * (~positive).sum()))


def expected_calibration_error(
    probabilities: npt.NDArray[np.float32], truth: npt.NDArray[np.intp], bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over equally wide bins (Guo et al. 2017)."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == truth
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(right[place == b].mean() - confidence[place == b].mean()) * (place == b).mean()
        for b in range(bins)
        if (place == b).any()
    ]
    return float(sum(gaps))
