"""What teachers are trained on, and what they label for their students."""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.training.text import corpora
from models.training.text.corpora import Record, Span
from models.training.text.examples import Example, example
from services.text.model import sigmoid, softmax
from services.text.tokens import TokenReader

COMMENTS = 2_500
"""GoEmotions comments in an epoch of a teacher."""

EVERY = {"affect": 4, "dimensions": 2}
"""Of the GoEmotions comments a teacher labels one of so many."""

Floats = NDArray[np.float32]


def swapped(record: Record, terms: list[str], rng: random.Random) -> Record:
    """A review with half of its aspect terms replaced by other terms of the corpus."""
    text, end, spans = "", 0, list[Span]()
    for span in sorted(record.aspects or (), key=lambda s: s.start):
        if span.start < end:
            continue
        term = rng.choice(terms) if rng.random() < 0.5 else record.text[span.start : span.end]
        text += record.text[end : span.start]
        spans.append(Span(len(text), len(text) + len(term), span.label))
        text += term
        end = span.end
    return Record(text + record.text[end:], "mams", aspects=tuple(spans))


class Lessons:
    """What a teacher is trained on."""

    def __init__(self, data: Path, reader: TokenReader, task: str, seed: int) -> None:
        self._reader = reader
        self._task = task
        self._seed = seed
        self._comments = list(corpora.goemotions(data, "train"))
        self._reviews = list(corpora.mams(data, "train"))
        self._terms = aspect_terms(self._reviews)
        self._tweets = _tweets(data)
        self._rated = list(corpora.emobank(data, "train"))

    def epoch(self, number: int) -> list[Example]:
        """The texts of one epoch."""
        rng = random.Random(f"{self._seed}-{self._task}-{number}")
        records = [
            Record(
                corpora.with_names(r.text, f"{self._seed}-{number}-{i}"),
                r.source,
                emotions=r.emotions,
            )
            for i, r in enumerate(rng.sample(self._comments, COMMENTS))
        ]
        if self._task == "affect":
            records += [swapped(r, self._terms, rng) if number % 2 else r for r in self._reviews]
            records += self._tweets
        else:
            records += self._rated
        tokens = self._reader.read_all([r.text for r in records])
        made = [example(r, t, {}) for r, t in zip(records, tokens, strict=True)]
        for one, record in zip(made, records, strict=True):
            one.dimensions = record.dimensions
        return made


def varied(texts: Sequence[str], rng: random.Random) -> list[str]:
    """Of each text one with words left out, its longest clause, and its start before another's end.

    They stay near the domain of the texts; what they mean, a teacher has to say.
    """
    out = []
    for text in texts:
        words = text.split()
        out.append(" ".join(word for word in words if rng.random() > 0.15))
        clauses = re.split(r"[,;:–—()\"]| - | and | but ", text)
        out.append(max(clauses, key=len).strip())
        other = rng.choice(texts).split()
        out.append(" ".join(words[: len(words) // 2] + other[len(other) // 2 :]))
    return [text for text in out if len(text) > 10]


def to_label(data: Path, task: str, seed: int) -> list[str]:
    """What a teacher labels: some GoEmotions comments, and texts near those of its corpora."""
    rng = random.Random(f"{seed}-label")
    texts = [
        corpora.with_names(record.text, str(i))
        for i, record in enumerate(corpora.goemotions(data, "train"))
        if i % EVERY[task] == 0
    ]
    if task == "dimensions":
        rated = [r.text for r in corpora.emobank(data, "train")]
        return texts + rated + varied(rated, rng)
    reviews = list(corpora.mams(data, "train"))
    terms = aspect_terms(reviews)
    given = [r.text for r in reviews]
    texts += given + [swapped(r, terms, rng).text for r in reviews]
    texts += rng.sample(varied(given, rng), len(given))
    return texts + [r.text for r in _tweets(data)]


@dataclass(frozen=True, slots=True)
class Labelled:
    """Texts with what a teacher says of them: arrays by name of output, a row a text or a token.

    lengths [N]: tokens of each text; rows of token outputs follow one another.
    """

    texts: list[str]
    lengths: NDArray[np.int64]
    outputs: dict[str, Floats]

    def write(self, folder: Path) -> None:
        """Into labels.json and labels.npz."""
        (folder / "labels.json").write_text(json.dumps(self.texts), encoding="utf-8")
        arrays = {name: array.astype(np.float16) for name, array in self.outputs.items()}
        np.savez(folder / "labels.npz", lengths=self.lengths, **arrays)  # type: ignore[arg-type]

    def examples(self, reader: TokenReader) -> list[Example]:
        """The teacher's sarcasm, and its aspects where there are any, as targets of a student."""
        made = []
        at = 0
        sarcasm = sigmoid(self.outputs["sarcasm"][:, 0])
        tags = softmax(self.outputs["aspect_tags"])
        polarity = softmax(self.outputs["aspect_polarity"])
        tokens = reader.read_all(self.texts)
        for one, n, sarcastic in zip(tokens, self.lengths.tolist(), sarcasm.tolist(), strict=True):
            rows = slice(at, at + n)
            at += n
            found = tags[rows].argmax(-1).any()
            made.append(
                Example(
                    one.ids,
                    one.cases,
                    sarcasm=sarcastic,
                    taught_tags=tags[rows] if found else None,
                    taught_polarity=polarity[rows] * (1.0 - tags[rows, :1]) if found else None,
                )
            )
        return made

    @classmethod
    def read(cls, folder: Path) -> "Labelled":
        """What `write` wrote."""
        texts = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
        with np.load(folder / "labels.npz") as arrays:
            outputs = {n: arrays[n].astype(np.float32) for n in arrays.files if n != "lengths"}
            return cls(texts, arrays["lengths"], outputs)


def aspect_terms(reviews: Sequence[Record]) -> list[str]:
    """Every aspect term of some reviews, as often as it stands there."""
    return [record.text[s.start : s.end] for record in reviews for s in record.aspects or ()]


def _tweets(data: Path) -> list[Record]:
    """iSarcasmEval without what is held out, each sarcastic tweet followed by its rephrasing."""
    tweets: list[Record] = []
    for i, (record, rephrase) in enumerate(corpora.isarcasm(data)):
        if not corpora.held_out(i):
            tweets += [record] if rephrase is None else [record, rephrase]
    return tweets
