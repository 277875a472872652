"""From the tags of tokens to spans."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def spans(
    logits: Floats, words: Sequence[int], transitions: Floats
) -> list[tuple[int, int, int, float]]:
    """(first token, last token + 1, type, mean probability) of each BIO span.

    logits [T, tags]: 0 outside, 1 + 2 k begin, 2 + 2 k inside type k. words [T]: number of the word
    that each token is of; a word takes the tag of its first token, so spans never cut a word.
    transitions [tags, tags]: what a tag's logit gains from the tag of the word before, outside at
    the start. The tags are those of the highest sum (Viterbi 1967); a stray inside tag begins a
    span.
    """
    if not logits.argmax(-1).any():
        return []
    firsts = [i for i in range(len(words)) if i == 0 or words[i] != words[i - 1]]
    ends = [*firsts[1:], len(words)]
    tags = _best(logits[firsts], transitions)
    odds = np.exp(logits[firsts] - logits[firsts].max(-1, keepdims=True))
    sure = odds[np.arange(len(tags)), tags] / odds.sum(-1)
    found: list[tuple[int, int, int, float]] = []
    counts: list[int] = []
    open_span = False
    for first, end, tag, p in zip(firsts, ends, tags, sure.tolist(), strict=True):
        if tag == 0:
            open_span = False
            continue
        kind, inside = (tag - 1) // 2, tag % 2 == 0
        if inside and open_span and found[-1][2] == kind:
            start, _, _, total = found[-1]
            found[-1] = (start, end, kind, total + p)
            counts[-1] += 1
        else:
            found.append((first, end, kind, p))
            counts.append(1)
        open_span = True
    return [(a, b, kind, total / n) for (a, b, kind, total), n in zip(found, counts, strict=True)]


def _best(logits: Floats, transitions: Floats) -> list[int]:
    """The tags with the highest sum of logits and transitions.

    A word is outside where no other tag has a logit that, with all it could gain from the tags
    beside it, comes up to that of outside. Only the words between such ones are looked at together.
    """
    from_before = (transitions - transitions[:, :1]).max(0)
    from_after = (transitions - transitions[0]).max(1).clip(0.0)
    in_doubt = (logits + from_before + from_after)[:, 1:].max(-1) >= logits[:, 0]
    tags = [0] * len(logits)
    for doubtful, run in groupby(range(len(logits)), in_doubt.tolist().__getitem__):
        if doubtful:
            words = list(run)
            end = words[-1] + 1
            tags[words[0] : end] = _path(logits[words], transitions, end < len(logits))
    return tags


def _path(logits: Floats, transitions: Floats, outside_follows: bool) -> list[int]:
    """The best tags of some words after a word that is outside."""
    sums = logits[0] + transitions[0]
    came_from = []
    every = np.arange(len(sums))
    for row in logits[1:]:
        ways = sums[:, None] + transitions
        before = ways.argmax(0)
        came_from.append(before)
        sums = ways[before, every] + row
    tags = [int((sums + transitions[:, 0] if outside_follows else sums).argmax())]
    for before in reversed(came_from):
        tags.append(int(before[tags[-1]]))
    return tags[::-1]
