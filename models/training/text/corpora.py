"""Readers for the corpora in $DATA/text; each yields plain records, nothing is changed on disk."""

import csv
import random
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

POLARITIES = ("negative", "neutral", "positive")

WNUT_TYPES = {
    "person": "PERSON",
    "location": "GPE",
    "corporation": "ORG",
    "group": "ORG",
    "product": "PRODUCT",
    "creative-work": "WORK_OF_ART",
}

FIRST_NAMES = (
    "James", "Mary", "John", "Linda", "Robert", "Susan", "Michael", "Karen", "David", "Lisa",
    "William", "Nancy", "Richard", "Sarah", "Tom", "Jessica", "Joe", "Emily", "Chris", "Anna",
    "Dan", "Laura", "Mark", "Kate", "Paul", "Emma", "Steve", "Olivia", "Kevin", "Sophie",
    "Brian", "Maria", "George", "Ana", "Ed", "Julia", "Ron", "Alice", "Tim", "Amy", "Jason",
    "Rachel", "Jeff", "Megan", "Ryan", "Hannah", "Jake", "Chloe", "Gary", "Priya", "Omar",
    "Fatima", "Wei", "Mei", "Raj", "Aisha", "Carlos", "Sofia", "Diego", "Lucia", "Ivan",
    "Olga", "Ahmed", "Yuki",
)  # fmt: skip
RELIGIONS = ("Christianity", "Islam", "Buddhism", "Hinduism", "Judaism")


@dataclass(frozen=True, slots=True)
class Span:
    """Half-open character range of a text with a label."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class Record:
    """One training or evaluation text; fields that its corpus does not label stay None."""

    text: str
    source: str
    emotions: tuple[int, ...] | None = None
    sarcasm: int | None = None
    aspects: tuple[Span, ...] | None = None
    entities: tuple[Span, ...] | None = None
    dimensions: tuple[float, float, float] | None = None
    tags: frozenset[str] = field(default_factory=frozenset)


def goemotions(data: Path, split: str) -> Iterator[Record]:
    """GoEmotions (CC BY 4.0), split train or dev; emotions are label ids 0–27."""
    with (data / f"text/goemotions_{split}.tsv").open(encoding="utf-8", newline="") as lines:
        for line in lines:
            text, labels, _ = line.rstrip("\r\n").rsplit("\t", 2)
            yield Record(text, "goemotions", emotions=tuple(int(i) for i in labels.split(",")))


def comments(data: Path) -> list[str]:
    """The training comments of GoEmotions with invented names."""
    records = enumerate(goemotions(data, "train"))
    return [with_names(record.text, str(i)) for i, record in records]


def goemotions_labels(data: Path) -> list[str]:
    """The 28 label names in output order."""
    return (data / "text/goemotions_labels.txt").read_text(encoding="utf-8").split()


def mams(data: Path, split: str) -> Iterator[Record]:
    """MAMS restaurant sentences (Apache-2.0), split train or val, with aspect terms."""
    for sentence in ElementTree.parse(data / f"text/mams/{split}.xml").iter("sentence"):
        text = sentence.findtext("text") or ""
        spans = tuple(
            Span(int(term.attrib["from"]), int(term.attrib["to"]), term.attrib["polarity"])
            for term in sentence.iter("aspectTerm")
        )
        yield Record(text, "mams", aspects=spans)


def isarcasm(data: Path) -> list[tuple[Record, Record | None]]:
    """iSarcasmEval English training tweets (MIT): each with its sincere rephrasing."""
    pairs: list[tuple[Record, Record | None]] = []
    with (data / "text/isarcasmeval_train.csv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if not row["tweet"].strip():
                continue
            sarcastic = int(row["sarcastic"])
            rephrase = row["rephrase"].strip()
            pairs.append(
                (
                    Record(row["tweet"], "isarcasm", sarcasm=sarcastic),
                    Record(rephrase, "isarcasm", sarcasm=0) if sarcastic and rephrase else None,
                )
            )
    return pairs


def held_out(index: int) -> bool:
    """Every seventh iSarcasmEval tweet (and its rephrasing) is for development."""
    return index % 7 == 3


def isarcasm_kept(data: Path) -> list[tuple[Record, Record | None]]:
    """The other tweets, each with its rephrasing."""
    return [pair for i, pair in enumerate(isarcasm(data)) if not held_out(i)]


def isarcasm_held_out(data: Path) -> list[Record]:
    """The tweets held out for development, without the rephrasings."""
    return [record for i, (record, _) in enumerate(isarcasm(data)) if held_out(i)]


def wnut(data: Path, name: str) -> Iterator[Record]:
    """WNUT17 (CC BY 4.0): wnut17train or emerging.dev; tokens joined with detokenised spacing."""
    words: list[str] = []
    tags: list[str] = []
    content = (data / f"text/wnut17/{name}.conll").read_text(encoding="utf-8")
    for line in [*content.split("\n"), ""]:
        if line.strip():
            word, tag = line.split("\t")[:2]
            words.append(word)
            tags.append(tag.strip())
        elif words:
            yield _wnut_record(words, tags)
            words, tags = [], []


def _wnut_record(words: list[str], tags: list[str]) -> Record:
    text = ""
    spans: list[Span] = []
    for word, tag in zip(words, tags, strict=True):
        glued = word in {".", ",", "!", "?", ":", ";", "'s", "n't", "'m", "'re", "'ve", "'ll", ")"}
        start = len(text) + (0 if glued or not text else 1)
        text = text + ("" if glued or not text else " ") + word
        if tag.startswith("B-"):
            spans.append(Span(start, len(text), WNUT_TYPES[tag[2:]]))
        elif tag.startswith("I-") and spans:
            spans[-1] = Span(spans[-1].start, len(text), spans[-1].label)
    return Record(text, "wnut", entities=tuple(spans))


def emobank(data: Path, split: str) -> Iterator[Record]:
    """EmoBank (CC BY-SA 4.0), split train or dev; dimensions mapped from 1–5 to [-1, 1]."""
    with (data / "text/emobank_train_dev.csv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if row["split"] == split and row["text"].strip():
                vad = tuple((float(row[key]) - 3.0) / 2.0 for key in "VAD")
                yield Record(row["text"], "emobank", dimensions=(vad[0], vad[1], vad[2]))


def with_names(text: str, seed: str) -> str:
    """Put invented names for [NAME] and [RELIGION]; the same seed gives the same names."""
    if "[NAME]" not in text and "[RELIGION]" not in text:
        return text
    chooser = random.Random(seed)
    while "[NAME]" in text:
        text = text.replace("[NAME]", chooser.choice(FIRST_NAMES), 1)
    while "[RELIGION]" in text:
        text = text.replace("[RELIGION]", chooser.choice(RELIGIONS), 1)
    return text
