"""Tokens keep their place in the text and the case the vocabulary drops."""

import pytest

from services.common.settings import Settings
from services.text.tokens import (
    CASE_CAPITALISED,
    CASE_DIGITS,
    CASE_LOWER,
    CASE_MIXED,
    CASE_UPPER,
    TokenReader,
    spell_emoji,
)


@pytest.fixture(scope="module")
def reader() -> TokenReader:
    return TokenReader(Settings().model_repository / "text_affect" / "tokenizer.json")


def test_offsets_are_code_points_of_the_text(reader: TokenReader) -> None:
    text = "Zoë naïvely 😍 loves Zürich"
    pieces = [text[start:end] for start, end in reader.read(text).offsets]
    assert pieces[0] == "Zoë"
    assert "😍" in pieces
    assert "".join(pieces).endswith("Zürich")


def test_case_is_that_of_the_whole_word(reader: TokenReader) -> None:
    tokens = reader.read("Xylophonists LOVE the iPhone 12")
    by_word = dict(zip(tokens.words, tokens.cases, strict=True))
    cases = [CASE_CAPITALISED, CASE_UPPER, CASE_LOWER, CASE_MIXED, CASE_DIGITS]
    assert list(by_word.values()) == cases
    assert tokens.words.count(0) > 1
    assert {tokens.cases[i] for i in range(tokens.words.count(0))} == {CASE_CAPITALISED}


def test_emoji_are_spelt_by_name() -> None:
    spelt, origin = spell_emoji("hm 👍🏽!")
    assert spelt == "hm  thumbs up sign !"
    assert origin is not None
    assert [origin[0], origin[5], origin[-1]] == [0, 3, 5]


def test_text_without_emoji_is_left_alone() -> None:
    assert spell_emoji("naïve — yes") == ("naïve — yes", None)


@pytest.mark.parametrize("text", ["[SEP] [PAD] [CLS] [MASK]", "a [PAD] b"])
def test_special_tokens_in_a_text_are_ordinary_words(reader: TokenReader, text: str) -> None:
    assert not {0, reader.cls, reader.sep} & set(reader.read(text).ids)


def test_nothing_is_cut_off(reader: TokenReader) -> None:
    assert len(reader.read("word " * 20_000)) == 20_000


def test_share_of_known_tokens(reader: TokenReader) -> None:
    assert reader.known_share(reader.read("a plain sentence")) == 1
    assert reader.known_share(reader.read("ꙮ ꙮ ꙮ")) == 0
