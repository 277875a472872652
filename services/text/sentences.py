"""Sentences, and the windows of sentences that the model reads at once."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.text.tokens import Tokens

WINDOW_TOKENS = 62
"""Most content tokens in a window; with [CLS] and [SEP] the model's longest trained input."""

_END = re.compile(r"[.!?…。！？]+[\"'”’)\]]*(?=\s|$)|[。！？]+|\n+")
_ABBREVIATIONS = frozenset({
    "mr", "mrs", "ms", "dr", "prof", "st", "sr", "jr", "vs", "etc", "e.g", "i.e", "no", "vol",
    "fig", "inc", "ltd", "co", "dept", "approx", "u.s", "u.k", "a.m", "p.m",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sentence:
    """Half-open range of code points in the text, without surrounding white space."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open range of tokens that the model reads at once."""

    start: int
    end: int


def split(text: str) -> list[Sentence]:
    """Sentences of a text in order; every character that is not white space is in one."""
    found: list[Sentence] = []
    start = 0
    for match in _END.finditer(text):
        if match.group().startswith(".") and _abbreviated(text, start, match.start()):
            continue
        _keep(text, start, match.end(), found)
        start = match.end()
    _keep(text, start, len(text), found)
    return found


def _abbreviated(text: str, start: int, dot: int) -> bool:
    words = text[start:dot].split()
    if not words:
        return False
    word = words[-1].lower().lstrip("(\"'")
    return word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word != "i")


def _keep(text: str, start: int, end: int, found: list[Sentence]) -> None:
    piece = text[start:end]
    stripped = piece.strip()
    if stripped:
        begin = start + piece.index(stripped[0])
        found.append(Sentence(begin, begin + len(stripped)))


def token_ranges(tokens: Tokens, sentences: Sequence[Sentence]) -> list[Window]:
    """Tokens of each of some sentences, which must be in order."""
    ranges: list[Window] = []
    at = 0
    for sentence in sentences:
        while at < len(tokens) and tokens.offsets[at][0] < sentence.start:
            at += 1
        begin = at
        while at < len(tokens) and tokens.offsets[at][0] < sentence.end:
            at += 1
        ranges.append(Window(begin, at))
    return ranges


def windows(tokens: Tokens, text: str) -> list[Window]:
    """Whole sentences packed into windows of at most WINDOW_TOKENS; every token is in one window.

    A text that fits is one window. A sentence longer than a window is cut between words.
    """
    if len(tokens) <= WINDOW_TOKENS:
        return [Window(0, len(tokens))]
    packed: list[Window] = []
    for piece in token_ranges(tokens, split(text)):
        for part in cut(tokens, piece):
            if packed and part.end - packed[-1].start <= WINDOW_TOKENS:
                packed[-1] = Window(packed[-1].start, part.end)
            elif part.end > part.start:
                packed.append(part)
    return packed


def cut(tokens: Tokens, piece: Window) -> Iterator[Window]:
    """A range of tokens in parts of at most WINDOW_TOKENS, between words where it can be."""
    start = piece.start
    while piece.end - start > WINDOW_TOKENS:
        end = start + WINDOW_TOKENS
        while end > start + WINDOW_TOKENS // 2 and tokens.words[end] == tokens.words[end - 1]:
            end -= 1
        yield Window(start, end)
        start = end
    yield Window(start, piece.end)
