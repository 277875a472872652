"""What the teacher is trained on, and what it labels for its student."""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.training.text import corpora
from models.training.text.corpora import Record
from models.training.text.examples import Example, example
from services.text.tokens import TokenReader

COMMENTS = 2_500
"""GoEmotions comments in an epoch of the teacher."""


class Lessons:
    """EmoBank's training texts with their ratings, and comments with their emotions."""

    def __init__(self, data: Path, reader: TokenReader, seed: int) -> None:
        self._reader = reader
        self._seed = seed
        self._comments = list(corpora.goemotions(data, "train"))
        self._rated = list(corpora.emobank(data, "train"))

    def epoch(self, number: int) -> list[Example]:
        """The texts of one epoch."""
        rng = random.Random(f"{self._seed}-dimensions-{number}")
        records = [
            Record(
                corpora.with_names(r.text, f"{self._seed}-{number}-{i}"),
                r.source,
                emotions=r.emotions,
            )
            for i, r in enumerate(rng.sample(self._comments, COMMENTS))
        ]
        records += self._rated
        tokens = self._reader.read_all([r.text for r in records])
        made = [example(r, t, {}) for r, t in zip(records, tokens, strict=True)]
        for one, record in zip(made, records, strict=True):
            one.dimensions = record.dimensions
        return made


def to_label(data: Path, seed: int) -> list[str]:
    """GoEmotions comments, MAMS reviews, EmoBank's training texts and six variations of these."""
    comments = corpora.comments(data)
    reviews = [record.text for record in corpora.mams(data, "train")]
    rated = [record.text for record in corpora.emobank(data, "train")]
    rng = random.Random(f"{seed}-label")
    return comments + reviews + rated + varied(rated, rng) + varied(rated, rng)


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


@dataclass(frozen=True, slots=True)
class Labelled:
    """Texts, and the dimensions that the teacher gives them, [N, 3]."""

    texts: list[str]
    dimensions: NDArray[np.float32]

    def write(self, folder: Path) -> None:
        """Into labels.json."""
        rows = [[round(float(x), 4) for x in row] for row in self.dimensions]
        content = json.dumps({"texts": self.texts, "dimensions": rows})
        (folder / "labels.json").write_text(content, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Labelled":
        """What `write` wrote."""
        content = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
        return cls(content["texts"], np.array(content["dimensions"], np.float32))
