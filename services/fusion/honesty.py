"""Behavioural consistency as a score; docs/honesty.md gives the formula, its sources and limits.

It says how far what is said, how it sounds and what the face shows go together and stay the same
over the recording. It does not say whether anybody lies, and cannot.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from services.fusion import body, series
from services.fusion.observations import Observations, Saying, Word
from services.fusion.timeline import Moment
from services.fusion.weights import normalise

WEIGHTS = MappingProxyType({"agreement": 0.4, "steadiness": 0.3, "fluency": 0.2, "pace": 0.1})
"""Weight of each component; of those measured they are scaled to a sum of 1."""
PAUSE_MS = 250
"""Shorter silences belong to articulation (Goldman-Eisler 1968)."""
FLUENT, HALTING = 0.2, 0.6
"""Share of the time from first to last word spent in pauses that gives 1, and that gives 0."""
DEPARTURE = 3.0
"""Robust standard deviations from the speaker's own median that make a departure."""
RESTLESS = 0.2
"""Share of departures that gives 0."""
LEAST_MS = 10_000
"""Of behaviour before a baseline of it means anything."""
_LEAST_AGREEMENT_MS = 3_000
_LEAST_WORDS = 10
_LEAST_WORDS_IN_A_SAYING = 4
_LEAST_SAYINGS = 3
_LEAST_SPREAD = MappingProxyType({"face": 0.1, "voice": 0.1, "head": 5.0, "gaze": 5.0})
"""Below these spreads differences are the models' own noise: of valence and arousal in [-1, 1], of
head speed in degrees a second, of gaze in degrees."""


@dataclass(frozen=True)
class Honesty:
    """score: 0 to 100. components: in [0, 1] by name. weights: of those, summing to 1."""

    score: float
    components: Mapping[str, float]
    weights: Mapping[str, float]

    @property
    def missing(self) -> list[str]:
        """The components that could not be measured."""
        return [name for name in WEIGHTS if name not in self.components]


def assess(seen: Observations, moments: Sequence[Moment]) -> Honesty | None:
    """The score of a recording; None where no component can be measured."""
    measured = {
        "agreement": agreement(moments),
        "steadiness": steadiness(seen, moments),
        "fluency": fluency(seen.words),
        "pace": pace(seen.sayings, seen.words),
    }
    components = {name: value for name, value in measured.items() if value is not None}
    if not components:
        return None
    weights = normalise({name: WEIGHTS[name] for name in components})
    score = 100 * sum(weights[name] * value for name, value in components.items())
    return Honesty(min(100.0, score), components, weights)


def interpretation(honesty: Honesty) -> str:
    """What the score means and what it does not, with its own arithmetic."""
    terms = " + ".join(
        f"{honesty.weights[name]:.2f} x {name} {value:.2f}"
        for name, value in honesty.components.items()
    )
    missing = f" Not measured: {', '.join(honesty.missing)}." if honesty.missing else ""
    return (
        f"Behavioural consistency, not lie detection: 100 x ({terms}) = {honesty.score:.1f}."
        f"{missing} Agreement: how far words, voice and face say the same. Steadiness: how seldom "
        "the speaker departs from their own baseline. Fluency: little time in pauses. Pace: an "
        "even speech rate. Nervous, tired, thoughtful, ill or neurodivergent people, second-"
        "language speakers and the models' own errors lower it; practised liars need not. It is no "
        "evidence that anyone told the truth or did not, and no ground for a decision about them."
    )


def agreement(moments: Sequence[Moment]) -> float | None:
    """Mean agreement of the moments in which at least two modalities speak."""
    spoken = [(one.agreement, one.end_ms - one.start_ms) for one in moments]
    given = [(value, length) for value, length in spoken if value is not None]
    if sum(length for _, length in given) < _LEAST_AGREEMENT_MS:
        return None
    return series.clip(statistics.fmean([v for v, _ in given], [length for _, length in given]))


def steadiness(seen: Observations, moments: Sequence[Moment]) -> float | None:
    """1 minus the share of departures from the speaker's own baseline over RESTLESS.

    Looked at are valence and arousal of face and of voice at each moment, the speed of the head
    and the direction of the gaze. What the words are about is no behaviour and left out.
    """
    hop_ms = moments[0].end_ms - moments[0].start_ms
    needed = -(-LEAST_MS // hop_ms)
    tracks: list[tuple[float, list[float], int]] = []
    for modality in ("face", "voice"):
        spoken = [opinion for one in moments if (opinion := one.clear(modality))]
        for values in ([one.valence for one in spoken], [one.arousal for one in spoken]):
            given = [value for value in values if value is not None]
            tracks.append((_LEAST_SPREAD[modality], given, needed))
    heads = [speed for _, speed in body.head_speeds(seen.sightings)]
    tracks.append((_LEAST_SPREAD["head"], heads, LEAST_MS // body.STEP_MS))
    gazes = [offset for _, offset in body.gaze_offsets(seen.sightings)]
    interval_ms = seen.interval_ms or LEAST_MS
    tracks.append((_LEAST_SPREAD["gaze"], gazes, int(LEAST_MS / interval_ms)))
    shares = [
        _departures(values, least) for least, values, enough in tracks if len(values) >= enough > 0
    ]
    return series.clip(1 - statistics.fmean(shares) / RESTLESS) if shares else None


def fluency(words: Sequence[Word]) -> float | None:
    """From the share of time in pauses between the first and the last word."""
    if len(words) < _LEAST_WORDS:
        return None
    lengths = [length for _, length in pauses(words)]
    extent = words[-1].end_ms - words[0].start_ms
    share = sum(length for length in lengths if length >= PAUSE_MS) / max(1, extent)
    return series.clip(1 - (share - FLUENT) / (HALTING - FLUENT))


def pace(sayings: Sequence[Saying], words: Sequence[Word]) -> float | None:
    """1 minus the mean change of the speech rate against the speaker's own, in octaves.

    Rates are words over time of each saying of at least four words; 0 where on average the rate is
    doubled or halved.
    """
    starts = np.array([word.start_ms for word in words])
    rates, counts = [], []
    for saying in sayings:
        first, after = np.searchsorted(starts, (saying.start_ms, saying.end_ms))
        count = int(after - first)
        if count >= _LEAST_WORDS_IN_A_SAYING and saying.end_ms > saying.start_ms:
            rates.append(count / (saying.end_ms - saying.start_ms))
            counts.append(count)
    if len(rates) < _LEAST_SAYINGS:
        return None
    changes = np.abs(np.log2(np.array(rates) / statistics.median(rates)))
    return series.clip(1 - float(np.average(changes, weights=counts)))


def pauses(words: Sequence[Word]) -> list[tuple[int, int]]:
    """Start and length in ms of every silence between words."""
    found = []
    spoken_until = words[0].end_ms if words else 0
    for word in words:
        if word.start_ms > spoken_until:
            found.append((spoken_until, word.start_ms - spoken_until))
        spoken_until = max(spoken_until, word.end_ms)
    return found


def _departures(values: Sequence[float], least_spread: float) -> float:
    middle, spread = series.baseline(values)
    limit = DEPARTURE * max(spread, least_spread)
    return sum(abs(value - middle) > limit for value in values) / len(values)
