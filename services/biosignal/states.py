"""Stress, relaxation, arousal and engagement: a model of few numbers, each with its source.

Every feature is turned into a deviation: its distance from the person's own rest (or, without a
baseline, from a usual rest where there is one), divided by the change that a clear stressor
typically makes, so that 0 is rest and 1 a full response. A state is a logistic function of the mean
deviation of the features that speak of it, each weighing as the evidence for it, flatter without a
baseline: 0.5 is half a response.
Nothing is fitted to data; models/training/biosignal/evaluate.py prints how it does on people.

Where the numbers come from:
- responses and conductance: 1 to 3 spontaneous responses a minute at rest, over 20 in high
  arousal, levels that differ widely between people (Dawson, Schell and Filion, Handbook of
  Psychophysiology, 2007, ch. 7). The range over 5 s is the same activity without a threshold.
- heart rate: 8 to 26 bpm of rise in the Trier Social Stress Test (Kirschbaum, Pirke and Hellhammer,
  Neuropsychobiology 28 (1993) 76).
- usual heart rate and RMSSD at rest: intervals of 926 ms, so 65 bpm, and 42 ms (Nunan, Sandercock
  and Brodie, PACE 33 (2010) 1407). RMSSD falls with stress (Kim et al., Psychiatry Investig. 15
  (2018) 235).
- breathing: 12 to 18 a minute at rest, faster with stress (Grossman, Psychophysiology 20 (1983)
  284).
- temperature: distal skin cools by about 1 °C in the Trier Social Stress Test (Vinkers et al.,
  Stress 16 (2013) 520), which lasts 10 minutes: taken here as 0.1 °C a minute, for it begins to
  cool within seconds (Kistler et al., Int. J. Psychophysiol. 29 (1998) 35). Its level depends on
  place, room and person, and speaks only against the person's own rest.

Engagement has no such evidence: it is an inverted U over arousal, after Yerkes and Dodson (1908),
and is marked experimental.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log

METHOD = "biosignal-states"
VERSION = "1.2.0"
EXPERIMENTAL = ("engagement",)

_STEEP_OWN, _STEEP_USUAL = 4.0, 2.0
_HALF_RESPONSE = 0.5
_LEAST, _MOST = -1.0, 2.0
_ENGAGED_AROUSAL = 0.6
_SURE_WITH_BASELINE, _SURE_WITHOUT = 0.85, 0.5
_FLOOR_US = 0.005


@dataclass(frozen=True, slots=True)
class Features:
    """What the signals say over a window; None where not measured.

    conductance_us is the tonic level, range_us the mean range of the conductance over 5 s.
    """

    heart_rate_bpm: float | None = None
    rmssd_ms: float | None = None
    responses_per_min: float | None = None
    range_us: float | None = None
    conductance_us: float | None = None
    breaths_per_min: float | None = None
    temperature_celsius: float | None = None
    temperature_celsius_per_min: float | None = None


@dataclass(frozen=True, slots=True)
class States:
    """Each in [0, 1], None where no feature speaks of it; confidence is of all of them."""

    stress: float | None
    relaxation: float | None
    arousal: float | None
    engagement: float | None
    confidence: float


def _same(value: float) -> float:
    return value


def _log(value: float) -> float:
    return log(max(value, 1.0))


def _log_us(value: float) -> float:
    return log(max(value, 0.0) + _FLOOR_US)


@dataclass(frozen=True, slots=True)
class _Component:
    """How one feature speaks: full response as a change of scale(feature), usual rest of people
    (None where people differ too widely), worth as evidence, and the states it belongs to."""

    feature: str
    scale: Callable[[float], float]
    change: float
    rest: float | None
    evidence: float
    states: frozenset[str]


_BODY = frozenset({"stress", "arousal", "relaxation"})
_COMPONENTS = (
    _Component("responses_per_min", _same, 4.0, 2.5, 0.35, _BODY),
    _Component("range_us", _log_us, log(2.5), 0.02, 0.35, _BODY),
    _Component("conductance_us", _log_us, log(1.5), None, 0.2, frozenset({"stress", "arousal"})),
    _Component("heart_rate_bpm", _same, 15.0, 65.0, 0.2, _BODY),
    _Component("rmssd_ms", _log, -log(1.6), 42.0, 0.15, frozenset({"stress", "relaxation"})),
    _Component("breaths_per_min", _same, 5.0, 15.0, 0.15, _BODY),
    _Component("temperature_celsius", _same, -1.0, None, 0.2, frozenset({"stress"})),
    _Component("temperature_celsius_per_min", _same, -0.1, 0.0, 0.2, frozenset({"stress"})),
)


def derive(features: Features, baseline: Features | None = None) -> States:
    """States of a window, relative to the features of the same person at rest where given.

    A feature that the baseline lacks falls back to the usual rest. Confidence grows with the
    evidence and is at most 0.85, and 0.5 without a baseline.
    """
    deviations: dict[str, float] = {}
    worth = own = 0.0
    for component in _COMPONENTS:
        value = getattr(features, component.feature)
        rest = getattr(baseline, component.feature, None)
        usual = component.rest if rest is None else rest
        if value is None or usual is None:
            continue
        change = (component.scale(value) - component.scale(usual)) / component.change
        deviations[component.feature] = min(max(change, _LEAST), _MOST)
        worth += component.evidence
        own += component.evidence if rest is not None else 0.0
    share = own / worth if worth else 0.0
    steepness = _STEEP_OWN * share + _STEEP_USUAL * (1 - share)
    stress = _level(deviations, "stress", steepness)
    calm = _mean(deviations, "relaxation")
    arousal = _level(deviations, "arousal", steepness)
    engagement = None
    if arousal is not None:
        engagement = 1 - min(1.0, abs(arousal - _ENGAGED_AROUSAL) / _ENGAGED_AROUSAL)
    sure = _SURE_WITH_BASELINE * share + _SURE_WITHOUT * (1 - share)
    return States(
        stress=stress,
        relaxation=None if calm is None else _logistic(-steepness * calm),
        arousal=arousal,
        engagement=engagement,
        confidence=sure * min(1.0, worth),
    )


def _mean(deviations: dict[str, float], state: str) -> float | None:
    speaking = [
        (component.evidence, deviations[component.feature])
        for component in _COMPONENTS
        if state in component.states and component.feature in deviations
    ]
    total = sum(evidence for evidence, _ in speaking)
    return sum(evidence * d for evidence, d in speaking) / total if speaking else None


def _level(deviations: dict[str, float], state: str, steepness: float) -> float | None:
    mean = _mean(deviations, state)
    return None if mean is None else _logistic(steepness * (mean - _HALF_RESPONSE))


def _logistic(value: float) -> float:
    return 1 / (1 + exp(-value))
