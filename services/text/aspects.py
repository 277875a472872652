"""What a text speaks of, with mentions of the same thing gathered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAME: tuple[tuple[str, ...], ...] = (
    ("product", "purchase", "item", "buy"),
    ("service", "customer service"),
    ("staff", "employees", "personnel", "crew", "team"),
    ("waiter", "waitress", "server"),
    ("food", "meal", "dish", "cuisine"),
    ("price", "cost", "pricing", "prices"),
    ("place", "restaurant"),
    ("film", "movie", "picture"),
    ("delivery", "shipping"),
    ("phone", "cellphone", "smartphone", "mobile"),
    ("app", "application"),
    ("ambience", "ambiance", "atmosphere"),
)
"""Nouns that name the same thing in a review; the first is the name of the group."""

_GROUP = {word: words[0] for words in SAME for word in words}


@dataclass(frozen=True, slots=True)
class Mention:
    """One aspect term: code points [start, end), probabilities negative, neutral, positive."""

    text: str
    start: int
    end: int
    polarity: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Aspect:
    """One thing spoken of: sentiment in [-1, 1], confidence of its direction in [0, 1]."""

    name: str
    sentiment: float
    confidence: float
    mentions: tuple[Mention, ...]


def key(term: str) -> str:
    """What terms that mean the same share: lower case, singular, group name."""
    whole = " ".join(term.lower().split())
    return _GROUP.get(whole) or _GROUP.get(_singular(whole)) or _singular(whole)


def _singular(words: str) -> str:
    if len(words) < 4:
        return words
    if words.endswith(("sses", "shes", "ches", "xes")):
        return words[:-2]
    if words.endswith("ies") and not words.endswith("ovies"):
        return words[:-3] + "y"
    if words.endswith("s") and not words.endswith(("ss", "us", "is")):
        return words[:-1]
    return words


def gather(mentions: Sequence[Mention]) -> list[Aspect]:
    """Aspects in order of first mention; the sentiment is the mean over mentions."""
    grouped: dict[str, list[Mention]] = {}
    for mention in mentions:
        grouped.setdefault(key(mention.text), []).append(mention)
    found = []
    for name, same in grouped.items():
        mean = np.mean([m.polarity for m in same], axis=0)
        telling = next((m.text for m in same if m.text.lower() == name), same[0].text)
        found.append(Aspect(telling, float(mean[2] - mean[0]), float(mean.max()), tuple(same)))
    return found
