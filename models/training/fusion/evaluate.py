"""Measures fusion on people put together by emotion: one JSON line a row, then a table.

    python -m models.training.fusion.evaluate [--people 3000]

No corpus at hand has face, voice and text of the same moments. So a "person" here is a face of
FER+ valid, a clip of RAVDESS and a comment of GoEmotions dev, drawn apart, with the same label,
every label equally often. Given the emotion the three are independent, which flatters every way to
join them, the product most; the order of weights and the gain over the best single modality are
what it can tell. No model was trained on these items, though the text model's calibration was
fitted to GoEmotions dev; the voice model of pack "open" has heard no RAVDESS and no English at all.

Reads DATA (by default ../shared/data).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from models.training.face.data import halves, load
from services.common.errors import InvalidAudio
from services.common.inference import Inference
from services.common.inference.open import open_inference
from services.common.settings import Settings
from services.face import expression
from services.fusion.analyze import Method, Opinion, fuse
from services.fusion.weights import DEFAULT_WEIGHTS
from services.text.analyze import TextAnalyzer
from services.text.emotions import GROUPS
from services.text.findings import Options as TextOptions
from services.voice.analyze import VoiceAnalyzer
from services.voice.options import Options as VoiceOptions
from services.voice.transcription import Transcriber

LABELS = ("happiness", "sadness", "anger", "fear", "disgust", "surprise", "neutral")
RAVDESS = dict(
    zip(
        ("01", "03", "04", "05", "06", "07", "08"),
        ("neutral", "happiness", "sadness", "anger", "fear", "disgust", "surprise"),
        strict=True,
    )
)
WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "default": DEFAULT_WEIGHTS,
    "equal": {"face": 1, "voice": 1, "text": 1},
    "of the WIA sample": {"face": 5, "voice": 3, "text": 2},
    "without voice": {"face": 5, "voice": 0, "text": 5},
}
BINS = 15

Pools = Mapping[str, Mapping[str, Sequence[Opinion]]]
"""Opinions by modality and true label."""


@dataclass(frozen=True, slots=True)
class Row:
    """accuracy and calibration_error in [0, 1]; log_loss in nats, over LABELS."""

    modalities: str
    method: str
    weights: str
    accuracy: float
    calibration_error: float
    log_loss: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=3000)
    people = parser.parse_args().people
    pools = asyncio.run(read_everything(Path(os.environ.get("DATA", "../shared/data"))))
    rows = list(evaluate(pools, people))
    for row in rows:
        print(json.dumps({"modality": "fusion", **asdict(row)}))
    sizes = {name: sum(map(len, pool.values())) for name, pool in pools.items()}
    print(f"\n{people} people from {sizes}")
    print(f"{'modalities':18}{'method':21}{'weights':24}{'accuracy':>9}{'ECE':>7}{'log loss':>10}")
    for row in rows:
        print(
            f"{row.modalities:18}{row.method:21}{row.weights:24}"
            f"{row.accuracy:9.3f}{row.calibration_error:7.3f}{row.log_loss:10.3f}"
        )


def evaluate(pools: Pools, people: int) -> Iterator[Row]:
    """Every modality alone, then every method and weights on all, then on all but one."""
    random = np.random.default_rng(5)
    truth = [LABELS[number] for number in random.integers(len(LABELS), size=people)]
    drawn = {
        name: [pool[label][int(random.integers(len(pool[label])))] for label in truth]
        for name, pool in pools.items()
    }
    methods: tuple[Method, ...] = get_args(Method)
    for name in drawn:
        yield _score([name], drawn, truth, methods[0], "default")
    for method in methods:
        for weights in WEIGHTS:
            yield _score(list(drawn), drawn, truth, method, weights)
    for missing in drawn:
        rest = [name for name in drawn if name != missing]
        for method in methods:
            yield _score(rest, drawn, truth, method, "default")


def _score(
    names: Sequence[str],
    drawn: Mapping[str, Sequence[Opinion]],
    truth: Sequence[str],
    method: Method,
    weights: str,
) -> Row:
    sure, right, loss = [], [], []
    for number, label in enumerate(truth):
        fused = fuse([drawn[name][number] for name in names], WEIGHTS[weights], method).emotions
        primary = max(fused, key=lambda one: fused[one])
        sure.append(fused[primary])
        right.append(primary == label)
        among = sum(fused.get(one, 0.0) for one in LABELS)
        loss.append(-np.log(max(fused.get(label, 0.0) / max(among, 1e-9), 1e-4)))
    return Row(
        modalities="+".join(names),
        method=method if len(names) > 1 else "alone",
        weights=weights if len(names) > 1 else "",
        accuracy=round(float(np.mean(right)), 4),
        calibration_error=round(_calibration_error(np.array(sure), np.array(right)), 4),
        log_loss=round(float(np.mean(loss)), 4),
    )


def _calibration_error(sure: np.ndarray, right: np.ndarray) -> float:
    """Mean gap between confidence and accuracy over equally wide bins (Guo et al. 2017)."""
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = [
        abs(right[place == b].mean() - sure[place == b].mean()) * (place == b).mean()
        for b in set(place.tolist())
    ]
    return float(sum(gaps))


async def read_everything(data: Path) -> Pools:
    """What each modality says of each of its items."""
    settings = Settings()
    inference = open_inference(settings)
    try:
        return {
            "face": await _faces(inference),
            "voice": await _voices(inference, settings, clips(data)),
            "text": await _texts(inference, comments(data)),
        }
    finally:
        await inference.close()


def clips(data: Path) -> list[tuple[bytes, str]]:
    """RAVDESS without its label calm, which only this corpus has."""
    paths = sorted((data / "voice" / "ravdess").glob("*.flac"))
    named = [(path, RAVDESS.get(path.stem.split("-")[2])) for path in paths]
    return [(path.read_bytes(), label) for path, label in named if label]


def comments(data: Path) -> list[tuple[str, str]]:
    """GoEmotions dev where there is one label only, by its group."""
    names = (data / "text" / "goemotions_labels.txt").read_text().split()
    group_of = {member: group for group, members in GROUPS.items() for member in members}
    lines = (data / "text" / "goemotions_dev.tsv").read_text().splitlines()
    fields = [line.split("\t") for line in lines]
    single = [(text, group_of[names[int(ids)]]) for text, ids, _ in fields if "," not in ids]
    return [(text, group) for text, group in single if group in LABELS]


async def _faces(inference: Inference) -> dict[str, list[Opinion]]:
    """The half of FER+ valid that calibration has not seen, where most annotators agree."""
    images, votes = load("valid")
    rows = [row for row in halves(votes)[1] if votes[row].max() > 0.5]
    labels = inference.info(expression.MODEL).labels
    crops = list(images[rows].astype(np.float32))
    probabilities = await expression.classify(inference, crops)
    pool = defaultdict(list)
    for row, shares in zip(rows, probabilities.tolist(), strict=True):
        emotions = dict(zip(labels, shares, strict=True))
        pool[labels[int(votes[row].argmax())]].append(Opinion("face", emotions))
    return pool


async def _voices(
    inference: Inference, settings: Settings, clips: Sequence[tuple[bytes, str]]
) -> dict[str, list[Opinion]]:
    """Clips in which speech is found."""
    analyzer = VoiceAnalyzer(inference, Transcriber(settings.data_dir, settings.threads), "open")
    options = VoiceOptions(transcript=False, prosody=False, dimensions=False)
    pool = defaultdict(list)
    for recording, label in clips:
        with suppress(InvalidAudio):
            found = (await analyzer.analyze(recording, options)).findings[0]
            pool[label].append(Opinion("voice", found.emotions))
    return pool


async def _texts(
    inference: Inference, comments: Sequence[tuple[str, str]]
) -> dict[str, list[Opinion]]:
    analyzer = TextAnalyzer(inference)
    options = TextOptions(aspects=False, entities=False, dimensions=False)
    pool = defaultdict(list)
    for text, label in comments:
        found = (await analyzer.analyze(text, "en", options)).emotions
        emotions = {one.label: one.confidence for one in found}
        derived = frozenset(one.label for one in found if one.derived)
        pool[label].append(Opinion("text", emotions, derived))
    return pool


if __name__ == "__main__":
    main()
