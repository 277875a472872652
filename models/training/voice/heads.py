"""The linear heads on pooled encoder features: fitting, calibration, and their ONNX form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.training.voice.corpora import Floats, Integers, Set

#: Inverse strength of the L2 penalty, chosen once by leave-one-speaker-out on EmoDB.
STRENGTH = 30.0


@dataclass(frozen=True)
class Head:
    """logits = features @ weights + bias; weights [3072, classes], bias [classes]."""

    weights: Floats
    bias: Floats

    def logits(self, features: Floats) -> Floats:
        return np.asarray(features @ self.weights + self.bias)


def fit(features: Floats, labels: Integers) -> Head:
    """Multinomial logistic regression on standardised features, classes weighted equally."""
    centre = features.mean(0)
    scale = (features.std(0) + 1e-4) * np.sqrt(features.shape[1])
    inputs = ((features - centre) / scale).astype(np.float64)
    classes = int(labels.max()) + 1
    targets = np.eye(classes)[labels]
    counts = np.bincount(labels, minlength=classes)
    importance = (len(labels) / classes / counts)[labels][:, None]

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(-1, classes)
        probabilities = softmax(inputs @ weights[:-1] + weights[-1])
        likelihood = np.log(np.maximum((probabilities * targets).sum(1), 1e-300))
        error = (probabilities - targets) * importance * STRENGTH
        gradient = np.vstack((inputs.T @ error + weights[:-1], error.sum(0)))
        value = 0.5 * (weights[:-1] ** 2).sum() - STRENGTH * (importance[:, 0] * likelihood).sum()
        return float(value), gradient.ravel()

    found = minimise(loss, np.zeros((features.shape[1] + 1) * classes)).reshape(-1, classes)
    weights = found[:-1] / scale[:, None]
    return Head(weights, found[-1] - centre @ weights)


def minimise(
    loss: Callable[[Floats], tuple[float, Floats]],
    start: Floats,
    steps: int = 300,
    memory: int = 10,
) -> Floats:
    """L-BFGS with backtracking (Nocedal and Wright 2006, algorithms 7.4 and 3.1)."""
    point = start
    value, gradient = loss(point)
    history: list[tuple[Floats, Floats]] = []
    first = float(np.linalg.norm(gradient))
    for _ in range(steps):
        direction = -gradient
        scales = []
        for move, change in reversed(history):
            scale = float(move @ direction) / float(move @ change)
            direction = direction - scale * change
            scales.append(scale)
        if history:
            move, change = history[-1]
            direction = direction * float(move @ change) / float(change @ change)
        else:
            direction = direction / first
        for (move, change), scale in zip(history, reversed(scales), strict=True):
            direction = direction + move * (
                scale - float(change @ direction) / float(move @ change)
            )
        slope, length = float(gradient @ direction), 1.0
        while True:
            trial = point + length * direction
            trial_value, trial_gradient = loss(trial)
            if trial_value <= value + 1e-4 * length * slope or length < 1e-8:
                break
            length /= 2
        move, change = trial - point, trial_gradient - gradient
        if float(move @ change) > 1e-12:
            history = [*history[1 - memory :], (move, change)]
        done = value - trial_value < 1e-7 * abs(value)
        point, value, gradient = trial, trial_value, trial_gradient
        if done:
            break
    return point


def softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(raised / raised.sum(1, keepdims=True))


def temperature(logits: Floats, labels: Integers) -> float:
    """The divisor of the logits that makes `labels` likeliest (Guo et al. 2017)."""
    grid = np.geomspace(0.3, 5.0, 200)
    rows = np.arange(len(labels))
    losses = [-np.log(softmax(logits / t)[rows, labels] + 1e-12).mean() for t in grid]
    return float(grid[int(np.argmin(losses))])


def calibration_error(probabilities: Floats, labels: Integers, bins: int = 10) -> float:
    """Expected calibration error of the top label over bins of equal width (Naeini et al. 2015)."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[place == b].mean() - right[place == b].mean()) * (place == b).mean()
        for b in range(bins)
        if (place == b).any()
    ]
    return float(sum(gaps))


def balanced_recall(predicted: Integers, labels: Integers) -> float:
    """Unweighted average recall (UAR) over the classes of `labels`."""
    recalls = [(predicted[labels == label] == label).mean() for label in np.unique(labels)]
    return float(np.mean(recalls))


class Fitted(Protocol):
    """A head that has learned."""

    def logits(self, features: Floats) -> Floats: ...


def cross_validated(
    corpus: Set, learn: Callable[[Set, NDArray[np.bool_]], Fitted]
) -> dict[str, Floats]:
    """Logits of every clip, by variant, from a head that never heard its speaker [clips, classes].

    `learn` gives a head from the chosen clips. The speakers of one fold are left out together.
    """
    shape = (len(corpus.labels), len(corpus.classes))
    logits: dict[str, Floats] = {variant: np.zeros(shape) for variant in corpus.features}
    for fold in np.unique(corpus.folds):
        heard = corpus.folds != fold
        head = learn(corpus, heard)
        for variant, features in corpus.features.items():
            logits[variant][~heard] = head.logits(features[~heard])
    return logits
