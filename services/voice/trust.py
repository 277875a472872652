"""What the emotion of some speech is worth, and why it is worth less than it might be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from services.voice.features import SAMPLE_RATE_HZ, Samples

TRAINED_LANGUAGES: Mapping[str, Mapping[str, str]] = {
    "open": {"de": "German"},
    "research": {"de": "German", "en": "English"},
}
"""Languages of the speech that the emotion head of each pack was trained on."""
OTHER_LANGUAGE_TRUST = 0.5
"""What the probabilities are worth in a language the head has not heard."""
NOISY_TRUST = 0.7
SHORT_TRUST = 0.7
NOISY_DB = 6.0
SHORT_MS = 1000
NARROWBAND_HZ = 16_000

_LEAST = SAMPLE_RATE_HZ // 10


@dataclass(frozen=True)
class Warning:
    """What makes the result worth less: code in upper snake case, message for people."""

    code: str
    message: str


@dataclass(frozen=True)
class Power:
    """Energy of samples, and how many they are."""

    energy: float = 0.0
    count: int = 0

    @classmethod
    def of(cls, samples: Samples) -> Power:
        return cls(float(np.sum(np.square(samples), dtype=np.float64)), samples.size)

    def __add__(self, other: Power) -> Power:
        return Power(self.energy + other.energy, self.count + other.count)

    def __sub__(self, other: Power) -> Power:
        return Power(self.energy - other.energy, self.count - other.count)

    def above_db(self, rest: Power) -> float:
        """Level above that of the rest in dB; infinite where either is under 100 ms or silent."""
        if min(self.count, rest.count) < _LEAST or min(self.energy, rest.energy) <= 0:
            return float("inf")
        return 10 * float(np.log10(self.energy / self.count * rest.count / rest.energy))


def trust(
    trained: Mapping[str, str], language: str, above_noise_db: float, speech_ms: int
) -> tuple[float, list[Warning]]:
    """Return the worth in [0, 1] of the emotion heard in speech, and what lowers it.

    trained: languages of the head by code. language: tag of the speech, "" where not known.
    """
    worth = 1.0
    reasons = []
    if language.split("-")[0] not in trained:
        worth *= OTHER_LANGUAGE_TRUST
        heard = f'Speech is in "{language}"' if language else "The language is not known"
        message = f"{heard}; emotions are less reliable outside {' and '.join(trained.values())}."
        reasons.append(Warning("LANGUAGE_NOT_TRAINED", message))
    if above_noise_db < NOISY_DB:
        worth *= NOISY_TRUST
        reasons.append(Warning("NOISY", "The speech is hardly louder than the background."))
    if speech_ms < SHORT_MS:
        worth *= SHORT_TRUST
        reasons.append(Warning("SHORT_SPEECH", "Less than a second of speech."))
    return worth, reasons


def narrowband(rate_hz: int) -> Warning:
    """Return the warning of a sample rate below NARROWBAND_HZ."""
    message = f"Sampled at {rate_hz / 1000:g} kHz; high tones are missing."
    return Warning("NARROWBAND", message)
