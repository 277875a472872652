"""The vocabulary of emotions and where each lies in valence and arousal."""

from types import MappingProxyType

from affectmesh.v1 import types_pb2

LABELS = tuple(
    name.removeprefix("EMOTION_LABEL_").lower()
    for name, number in types_pb2.EmotionLabel.items()
    if number
)
"""Every label, in the order of the contract."""

COORDINATES = MappingProxyType(
    {
        "happiness": (0.81, 0.51),
        "sadness": (-0.63, -0.27),
        "anger": (-0.51, 0.59),
        "fear": (-0.64, 0.60),
        "disgust": (-0.60, 0.35),
        "surprise": (0.40, 0.67),
        "neutral": (0.0, 0.0),
        "contempt": (-0.555, 0.47),
        "boredom": (-0.65, -0.62),
        "calm": (0.68, -0.46),
        "excitement": (0.62, 0.75),
    }
)
"""Valence and arousal in [-1, 1] by label.

Means of the ratings of emotion terms in Russell and Mehrabian, "Evidence for a three-factor theory
of emotions", J. Research in Personality 11 (1977) 273-294: happy, sad, angry, fearful, disgusted,
surprised, bored, relaxed, excited. Contempt is the mean of anger and disgust, neutral the origin.
"""


def dimensions(probabilities: dict[str, float]) -> tuple[float, float]:
    """Expected valence and arousal of a single-label distribution over labels of COORDINATES."""
    total = sum(probabilities.values())
    if not total:
        return 0.0, 0.0
    valence = sum(p * COORDINATES[label][0] for label, p in probabilities.items()) / total
    arousal = sum(p * COORDINATES[label][1] for label, p in probabilities.items()) / total
    return round(valence, 4), round(arousal, 4)
