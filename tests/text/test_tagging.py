"""Spans from tags of tokens."""

from itertools import product

import numpy as np
import pytest

from services.text.tagging import spans

O, B, I = np.eye(3, dtype=np.float32) * 4  # noqa: E741 - the names of the tags
INDIFFERENT = np.zeros((3, 3), np.float32)
STRICT = np.array([[0, 0, -9], [0, -9, 2], [0, -9, 2]], np.float32)
"""Nothing inside after outside, no term begins right after another."""


def places(logits: list[np.ndarray], words: list[int], transitions: np.ndarray) -> list[object]:
    return [(a, b) for a, b, _, _ in spans(np.stack(logits), words, transitions)]


def test_begin_and_inside_make_one_span() -> None:
    assert places([O, B, I, O, B], [0, 1, 2, 3, 4], INDIFFERENT) == [(1, 3), (4, 5)]


def test_a_word_takes_the_tag_of_its_first_token() -> None:
    assert places([B, O, I, O, O, B], [0, 0, 1, 1, 2, 2], INDIFFERENT) == [(0, 4)]


def test_a_stray_inside_tag_begins_a_span() -> None:
    assert places([O, I, O], [0, 1, 2], INDIFFERENT) == [(1, 2)]


def test_transitions_join_what_a_weak_tag_would_split() -> None:
    outdoor_seating_area = [B, 0.55 * O + 0.5 * I, 0.6 * B + 0.5 * I]
    assert places(outdoor_seating_area, [0, 1, 2], INDIFFERENT) == [(0, 1), (2, 3)]
    assert places(outdoor_seating_area, [0, 1, 2], STRICT) == [(0, 3)]


def test_types_are_told_apart_and_probabilities_averaged() -> None:
    logits = np.full((3, 5), -9.0, np.float32)
    logits[0, 1], logits[1, 3], logits[2, 4] = 9.0, 9.0, -9.0
    logits[2, 3] = -9.0
    found = spans(logits, [0, 1, 2], np.zeros((5, 5), np.float32))
    assert [(a, b, kind) for a, b, kind, _ in found[:2]] == [(0, 1, 0), (1, 2, 1)]
    assert found[0][3] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("outside", [0.0, 3.0, 6.0])
def test_the_tags_are_those_of_the_highest_sum(outside: float) -> None:
    rng = np.random.default_rng(7)
    for _ in range(40):
        logits = rng.normal(size=(5, 3)).astype(np.float32)
        logits[:, 0] += rng.choice([0.0, outside], 5)
        transitions = rng.normal(size=(3, 3)).astype(np.float32)

        def total(
            tags: tuple[int, ...], row: np.ndarray = logits, step: np.ndarray = transitions
        ) -> float:
            return float(sum(row[i, t] + step[(0, *tags)[i], t] for i, t in enumerate(tags)))

        best = max(product(range(3), repeat=5), key=total)
        if not logits.argmax(-1).any():
            continue
        begun = {i for i, tag in enumerate(best) if tag}
        covered = {i for a, b, _, _ in spans(logits, range(5), transitions) for i in range(a, b)}
        assert covered == begun


def test_nothing_but_outside_is_no_span() -> None:
    assert places([O, O], [0, 1], STRICT) == []
