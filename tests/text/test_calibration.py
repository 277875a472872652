"""Calibration curves."""

import numpy as np

from services.text.calibration import Curves, curve


def test_curves_together_say_what_each_says_alone() -> None:
    alone = [
        curve([(0.1, 0.0), (0.4, 0.2), (0.9, 1.0)]),
        curve([(0.0, 0.3), (1.0, 0.6)]),
        curve([(0.5, 0.5)]),
    ]
    steps = np.linspace(0.0, 1.0, 41, dtype=np.float32)
    scores = np.stack((steps, steps[::-1], steps), -1)
    together = Curves(alone)(scores)
    assert together.dtype == np.float32
    for i, one in enumerate(alone):
        np.testing.assert_allclose(together[:, i], one(scores[:, i]), atol=1e-6)
