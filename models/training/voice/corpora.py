"""The recordings the voice models learn from, and their features as the service computes them."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from services.common.inference import Inference
from services.common.inference.open import open_inference
from services.common.settings import Settings
from services.voice.activity import MODEL as ACTIVITY
from services.voice.activity import SpeechDetector, speech_spans
from services.voice.emotion import ENCODER, encoder_input
from services.voice.features import SAMPLE_RATE_HZ

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]

OPEN = ("anger", "boredom", "disgust", "fear", "happiness", "sadness", "neutral")
RESEARCH = (
    "anger",
    "boredom",
    "calm",
    "disgust",
    "fear",
    "happiness",
    "sadness",
    "surprise",
    "neutral",
)
_EMODB = dict(zip("WLEAFTN", OPEN, strict=True))
_RAVDESS = ("neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise")

#: How a training clip is varied: as it is, slower, faster, in noise, by telephone.
VARIANTS = ("plain", "slow", "fast", "noise", "telephone")


@dataclass(frozen=True)
class Clip:
    path: Path
    speaker: str
    emotion: str


def emodb(data: Path) -> list[Clip]:
    """535 clips of 10 German actors (Burkhardt et al. 2005)."""
    files = sorted((data / "voice" / "emodb").glob("*.flac"))
    return [Clip(file, "emodb" + file.stem[:2], _EMODB[file.stem[5]]) for file in files]


def ravdess(data: Path) -> list[Clip]:
    """1,080 clips of 18 North American actors (Livingstone and Russo 2018)."""
    files = sorted((data / "voice" / "ravdess").glob("*.flac"))
    fields = [file.stem.split("-") for file in files]
    return [
        Clip(file, "ravdess" + field[6][:2], _RAVDESS[int(field[2]) - 1])
        for file, field in zip(files, fields, strict=True)
    ]


def vary(samples: Floats, variant: str, seed: int) -> Floats:
    """Return the clip as another speaker, room or line might have given it."""
    rng = np.random.default_rng(seed)
    if variant in ("slow", "fast"):
        factor = 1.08 if variant == "slow" else 1 / 1.08
        samples = soxr.resample(samples, SAMPLE_RATE_HZ, SAMPLE_RATE_HZ * factor)
    elif variant == "noise":
        spectrum = np.fft.rfft(rng.standard_normal(samples.size))
        spectrum /= np.maximum(1, np.arange(spectrum.size)) ** rng.uniform(0, 0.7)
        noise = np.fft.irfft(spectrum, samples.size)
        snr_db = rng.uniform(10, 30)
        noise *= np.sqrt(np.mean(samples**2) / np.mean(noise**2) / 10 ** (snr_db / 10))
        samples = samples + noise
    elif variant == "telephone":
        narrow = soxr.resample(samples, SAMPLE_RATE_HZ, 8000)
        narrow = narrow / max(1e-9, float(np.abs(narrow).max())) * 0.9
        coded = np.round(np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256) * 127) / 127
        narrow = np.sign(coded) * (256 ** np.abs(coded) - 1) / 255
        samples = soxr.resample(narrow, 8000, SAMPLE_RATE_HZ)
    return samples.astype(np.float32)


async def _features(clip: Clip, variant: str, seed: int, inference: Inference) -> Floats:
    samples, rate = soundfile.read(clip.path, dtype="float32")
    if rate != SAMPLE_RATE_HZ:
        raise ValueError(f"{clip.path} is not at 16 kHz")
    probabilities = await SpeechDetector(inference).feed(samples, last=True)
    spans = speech_spans(probabilities, samples.size, min_silence_ms=800)
    if spans:
        samples = samples[spans[0].start : spans[-1].end]
    mel, frames = encoder_input(vary(samples, variant, seed))
    result = await inference.infer(ENCODER, {"mel": mel, "frames": frames})
    return np.asarray(result["features"][0])


async def _all_features(clips: list[Clip], variant: str, inference: Inference) -> Floats:
    found = [await _features(clip, variant, seed, inference) for seed, clip in enumerate(clips)]
    return np.stack(found)


def features(clips: list[Clip], variant: str, settings: Settings) -> Floats:
    """Return [clips, 3072], kept in the data folder under the digest of the encoder."""
    inference = open_inference(settings)
    digests = "".join(inference.info(model).digest for model in (ENCODER, ACTIVITY))
    names = "".join(clip.path.name for clip in clips)
    key = hashlib.sha256((digests + variant + names).encode()).hexdigest()[:16]
    file = settings.data_dir / "training" / f"voice-{key}.npy"
    if not file.is_file():
        found = asyncio.run(_all_features(clips, variant, inference))
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npy")
        np.save(part, found)
        part.rename(file)
    return np.asarray(np.load(file))


@dataclass(frozen=True)
class Set:
    """Clips of known emotion.

    features: [clips, 3072] by variant; labels: [clips], places in `classes`; folds: [clips],
    the speaker, or the group of speakers that is left out together.
    """

    name: str
    classes: tuple[str, ...]
    features: dict[str, Floats]
    labels: Integers
    folds: Integers
    clips: list[Clip]

    @property
    def everyone(self) -> NDArray[np.bool_]:
        return np.ones(len(self.labels), bool)

    def training(self, chosen: NDArray[np.bool_]) -> tuple[Floats, Integers]:
        """Features and labels of the chosen clips in every variant."""
        rows = [features[chosen] for features in self.features.values()]
        return np.concatenate(rows), np.tile(self.labels[chosen], len(rows))


def load(pack: str, data: Path) -> Set:
    """What a pack is trained on; RAVDESS is left out three actors at a time."""
    clips = emodb(data) if pack == "open" else emodb(data) + ravdess(data)
    classes = OPEN if pack == "open" else RESEARCH
    settings = Settings()
    speakers = sorted({clip.speaker for clip in clips})
    return Set(
        name="EmoDB" if pack == "open" else "EmoDB and RAVDESS",
        classes=classes,
        features={variant: features(clips, variant, settings) for variant in VARIANTS},
        labels=np.array([classes.index(clip.emotion) for clip in clips]),
        folds=np.array([_fold(clip.speaker, speakers) for clip in clips]),
        clips=clips,
    )


def _fold(speaker: str, speakers: list[str]) -> int:
    if speaker.startswith("ravdess"):
        return -1 - int(speaker.removeprefix("ravdess")) % 6
    return speakers.index(speaker)
