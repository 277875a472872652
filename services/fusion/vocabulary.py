"""One vocabulary for modalities that do not know the same emotions.

A face net knows eight emotions, a text model twenty-eight. Before they are weighed, a label that
some modality cannot emit is folded into the broader one of its family, so that a text's gratitude
and a smile speak of the same thing.
"""

from collections.abc import Mapping, Set
from types import MappingProxyType

_FAMILIES = {
    "anger": ("annoyance", "disapproval", "frustration"),
    "fear": ("anxiety",),
    "happiness": (
        "admiration",
        "amusement",
        "approval",
        "caring",
        "desire",
        "excitement",
        "gratitude",
        "love",
        "optimism",
        "pride",
        "relief",
        "satisfaction",
    ),
    "sadness": ("disappointment", "embarrassment", "grief", "remorse"),
    "surprise": ("realization",),
    "neutral": ("calm",),
}

BROADER = MappingProxyType({label: head for head, fine in _FAMILIES.items() for label in fine})
"""The broader label of each finer one.

The grouping of Demszky et al., "GoEmotions" (ACL 2020), which maps its labels to Ekman's emotions,
but confusion and curiosity stand for themselves, as the text service has it. Added here:
frustration to anger and satisfaction to happiness, each beside its nearest GoEmotions label
(annoyance, approval); calm to neutral, the two baselines of Livingstone and Russo, "RAVDESS"
(PLoS ONE 2018). Contempt, boredom and interest stand for themselves.
"""

_EVERYWHERE = frozenset({"neutral", "happiness", "sadness", "anger", "disgust", "fear"})

KNOWN = MappingProxyType(
    {
        "face": _EVERYWHERE | {"surprise", "contempt"},
        "voice": _EVERYWHERE | {"boredom"},
        "text": (_EVERYWHERE | {"surprise", "confusion", "curiosity"} | BROADER.keys())
        - {"calm", "frustration", "satisfaction"},
        "biosignal": frozenset[str](),
    }
)
"""The labels each modality can emit, whether or not a result lists them; a result may add more."""


def common_labels(known: Mapping[str, Set[str]]) -> dict[str, str]:
    """The label under which each label of any modality is weighed, itself or its broader one.

    `known` is what each modality can emit. A label stays itself where all can emit it, or where
    it has no broader label.
    """
    union = sorted(frozenset[str]().union(*known.values()))
    shared = frozenset(label for label in union if all(label in can for can in known.values()))
    return {label: label if label in shared else BROADER.get(label, label) for label in union}


def folded(emotions: Mapping[str, float]) -> dict[str, float]:
    """Every label as the broadest of its family; of those that meet, the most confident counts."""
    broad: dict[str, float] = {}
    for label, confidence in emotions.items():
        head = BROADER.get(label, label)
        broad[head] = max(broad.get(head, 0.0), confidence)
    return broad
