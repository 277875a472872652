"""WordPiece tokens with the letter case that the uncased vocabulary drops."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

CASE_LOWER, CASE_CAPITALISED, CASE_UPPER, CASE_MIXED, CASE_DIGITS = range(5)
CASES = 5

_EMOJI = re.compile(
    "[\u2190-\u21ff\u2300-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]"
    "[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff\u200d]*"
)
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Content tokens of one text, without the [CLS] and [SEP] frame.

    ids, cases: one integer a token (case is one of the CASE_* constants).
    offsets: half-open [start, end) code-point ranges in the original text.
    words: index of the word each token belongs to.
    """

    ids: list[int]
    cases: list[int]
    offsets: list[tuple[int, int]]
    words: list[int]

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, start: int, end: int) -> "Tokens":
        """Tokens start … end - 1; offsets still refer to the whole text."""
        return Tokens(
            self.ids[start:end],
            self.cases[start:end],
            self.offsets[start:end],
            self.words[start:end],
        )


def spell_emoji(text: str) -> tuple[str, list[int] | None]:
    """Replace each emoji by its Unicode name, which the vocabulary can read.

    Returns the new text and, for each of its characters, the index of the original character
    (None when nothing was replaced).
    """
    if text.isascii() or not _EMOJI.search(text):
        return text, None
    parts: list[str] = []
    origin: list[int] = []
    last = 0
    for match in _EMOJI.finditer(text):
        start, end = match.span()
        name = unicodedata.name(text[start], "").lower().replace("-", " ")
        parts.append(text[last:start])
        origin.extend(range(last, start))
        spelt = f" {name} " if name else " "
        parts.append(spelt)
        origin.extend([start] * len(spelt))
        last = end
    parts.append(text[last:])
    origin.extend(range(last, len(text)))
    return "".join(parts), origin


def _case(word: str) -> int:
    if word.islower():
        return CASE_LOWER
    if word.isupper():
        return CASE_CAPITALISED if len(word) == 1 else CASE_UPPER
    if word[:1].isdigit():
        return CASE_DIGITS
    if word.istitle():
        return CASE_CAPITALISED
    return CASE_MIXED if any(c.isupper() for c in word) else CASE_LOWER


class TokenReader:
    """Reads text into Tokens with the tokenizer.json that lies beside the model."""

    def __init__(self, path: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        self.cls = self._special("[CLS]")
        self.sep = self._special("[SEP]")
        self._unknown = self._special("[UNK]")

    def _special(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise ValueError(f"The tokenizer has no {token}.")
        return found

    def known_share(self, tokens: Tokens) -> float:
        """Share of tokens in the vocabulary; 1 for no tokens."""
        return 1.0 - tokens.ids.count(self._unknown) / len(tokens) if len(tokens) else 1.0

    def read(self, text: str) -> Tokens:
        """Tokens of text, which may be of any length (nothing is cut off)."""
        return self.read_all([text])[0]

    def read_all(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens of several texts, in order."""
        spelt = [spell_emoji(_SURROGATE.sub("\ufffd", text)) for text in texts]
        encoded = self._tokenizer.encode_batch([s for s, _ in spelt], add_special_tokens=False)
        return [
            _tokens(text, origin, item.ids, item.offsets, item.word_ids)
            for (text, origin), item in zip(spelt, encoded, strict=True)
        ]


def _tokens(
    text: str,
    origin: list[int] | None,
    ids: list[int],
    offsets: list[tuple[int, int]],
    word_ids: Sequence[int | None],
) -> Tokens:
    words = [word if word is not None else -1 for word in word_ids]
    bounds: dict[int, tuple[int, int]] = {}
    for word, (start, end) in zip(words, offsets, strict=True):
        bounds[word] = (bounds[word][0], end) if word in bounds else (start, end)
    case_of = {word: _case(text[start:end]) for word, (start, end) in bounds.items()}
    if origin is not None:
        offsets = [(origin[start], origin[end - 1] + 1) for start, end in offsets]
    return Tokens(ids, [case_of[word] for word in words], offsets, words)
