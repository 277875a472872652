"""Tags of tokens, and which follows which."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from models.training.text import corpora
from models.training.text.corpora import Span
from models.training.text.metrics import Floats
from models.training.text.schema import ENTITY_TYPES
from services.text.tokens import TokenReader, Tokens

OUTSIDE, BEGIN, INSIDE = range(3)

ENTITY_WEIGHT = 0.25
"""Of the transitions of entities: .490 of WNUT17's development set; .474 without, .429 with all."""


def spans_to_tags(tokens: Tokens, spans: Sequence[Span], types: Sequence[str]) -> list[int]:
    """BIO tags (0 outside, 1 + 2 k begin, 2 + 2 k inside type k), one a token."""
    tags = [0] * len(tokens)
    for span in spans:
        first = True
        for i, (start, end) in enumerate(tokens.offsets):
            if start >= span.start and end <= span.end and start < span.end:
                tags[i] = 1 + 2 * types.index(span.label) + (0 if first else 1)
                first = False
    return tags


def aspect_transitions(data: Path, reader: TokenReader) -> Floats:
    """Of aspect tags, in MAMS."""
    records = list(corpora.mams(data, "train"))
    return transitions(reader.read_all([r.text for r in records]), [r.aspects for r in records])


def entity_transitions(data: Path, reader: TokenReader) -> Floats:
    """Of entity tags, in WNUT17."""
    records = list(corpora.wnut(data, "wnut17train"))
    tokens = reader.read_all([r.text for r in records])
    found = transitions(tokens, [r.entities for r in records], len(ENTITY_TYPES))
    return np.float32(ENTITY_WEIGHT) * found


def transitions(
    tokens: Sequence[Tokens], spans: Sequence[Sequence[Span] | None], types: int = 1
) -> Floats:
    """Log odds of a tag after another over its own, [1 + 2 types, 1 + 2 types].

    Words are counted as outside, begin and inside whatever the type, each pair once more than seen;
    inside another type is as unlikely as inside after outside.
    """
    pairs = np.ones((3, 3))
    alone = np.ones(3)
    for one, marked in zip(tokens, spans, strict=True):
        plain = [Span(s.start, s.end, "") for s in marked or ()]
        tags = spans_to_tags(one, plain, [""])
        of_words = [tag for i, tag in enumerate(tags) if i == 0 or one.words[i] != one.words[i - 1]]
        for before, after in pairwise([OUTSIDE, *of_words]):
            pairs[before, after] += 1
            alone[after] += 1
    odds = np.log(pairs / pairs.sum(1, keepdims=True)) - np.log(alone / alone.sum())
    kinds = np.array([OUTSIDE, *[BEGIN, INSIDE] * types])
    of_type = np.array([-1, *np.repeat(np.arange(types), 2)])
    out = odds[kinds[:, None], kinds[None, :]]
    strange = (kinds[None, :] == INSIDE) & (of_type[:, None] != of_type[None, :])
    return np.asarray(np.where(strange, odds[OUTSIDE, INSIDE], out), np.float32)
