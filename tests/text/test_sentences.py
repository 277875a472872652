"""Sentences and windows hold the whole text."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.settings import Settings
from services.text.sentences import WINDOW_TOKENS, Sentence, split, token_ranges, windows
from services.text.tokens import TokenReader

READER = TokenReader(Settings().model_repository / "text_affect" / "tokenizer.json")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Mr. Smith paid $3.50 to Dr. No.", ["Mr. Smith paid $3.50 to Dr. No."]),
        ("Wait... what?!", ["Wait...", "what?!"]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("first line\nsecond line", ["first line", "second line"]),
        ("J. R. Ewing smiled.", ["J. R. Ewing smiled."]),
        ("好的。谢谢！", ["好的。", "谢谢！"]),
        ("no end", ["no end"]),
        ("   ", []),
    ],
)
def test_splits_into_sentences(text: str, expected: list[str]) -> None:
    assert [text[s.start : s.end] for s in split(text)] == expected


@given(st.text(max_size=300))
@settings(max_examples=200)
def test_every_visible_character_is_in_one_sentence(text: str) -> None:
    covered = [i for s in split(text) for i in range(s.start, s.end)]
    assert len(covered) == len(set(covered))
    assert set(covered) >= {i for i, c in enumerate(text) if not c.isspace()}


@given(st.lists(st.sampled_from(["word", "supercalifragilistic", ".", "!", "\n"]), max_size=400))
@settings(max_examples=60)
def test_windows_hold_every_token_once_and_fit(words: list[str]) -> None:
    text = " ".join(words)
    tokens = READER.read(text)
    found = windows(tokens, text)
    assert found[0].start == 0
    assert found[-1].end == len(tokens)
    for before, after in pairwise(found):
        assert before.end == after.start
    assert all(w.end - w.start <= WINDOW_TOKENS for w in found)


def test_a_long_sentence_is_cut_between_words() -> None:
    text = "supercalifragilistic " * 40
    tokens = READER.read(text)
    for window in windows(tokens, text)[1:]:
        assert tokens.words[window.start] != tokens.words[window.start - 1]


def test_tokens_of_chosen_sentences() -> None:
    text = "One two. Three four. Five."
    tokens = READER.read(text)
    [found] = token_ranges(tokens, [Sentence(9, 20)])
    assert [text[a:b] for a, b in tokens.offsets[found.start : found.end]] == [
        "Three",
        "four",
        ".",
    ]
