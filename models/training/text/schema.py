"""What the text model reads and says: shared by training, export, calibration and evaluation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).parents[2] / "repository"

WIDTH = 384
LAYERS = 6
STATE_DEPTH = 2
"""Layers after which the dimensions model goes on from the token states with layers of its own."""
MULTILINGUAL_EMBEDDING = 3 * WIDTH
CLS, SEP = 101, 102
MAX_TOKENS = 62
"""Content tokens of the longest input trained on; the service's window."""
RUN_TOKENS = 256
"""Most tokens in one run of a model, padding included: bounds memory and lets others in."""

EMOTIONS = 28
NEUTRAL = 27
LEVELS = 5
SENTIMENT_LEVELS = (-1.0, -0.47, 0.0, 0.47, 1.0)
"""Polarity that each of the five sentiment levels stands for when they are averaged."""
ASPECT_TAGS = 3
ASPECT_POLARITIES = 3
ENTITY_TYPES = (
    "PERSON", "NORP", "FAC", "ORG", "GPE", "LOC", "PRODUCT", "EVENT", "WORK_OF_ART",
    "DATE", "TIME", "MONEY", "PERCENT", "QUANTITY",
)  # fmt: skip
ENTITY_TAGS = 1 + 2 * len(ENTITY_TYPES)

PLEASANTNESS = np.array([
    0.7, 0.5, -0.8, -0.55, 0.4, 0.4, -0.1, 0.05, 0.3, -0.6, -0.5, -0.75, -0.5, 0.8,
    -0.6, 0.8, -0.85, 0.85, 0.9, -0.4, 0.5, 0.7, 0.0, 0.5, -0.5, -0.7, 0.05, 0.0,
], dtype=np.float32)  # fmt: skip
"""Pleasantness of each GoEmotions label, in label order.

Our reading of the sentiment groups that GoEmotions itself defines (positive, negative, ambiguous),
graded by strength.
"""


def polarity_of(emotions: Sequence[int]) -> float:
    """Pleasantness in [-1, 1] of a set of GoEmotions labels."""
    return float(PLEASANTNESS[list(emotions)].mean())


def direction_of(polarity: float) -> int:
    """0 negative, 1 neutral, 2 positive."""
    return int(polarity > 0.15) - int(polarity < -0.15) + 1
