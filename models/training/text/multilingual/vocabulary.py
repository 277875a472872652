"""The part of the encoder's vocabulary that the served languages need, as a tokenizer.

XLM-R's vocabulary has 250,002 pieces for a hundred languages. Kept are those that the frequent
words of the languages here are made of, and every single character of their scripts.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from wordfreq import top_n_list, word_frequency  # type: ignore[import-not-found]

from models.training.text.multilingual.encoder import Encoder
from services.text.languages import ENGLISH, MULTILINGUAL

SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
NEVER = -1000.0
"""Score of pieces that text must not be read as."""
SCRIPTS = ("LATIN", "ARABIC", "DEVANAGARI")
WORDS = 30_000
"""Most frequent words of each language that are looked at."""
CAPITALISED = 0.2
"""How often a word stands at the beginning of a sentence, against within it."""
INVISIBLE = (
    "[\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f\\u00ad\\u200b-\\u200f\\u2060\\ufeff]"
)


def tokenizer(pieces: Sequence[tuple[str, float]]) -> Tokenizer:
    """A unigram tokenizer; its first four pieces are SPECIAL.

    SentencePiece's nmt_nfkc normalisation is NFKC without invisible characters.
    """
    made = Tokenizer(models.Unigram(list(pieces), SPECIAL.index("[UNK]"), False))
    made.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(INVISIBLE), ""), normalizers.NFKC()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    return made


def everything(encoder: Encoder) -> tuple[list[tuple[str, float]], NDArray[np.int64]]:
    """All pieces with their scores, SPECIAL first, and the row of each in the encoder's table."""
    special = [encoder.pad, encoder.cls, encoder.sep, encoder.unknown]
    others = [i for i in range(len(encoder.pieces)) if i not in special]
    named = [(name, NEVER) for name in SPECIAL]
    named += [(encoder.pieces[i], float(encoder.scores[i])) for i in others]
    return named, np.array(special + others)


def chosen(encoder: Encoder, size: int) -> tuple[list[tuple[str, float]], NDArray[np.int64]]:
    """At most `size` pieces with their scores, and their rows in the encoder's table."""
    pieces, rows = everything(encoder)
    whole = tokenizer(pieces)
    worth = np.zeros(len(pieces))
    for language in (ENGLISH, *MULTILINGUAL):
        used: Counter[int] = Counter()
        words = top_n_list(language, WORDS)
        for form, share in ((str.lower, 1.0), (str.capitalize, CAPITALISED)):
            read = whole.encode_batch([form(word) for word in words], add_special_tokens=False)
            for word, found in zip(words, read, strict=True):
                often = share * word_frequency(word, language)
                for piece in found.ids:
                    used[piece] += often
        total = sum(used.values())
        for piece, often in used.items():
            worth[piece] += often / total
    for i, (text, _) in enumerate(pieces):
        bare = text.strip("▁")
        if i < len(SPECIAL) or (len(bare) <= 1 and _needed(bare)):
            worth[i] = np.inf
    kept = np.sort(np.argsort(-worth, kind="stable")[:size])
    kept = kept[worth[kept] > 0]
    return [pieces[i] for i in kept], rows[kept]


def _needed(character: str) -> bool:
    """Whether a character (or nothing) belongs to the scripts of the languages or to none."""
    if not character or not character.isalpha():
        return True
    return unicodedata.name(character, "").startswith(SCRIPTS)
