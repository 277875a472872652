"""FER+ (Barsoum et al. 2016): grey 48 x 48 faces with the votes of ten annotators."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Votes = npt.NDArray[np.float32]


def load(split: str) -> tuple[Images, Votes]:
    """Images ``[N, 48, 48]`` and vote shares ``[N, 8]`` (rows sum to 1) of ``train`` or ``valid``.

    The folder is ``$DATA`` (default ``../shared/data``), the file ``face/ferplus.npz``.
    """
    path = Path(os.environ.get("DATA", "../shared/data")) / "face" / "ferplus.npz"
    with np.load(path) as archive:
        return archive[f"{split}_images"], archive[f"{split}_votes"]


def halves(votes: Votes, seed: int = 7) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Row numbers of two halves, each with the same share of every majority class."""
    rng = np.random.default_rng(seed)
    first: list[int] = []
    second: list[int] = []
    for label in range(votes.shape[1]):
        rows = rng.permutation(np.flatnonzero(votes.argmax(1) == label))
        middle = (len(rows) + label % 2) // 2
        first.extend(rows[:middle])
        second.extend(rows[middle:])
    return np.sort(np.array(first)), np.sort(np.array(second))


def class_sampling(votes: Votes, power: float = 0.5) -> tuple[Votes, Votes]:
    """Chance of drawing each row ``[N]`` and of drawing each class ``[8]``.

    A class is drawn in proportion to its size to the ``power``: 1 keeps the natural mix, 0 makes
    all classes equal.
    """
    labels = votes.argmax(1)
    sizes = np.bincount(labels, minlength=votes.shape[1]).astype(np.float64)
    chances = sizes**power / (sizes**power).sum()
    return (chances / sizes)[labels].astype(np.float32), chances.astype(np.float32)
