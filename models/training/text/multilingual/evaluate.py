"""Measure the text service on the sentences of sentences.tsv, language by language.

    python -m models.training.text.multilingual.evaluate [--write]

The sentences were written for this project, 40 meanings in eight languages. Nothing is trained or
fitted on them, but the number of layers and the shape of the heads were chosen with them.
With --write the table goes into docs/languages.md. Needs nothing but the packages of the mesh.
"""

import argparse
import asyncio
import csv
import json
from pathlib import Path

import numpy as np

from models.training.text.metrics import ece
from models.training.text.schema import REPOSITORY
from services.common.inference.embedded import EmbeddedInference
from services.common.inference.repository import Repository
from services.text.analyze import TextAnalyzer
from services.text.findings import Analysis, Options
from services.text.languages import ENGLISH, MULTILINGUAL

SENTENCES = Path(__file__).with_name("sentences.tsv")
PAGE = Path(__file__).parents[4] / "docs" / "languages.md"
FIRST, LAST = "<!-- table -->", "<!-- end -->"


def sentences() -> list[dict[str, str]]:
    """Rows with sentiment, emotion ("-" where several fit) and the text by language tag."""
    with SENTENCES.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def measure(
    rows: list[dict[str, str]], found: list[Analysis], english: list[Analysis]
) -> dict[str, float]:
    """Accuracies, errors and agreement of one language's analyses with the truth and with English.

    Arousal has no truth here: its correlation with the English model's on the same sentences says
    whether it means the same.
    """
    sides = [one.sentiment.label.removeprefix("very_") for one in found]
    truth = [row["sentiment"] for row in rows]
    right = np.array([a == b for a, b in zip(sides, truth, strict=True)], np.float32)
    sure = np.array([one.sentiment.confidence for one in found], np.float32)
    feeling = [
        row["emotion"] == one.emotions[0].label
        for row, one in zip(rows, found, strict=True)
        if row["emotion"] != "-"
    ]
    values = np.array([one.dimensions or (0.0, 0.0, 0.0) for one in found])
    theirs = np.array([one.dimensions or (0.0, 0.0, 0.0) for one in english])
    clear = np.array([t != "neutral" for t in truth])
    signs = np.array([1.0 if t == "positive" else -1.0 for t in truth])
    return {
        "sentiment": float(right.mean()),
        "positive_or_negative": float(
            (np.sign([one.sentiment.polarity for one in found]) == signs)[clear].mean()
        ),
        "primary_emotion": float(np.mean(feeling)),
        "valence_sign": float((np.sign(values[:, 0]) == signs)[clear].mean()),
        "valence_r_english": float(np.corrcoef(values[:, 0], theirs[:, 0])[0, 1]),
        "arousal_r_english": float(np.corrcoef(values[:, 1], theirs[:, 1])[0, 1]),
        "confidence": float(sure.mean()),
        "confidence_error": ece(sure, right, bins=5),
    }


async def languages(repository: Path) -> dict[str, dict[str, float]]:
    """The measures of each language, and of all but English together."""
    inference = EmbeddedInference(Repository(repository), threads=1)
    analyzer = TextAnalyzer(inference)
    options = Options(aspects=False, entities=False, sarcasm=False)
    rows = sentences()
    found = {
        tag: [await analyzer.analyze(row[tag], tag, options) for row in rows]
        for tag in (ENGLISH, *MULTILINGUAL)
    }
    await inference.close()
    out = {tag: measure(rows, some, found[ENGLISH]) for tag, some in found.items()}
    others = [one for tag in MULTILINGUAL for one in found[tag]]
    times = len(MULTILINGUAL)
    out["all but English"] = measure(rows * times, others, found[ENGLISH] * times)
    return out


def table(measured: dict[str, dict[str, float]]) -> str:
    """The table of docs/languages.md."""
    head = ("", "language", "model", "sentiment", "positive or negative", "emotion", "valence sign")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for tag, name in {ENGLISH: "English", **MULTILINGUAL}.items():
        model = "text_affect" if tag == ENGLISH else "text_multilingual"
        figures = " | ".join(
            f"{measured[tag][column]:.2f}"
            for column in ("sentiment", "positive_or_negative", "primary_emotion", "valence_sign")
        )
        lines.append(f"| `{tag}` | {name} | {model} | {figures} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, default=REPOSITORY)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    measured = asyncio.run(languages(args.repository))
    for language, figures in measured.items():
        for name, value in figures.items():
            row = {"language": language, "measure": name, "value": round(value, 4)}
            print(json.dumps({"modality": "text", **row}))
    print("\n" + table(measured))
    if args.write:
        page = PAGE.read_text(encoding="utf-8")
        before, rest = page.split(FIRST)
        after = rest.split(LAST)[1]
        PAGE.write_text(f"{before}{FIRST}\n{table(measured)}\n{LAST}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
