"""Measures the voice models; prints a table and, for programs, JSON lines.

    python -m models.training.voice.evaluate [--research]

Every emotion figure comes from heads that never heard the speaker: they are fitted again here,
speaker by speaker, by the code and on the features that the shipped head comes from. RAVDESS, in
English, tells what the `open` head is worth in another language and another studio. The first
run reads about 3,700 clips (some minutes); their features are kept in the data folder.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
from pathlib import Path

import numpy as np

from models.training.voice import corpora
from models.training.voice.corpora import OPEN, Floats, Integers, Set, load
from models.training.voice.heads import (
    balanced_recall,
    calibration_error,
    cross_validated,
    softmax,
    temperature,
)
from models.training.voice.train import kernel, linear
from services.common.inference.open import open_inference
from services.common.settings import Settings
from services.voice.analyze import VoiceAnalyzer
from services.voice.options import Options
from services.voice.transcription import Transcriber
from services.voice.trust import OTHER_LANGUAGE_TRUST

TARGETS = {
    "EmoDB, leave one speaker out, UAR": 0.88,
    "RAVDESS, speaker-independent, UAR (research pack)": 0.78,
    "ECE on EmoDB": 0.03,
    "WER, LibriVox samples": 0.04,
}
#: Emotions that both EmoDB and RAVDESS have, and the four most used in comparisons.
SHARED = ("anger", "disgust", "fear", "happiness", "sadness", "neutral")
FOUR = ("anger", "happiness", "sadness", "neutral")
SAMPLES = Path(__file__).parents[3] / "samples" / "voice"


def report(measure: str, value: float) -> None:
    target = TARGETS.get(measure)
    row = {"modality": "voice", "measure": measure, "value": round(value, 4), "target": target}
    print(json.dumps(row))
    beside = f"  (target {target})" if target else ""
    print(f"  {measure:<58} {value:.3f}{beside}")


def cross_fitted(logits: Floats, corpus: Set) -> Floats:
    """Probabilities with, for each speaker, the temperature fitted on all the others."""
    probabilities = np.zeros_like(logits)
    for fold in np.unique(corpus.folds):
        out = corpus.folds == fold
        divisor = temperature(logits[~out], corpus.labels[~out])
        probabilities[out] = softmax(logits[out] / divisor)
    return probabilities


def open_pack(corpus: Set, data: Path) -> None:
    logits = cross_validated(corpus, linear)
    report("EmoDB, leave one speaker out, UAR", uar(logits["plain"], corpus.labels))
    for variant, name in (("noise", "in noise, 10 to 30 dB"), ("telephone", "µ-law at 8 kHz")):
        report(f"EmoDB {name}, leave one speaker out, UAR", uar(logits[variant], corpus.labels))
    probabilities = cross_fitted(logits["plain"], corpus)
    report("ECE on EmoDB", calibration_error(probabilities, corpus.labels))
    report("ECE on EmoDB, mean confidence", float(probabilities.max(1).mean()))

    clips = corpora.ravdess(data)
    shared = [clip for clip in clips if clip.emotion in SHARED]
    features = corpora.features(clips, "plain", Settings())
    features = features[[clip.emotion in SHARED for clip in clips]]
    labels = np.array([OPEN.index(clip.emotion) for clip in shared])
    raw = linear(corpus, corpus.everyone).logits(features)
    divisor = temperature(logits["plain"], corpus.labels)
    sure = softmax(raw / divisor)
    trusted = OTHER_LANGUAGE_TRUST * sure + (1 - OTHER_LANGUAGE_TRUST) / len(OPEN)
    for names in (SHARED, FOUR):
        places = np.array([OPEN.index(name) for name in names])
        rows = np.isin(labels, places)
        value = balanced_recall(places[raw[rows][:, places].argmax(1)], labels[rows])
        report(f"open pack on RAVDESS, {len(names)} shared emotions, UAR", value)
    report("ECE of the open pack on RAVDESS, as a known language", calibration_error(sure, labels))
    report("ECE of the open pack on RAVDESS, as served", calibration_error(trusted, labels))


def research_pack(corpus: Set) -> None:
    found = cross_validated(corpus, kernel)
    logits = found["plain"]
    is_emodb = np.array([clip.speaker.startswith("emodb") for clip in corpus.clips])
    heard = sorted({corpus.classes.index(name) for name in OPEN})
    spoken = sorted(set(range(len(corpus.classes))) - {corpus.classes.index("boredom")})
    for name, rows, places in (
        ("EmoDB (research pack), speaker-independent, UAR", is_emodb, heard),
        ("RAVDESS, speaker-independent, UAR (research pack)", ~is_emodb, spoken),
    ):
        chosen = np.array(places)[logits[rows][:, places].argmax(1)]
        report(name, balanced_recall(chosen, corpus.labels[rows]))
    eight = np.array(spoken)
    for variant, name in (("noise", "in noise, 10 to 30 dB"), ("telephone", "µ-law at 8 kHz")):
        chosen = eight[found[variant][~is_emodb][:, spoken].argmax(1)]
        value = balanced_recall(chosen, corpus.labels[~is_emodb])
        report(f"RAVDESS {name}, speaker-independent, UAR", value)
    probabilities = cross_fitted(logits, corpus)
    report("ECE of the research pack", calibration_error(probabilities, corpus.labels))


def uar(logits: Floats, labels: Integers) -> float:
    return balanced_recall(logits.argmax(1), labels)


async def word_error_rate() -> float:
    """Over the LibriVox samples, whose words stand in samples/voice/transcripts.tsv."""
    settings = Settings()
    inference = open_inference(settings)
    transcriber = Transcriber(settings.data_dir, settings.threads)
    analyzer = VoiceAnalyzer(inference, transcriber, "open")
    await inference.load(*analyzer.models)
    wrong = count = 0
    for line in (SAMPLES / "transcripts.tsv").read_text().splitlines():
        name, text = line.split("\t")
        analysis = await analyzer.analyze((SAMPLES / name).read_bytes(), Options())
        transcript = analysis.findings[0].transcript
        said = text.split()
        wrong += edits(said, plain(transcript.text if transcript else ""))
        count += len(said)
    await analyzer.close()
    await transcriber.close()
    await inference.close()
    return wrong / count


def plain(text: str) -> list[str]:
    words = re.sub(r"[^a-z' ]", " ", text.lower().replace("mr.", "mister"))
    return words.split()


def edits(said: list[str], heard: list[str]) -> int:
    """Levenshtein distance in words."""
    row = list(range(len(heard) + 1))
    for place, word in enumerate(said, 1):
        previous, row[0] = row[0], place
        for column, other in enumerate(heard, 1):
            best = min(row[column] + 1, row[column - 1] + 1, previous + (word != other))
            previous, row[column] = row[column], best
    return row[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--research", action="store_true", help="the research pack as well")
    data = Path(os.environ.get("DATA", "../shared/data"))
    research = parser.parse_args().research
    open_pack(load("open", data), data)
    if research:
        research_pack(load("research", data))
    report("WER, LibriVox samples", asyncio.run(word_error_rate()))


if __name__ == "__main__":
    main()
