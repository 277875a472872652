"""From the 28 labels the model measures to the platform's vocabulary."""

from collections.abc import Mapping
from itertools import accumulate, chain

import numpy as np
from numpy.typing import NDArray

GROUPS: Mapping[str, tuple[str, ...]] = {
    "happiness": (
        "joy", "amusement", "approval", "excitement", "gratitude", "love", "optimism", "relief",
        "pride", "admiration", "desire", "caring",
    ),
    "sadness": ("sadness", "disappointment", "embarrassment", "grief", "remorse"),
    "anger": ("anger", "annoyance", "disapproval"),
    "fear": ("fear", "nervousness"),
    "disgust": ("disgust",),
    "surprise": ("surprise", "realization"),
    "confusion": ("confusion",),
    "curiosity": ("curiosity",),
    "neutral": ("neutral",),
}  # fmt: skip
"""Labels that can be primary, and the GoEmotions labels that each gathers.

The grouping is the one GoEmotions maps onto Ekman's emotions (Demszky et al. 2020, appendix), but
confusion and curiosity stand for themselves: neither is surprise. Group probabilities have
calibration curves of their own.
"""

NAMES: Mapping[str, str] = {"nervousness": "anxiety"}
"""GoEmotions names that the platform's vocabulary has another word for."""

FINE = (
    "admiration", "amusement", "annoyance", "approval", "caring", "desire", "disappointment",
    "disapproval", "embarrassment", "excitement", "gratitude", "grief", "love", "nervousness",
    "optimism", "pride", "realization", "relief", "remorse",
)  # fmt: skip
"""Labels reported beside the groups; joy, anger, sadness and so on are reported as their group."""

DERIVED: Mapping[str, tuple[tuple[str, float], ...]] = {
    "satisfaction": (("approval", 1.0), ("admiration", 0.75), ("joy", 0.75), ("relief", 0.75),
                     ("love", 0.6), ("gratitude", 0.6)),
    "frustration": (("annoyance", 0.9), ("disappointment", 0.9), ("anger", 0.5)),
    "contempt": (("disgust", 0.6), ("annoyance", 0.3), ("disapproval", 0.3)),
    "interest": (("curiosity", 1.0), ("desire", 0.3)),
}  # fmt: skip
"""Labels no corpus here measures: the probability that any of the named labels stands for it, each
counted with a weight (noisy or). Always marked derived; derived labels are never primary."""

LEAST_DERIVED = 0.3
"""Derived labels below this confidence are not reported."""


class EmotionTable:
    """Index arithmetic over the model's label order."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        place = {label: i for i, label in enumerate(labels)}
        self.groups = {name: [place[m] for m in members] for name, members in GROUPS.items()}
        self.fine = {NAMES.get(name, name): place[name] for name in FINE}
        self._members, self._first = _chained(list(self.groups.values()))
        self._parts, self._first_part = _chained(
            [[place[m] for m, _ in parts] for parts in DERIVED.values()]
        )
        self._weights = np.array([w for parts in DERIVED.values() for _, w in parts], np.float32)

    def group_scores(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Noisy or over each group's labels, [..., groups] in the order of GROUPS, uncalibrated."""
        absent = 1.0 - probabilities[..., self._members]
        return np.asarray(1.0 - np.multiply.reduceat(absent, self._first, -1), np.float32)

    def coherent(
        self, groups: NDArray[np.float32], labels: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Calibrated groups, none less likely than one of its labels."""
        likeliest = np.maximum.reduceat(labels[..., self._members], self._first, -1)
        return np.asarray(np.maximum(groups, likeliest), np.float32)

    def derive(self, probabilities: NDArray[np.float32]) -> dict[str, float]:
        """Confidence of each derived label from label probabilities [28]."""
        absent = 1.0 - self._weights * probabilities[self._parts]
        found = 1.0 - np.multiply.reduceat(absent, self._first_part)
        return dict(zip(DERIVED, found.tolist(), strict=True))


def _chained(lists: list[list[int]]) -> tuple[list[int], list[int]]:
    """All numbers in one list, and where each list begins in it."""
    ends = list(accumulate(map(len, lists)))
    return list(chain.from_iterable(lists)), [0, *ends[:-1]]
