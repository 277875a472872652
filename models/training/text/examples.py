"""Records become padded batches with one target, or a mask, for every head."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.training.text.corpora import POLARITIES, Record, Span
from models.training.text.schema import (
    CLS,
    EMOTIONS,
    ENTITY_TYPES,
    MAX_TOKENS,
    NEUTRAL,
    SEP,
    polarity_of,
)
from models.training.text.tags import spans_to_tags
from models.training.text.templates import Made
from services.text.tokens import Tokens

IGNORE = -100


@dataclass(slots=True)
class Example:
    """One tokenised text with its targets; None and IGNORE are not trained on."""

    ids: list[int]
    cases: list[int]
    emotions: tuple[int, ...] | None = None
    polarity: float | None = None
    polarity_weight: float = 1.0
    subjectivity: float | None = None
    sarcasm: int | None = None
    aspect_tags: list[int] | None = None
    aspect_polarity: list[int] | None = None
    entity_tags: list[int] | None = None
    dimensions: tuple[float, float, float] | None = None


def subjectivity_of(emotions: Sequence[int], text: str, lexicon: dict[str, float]) -> float:
    """Weak subjectivity in [0, 1]: labels say whether feeling is expressed, words how strongly."""
    words = [lexicon[word] for word in text.lower().split() if word in lexicon]
    labelled = 0.25 if list(emotions) == [NEUTRAL] else 0.8
    return 0.65 * labelled + 0.35 * (max(words) if words else 0.2)


def example(record: Record, tokens: Tokens, lexicon: dict[str, float]) -> Example:
    """Targets of a corpus record."""
    made = Example(tokens.ids, tokens.cases, sarcasm=record.sarcasm)
    if record.emotions is not None:
        made.emotions = record.emotions
        made.polarity = polarity_of(record.emotions)
        made.subjectivity = subjectivity_of(record.emotions, record.text, lexicon)
    if record.aspects is not None:
        _aspects(made, tokens, record.aspects)
        values = {"negative": -0.6, "neutral": 0.0, "positive": 0.6}
        if record.aspects:
            made.polarity = sum(values[s.label] for s in record.aspects) / len(record.aspects)
            made.polarity_weight = 0.3
    if record.entities is not None:
        made.entity_tags = spans_to_tags(tokens, record.entities, ENTITY_TYPES)
    return made


def template_example(record: Made, tokens: Tokens) -> Example:
    """Targets of a made sentence."""
    made = Example(
        tokens.ids, tokens.cases, polarity=record.polarity, subjectivity=record.subjectivity
    )
    _aspects(made, tokens, record.aspects)
    if record.entities is not None:
        made.entity_tags = spans_to_tags(tokens, record.entities, ENTITY_TYPES)
    return made


def _aspects(made: Example, tokens: Tokens, spans: Sequence[Span]) -> None:
    tags = spans_to_tags(tokens, [Span(s.start, s.end, "") for s in spans], [""])
    polarity = [IGNORE] * len(tokens)
    for span in spans:
        for i, (start, end) in enumerate(tokens.offsets):
            if start >= span.start and end <= span.end and start < span.end:
                polarity[i] = POLARITIES.index(span.label)
    made.aspect_tags = tags
    made.aspect_polarity = polarity


def batches(examples: Sequence[Example], size: int, rng: random.Random) -> Iterator[list[Example]]:
    """Shuffled batches of texts of similar length."""
    order = list(examples)
    rng.shuffle(order)
    out: list[list[Example]] = []
    for at in range(0, len(order), size * 50):
        block = sorted(order[at : at + size * 50], key=lambda e: min(len(e.ids), MAX_TOKENS))
        out.extend(block[i : i + size] for i in range(0, len(block), size))
    rng.shuffle(out)
    yield from out


def collate(batch: Sequence[Example]) -> dict[str, Tensor]:
    """Padded tensors of a batch."""
    length = max(min(len(e.ids), MAX_TOKENS) for e in batch) + 2
    shape = (len(batch), length)
    ids = np.zeros(shape, np.int64)
    cases = np.zeros(shape, np.int64)
    tags = {
        name: np.full(shape, IGNORE, np.int64)
        for name in ("aspect_tags", "aspect_polarity", "entity_tags")
    }
    emotions = np.zeros((len(batch), EMOTIONS), np.float32)
    dimensions = np.full((len(batch), 3), np.nan, np.float32)
    scalars = {
        name: np.full(len(batch), np.nan, np.float32)
        for name in ("has_emotions", "polarity", "polarity_weight", "subjectivity", "sarcasm")
    }
    for row, one in enumerate(batch):
        n = min(len(one.ids), MAX_TOKENS)
        ids[row, : n + 2] = [CLS, *one.ids[:n], SEP]
        cases[row, 1 : n + 1] = one.cases[:n]
        for name, target in tags.items():
            values = getattr(one, name)
            if values is not None:
                target[row, 1 : n + 1] = values[:n]
        if one.emotions is not None:
            emotions[row, list(one.emotions)] = 1.0
        scalars["has_emotions"][row] = float(one.emotions is not None)
        for name in ("polarity", "subjectivity", "sarcasm"):
            value = getattr(one, name)
            if value is not None:
                scalars[name][row] = value
        scalars["polarity_weight"][row] = one.polarity_weight
        if one.dimensions is not None:
            dimensions[row] = one.dimensions
    arrays = {
        "ids": ids,
        "dimensions": dimensions,
        "cases": cases,
        "emotions": emotions,
        **tags,
        **scalars,
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
