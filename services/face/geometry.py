"""Boxes and plane similarities, the little geometry that several rooms share."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
"""Boxes are ``[N, 4]``: left, top, right, bottom in pixels. Points are ``[N, 2]`` or ``[N, 3]``."""


def areas(boxes: Floats) -> Floats:
    """Area of each box, ``[N]``; 0 where a side is negative."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1], np.float32)


def overlaps(first: Floats, second: Floats) -> Floats:
    """Area common to each pair of boxes, ``[N, M]``."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.maximum(high - low, 0)
    return np.asarray(sides[..., 0] * sides[..., 1], np.float32)


def similarity(source: Floats, target: Floats) -> Floats:
    """The rotation, uniform scale and shift ``[2, 3]`` that best maps ``source`` to ``target``.

    Least squares over points ``[N, 2]`` (Umeyama 1991, without reflection), in closed form with
    points as complex numbers.
    """
    a = source[:, 0] + 1j * source[:, 1]
    b = target[:, 0] + 1j * target[:, 1]
    centred = a - a.mean()
    spread = float((centred * centred.conj()).real.sum())
    turn = complex((centred.conj() * (b - b.mean())).sum() / max(spread, 1e-9))
    shift = complex(b.mean() - turn * a.mean())
    return np.array(
        [[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]], np.float32
    )


def apply(transform: Floats, points: Floats) -> Floats:
    """Points ``[N, 2]`` through an affine transform ``[2, 3]``."""
    return np.asarray(points @ transform[:, :2].T + transform[:, 2], np.float32)


def invert(transform: Floats) -> Floats:
    """The inverse of an affine transform ``[2, 3]``."""
    linear = np.linalg.inv(transform[:, :2])
    return np.hstack([linear, -linear @ transform[:, 2:]]).astype(np.float32)
