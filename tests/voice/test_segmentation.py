"""Pieces of a recording."""

from services.voice.activity import Span
from services.voice.segmentation import segment, sentences
from services.voice.transcription import Word

TOTAL = 10 * 16_000


def said(*texts: str) -> list[Word]:
    """Words of half a second, one after another."""
    return [Word(text, 500 * i, 500 * i + 500, 0.9) for i, text in enumerate(texts)]


def test_sentences_end_where_they_end() -> None:
    words = said(" Mr.", " Smith", " left.", ' "Why?"', " Nobody", " knows")
    texts = ["".join(word.text for word in group).strip() for group in sentences(words)]
    assert texts == ["Mr. Smith left.", '"Why?"', "Nobody knows"]


def test_a_sentence_lasts_from_its_first_word_to_its_last() -> None:
    pieces = segment("sentence", [], said(" One", " two.", " Three."), 3000, TOTAL)
    assert [piece.text for piece in pieces] == ["One two.", "Three."]
    assert [(piece.span.start_ms, piece.span.end_ms) for piece in pieces] == [
        (0, 1000),
        (1000, 1500),
    ]


def test_words_belong_to_the_utterance_they_are_in_or_near() -> None:
    speech = [Span(0, 16_000), Span(32_000, 48_000)]
    pieces = segment("utterance", speech, said(" a", " b", " c", " d", " e"), 3000, TOTAL)
    assert [piece.text for piece in pieces] == ["a b c", "d e"]


def test_windows_without_speech_are_left_out() -> None:
    pieces = segment("window", [Span(0, 8000), Span(100_000, 110_000)], [], 2000, TOTAL)
    assert [piece.span.start_ms for piece in pieces] == [0, 6000]


def test_the_last_window_ends_with_the_recording() -> None:
    pieces = segment("window", [Span(0, TOTAL)], [], 3000, TOTAL)
    assert [piece.span.end_ms for piece in pieces] == [3000, 6000, 9000, 10_000]


def test_a_word_past_the_end_is_cut_there() -> None:
    (piece,) = segment("word", [], [Word(" end", 9800, 10_400, 0.5)], 3000, TOTAL)
    assert piece.span.end == TOTAL
