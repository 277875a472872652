"""Calibration curves and temperatures, fitted in numpy."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from services.text import calibration

Floats = NDArray[np.float32]
Knots = list[list[float]]
Fit = Callable[[Floats, Floats], Knots]

GRID = (1.0 / (1.0 + np.exp(-np.linspace(-7.0, 6.0, 27)))).astype(np.float32)


def platt(scores: Floats, truth: Floats) -> Knots:
    """Platt scaling (1999) on the score's log odds by Newton's method, as knots of a curve."""
    x = np.stack((_odds(scores), np.ones(len(scores))), -1)
    weights = np.zeros(2)
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ weights, -30, 30)))
        slope = x.T @ (p - truth) + 1e-2 * weights
        curvature = (x * (p * (1 - p))[:, None]).T @ x + 1e-2 * np.eye(2)
        step = np.linalg.solve(curvature, slope)
        weights -= step
        if np.abs(step).max() < 1e-7:
            break
    fitted = 1.0 / (1.0 + np.exp(-(_odds(GRID) * weights[0] + weights[1])))
    return [[round(float(s), 6), round(float(p), 5)] for s, p in zip(GRID, fitted, strict=True)]


def isotonic(scores: Floats, truth: Floats) -> Knots:
    """Isotonic regression by pooling adjacent violators, thinned to one knot a twentieth."""
    order = np.argsort(scores, kind="stable")
    blocks: list[tuple[float, int]] = []
    for value in truth[order]:
        mean, size = float(value), 1
        while blocks and blocks[-1][0] >= mean:
            before, count = blocks.pop()
            mean = (mean * size + before * count) / (size + count)
            size += count
        blocks.append((mean, size))
    fitted = np.concatenate([np.full(size, mean) for mean, size in blocks])
    ranked = scores[order]
    knots = np.unique(np.quantile(ranked, np.linspace(0.0, 1.0, 21)))
    edges = [-np.inf, *((knots[1:] + knots[:-1]) / 2), np.inf]
    means = [fitted[(ranked >= a) & (ranked < b)].mean() for a, b in pairwise(edges)]
    limited = np.clip(means, 0.001, 0.999)
    return [[round(float(s), 6), round(float(p), 5)] for s, p in zip(knots, limited, strict=True)]


def cross(scores: Floats, truth: Floats, fit: Fit) -> Floats:
    """Each half calibrated with what was fitted on the other."""
    out = np.zeros_like(scores)
    even = np.arange(len(scores)) % 2 == 0
    for part in (even, ~even):
        out[part] = calibration.curve(fit(scores[~part], truth[~part]))(scores[part])
    return out


def temperature(
    logits: Floats, truth: NDArray[np.int64], probabilities: Callable[[Floats], Floats]
) -> float:
    """The temperature of least negative log likelihood on a grid (Guo et al. 2017)."""

    def loss(heat: float) -> float:
        p = probabilities(logits / np.float32(heat))[np.arange(len(truth)), truth]
        return float(-np.log(np.maximum(p, 1e-6)).mean())

    return min((float(t) for t in np.geomspace(0.4, 4.0, 60)), key=loss)


def _odds(scores: Floats) -> NDArray[np.float64]:
    clipped = np.clip(scores.astype(np.float64), 1e-5, 1.0 - 1e-5)
    return np.asarray(np.log(clipped / (1.0 - clipped)))
