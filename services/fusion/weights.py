"""How much each modality counts before anything is known of its result."""

import math
from collections.abc import Collection, Mapping
from types import MappingProxyType

from services.common import errors

MODALITIES = ("face", "voice", "text", "biosignal")
"""Every modality, in the order of the contract."""

DEFAULT_WEIGHTS = MappingProxyType({"face": 0.45, "voice": 0.15, "text": 0.4, "biosignal": 0.1})
"""By how far each can be relied on in general; models/training/fusion/evaluate.py measures it."""


def choose_weights(given: Mapping[str, float], sent: Collection[str]) -> dict[str, float]:
    """Weights by modality sent, summing to 1: those given, or the default where none is given.

    A modality sent without a weight has weight 0 where any is given. Raises InvalidRequest, naming
    `fusion.weights`, for a name that is no modality, a weight that is negative, infinite or not a
    number, and weights that leave nothing to the modalities sent.
    """
    for name, weight in sorted(given.items()):
        if name not in MODALITIES:
            raise errors.InvalidRequest(
                f"fusion.weights names {name[:40]!r}, which is no modality.",
                field="fusion.weights",
                suggestion=f"Weigh only {', '.join(MODALITIES)}.",
            )
        if not math.isfinite(weight) or weight < 0:
            raise errors.InvalidRequest(
                f"The weight of {name} is {weight:g}.",
                field=f"fusion.weights.{name}",
                suggestion="Send finite numbers of 0 or more; they need not sum to 1.",
            )
    weights = {name: (given or DEFAULT_WEIGHTS).get(name, 0.0) for name in sent}
    if not any(weights.values()):
        raise errors.InvalidRequest(
            f"fusion.weights leaves no weight to what was sent ({', '.join(weights)}).",
            field="fusion.weights",
            suggestion="Give at least one modality that you send a weight above 0, "
            "or leave weights out for the default.",
        )
    return normalise(weights)


def normalise(weights: Mapping[str, float]) -> dict[str, float]:
    """The same proportions summing to 1; the weights are 0 or more, finite, and not all 0."""
    largest = max(weights.values())
    scaled = {name: weight / largest for name, weight in weights.items()}
    total = math.fsum(scaled.values())
    return {name: weight / total for name, weight in scaled.items()}
