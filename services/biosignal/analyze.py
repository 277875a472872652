"""From the signals of one recording to heart, skin, breath, and the states they speak of."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.biosignal import (
    eda,
    hrv,
    ppg,
    remarks,
    respiration,
    rpeaks,
    states,
    temperature,
    validation,
)
from services.biosignal.hrv import HeartRate, HeartRateVariability
from services.biosignal.measures import Breathing, Measures, Skin, Warmth, measure
from services.biosignal.quality import STRETCH_S, Stretch
from services.biosignal.remarks import Remark
from services.biosignal.signals import Recording
from services.biosignal.states import Features, States
from services.common import errors

CONTEXT_S = 60.0
LEAST_CONTEXT_S = 30.0
"""The states of a moment are over the 60 s that end with it; at the start, over the first 30 s."""

_MOMENT_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Options:
    """What to return; baseline_s takes the first so many seconds as the person's rest."""

    hrv: bool = True
    stress: bool = True
    engagement: bool = True
    baseline_s: float | None = None


@dataclass(frozen=True, slots=True)
class ElectrodermalActivity:
    """Levels and amplitudes in µS; None where not measured."""

    scl_mean: float | None = None
    scr_count: int | None = None
    scr_amplitude_mean: float | None = None
    scr_rate_per_min: float | None = None


@dataclass(frozen=True, slots=True)
class BreathingRate:
    """Breaths a minute; None where not measured."""

    mean_bpm: float | None = None
    std_bpm: float | None = None


@dataclass(frozen=True, slots=True)
class SkinTemperature:
    """°C and °C a minute; None where not measured."""

    mean_celsius: float
    slope_celsius_per_min: float | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """The states at the 10 s that begin at start_s, and the heart rate in them."""

    start_s: float
    states: States
    heart_rate_bpm: float | None


@dataclass(frozen=True, slots=True)
class Method:
    """A method that had a part in the result."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Analysis:
    """All that was found; None where there is no signal for it, or it was not asked for."""

    duration_s: float
    heart_rate: HeartRate | None
    hrv: HeartRateVariability | None
    eda: ElectrodermalActivity | None
    respiration: BreathingRate | None
    temperature: SkinTemperature | None
    states: States
    timeline: list[Moment]
    quality: dict[str, list[Stretch]]
    remarks: list[Remark] = field(default_factory=list)
    methods: list[Method] = field(default_factory=list)


def analyze(
    recording: Recording,
    options: Options,
    baseline: Recording | None = None,
    duration_ms: int | None = None,
    where: str = "signals",
) -> Analysis:
    """Analyses signals that start together, relative to the same person at rest where given.

    `where` is the path of the recording in the request. Raises InvalidRequest or InvalidSignal for
    what `validation` and `units` refuse.
    """
    validation.check(recording, where=where)
    if duration_ms is not None:
        validation.check_duration(recording, duration_ms)
    rest = rest_of(baseline) if baseline else None
    found = measure(recording, where)
    if rest is None and options.baseline_s is not None:
        rest = _first(found, options.baseline_s)
    return assess(found, recording, options, rest)


def rest_of(baseline: Recording) -> Features:
    """What a person's recording at rest gives to measure others by.

    Raises InvalidSignal for what `validation` and `units` refuse.
    """
    validation.check(baseline, validation.LEAST_BASELINE_S, "baseline")
    found = measure(baseline, "baseline")
    return found.features(0, found.duration_s)


def assess(
    found: Measures, recording: Recording, options: Options, rest: Features | None
) -> Analysis:
    """What the measures of a recording say, relative to the features at rest where given."""
    heart_rate, variability = _heart(found, options)
    skin = _skin(found.skin) if found.skin else None
    breathing = _breathing(found.breathing) if found.breathing else None
    warmth = _warmth(found.warmth) if found.warmth else None
    derived = _trusted(states.derive(found.features(0, found.duration_s), rest), found)
    return Analysis(
        duration_s=found.duration_s,
        heart_rate=heart_rate,
        hrv=variability,
        eda=skin,
        respiration=breathing,
        temperature=warmth,
        states=derived,
        timeline=_timeline(found, rest),
        quality=dict(found.quality),
        remarks=[
            *remarks.on_signals(found, recording),
            *remarks.on_heart(found, heart_rate, variability),
            *remarks.on_slow_signals(
                found, skin.scr_count if skin else None, breathing.mean_bpm if breathing else None
            ),
            *remarks.on_states(derived, rest is not None, options.stress, options.engagement),
        ],
        methods=_methods(found),
    )


def _first(found: Measures, seconds: float) -> Features:
    if not validation.LEAST_BASELINE_S <= seconds <= found.duration_s:
        raise errors.InvalidRequest(
            f"The baseline cannot be the first {seconds:g} s "
            f"of a recording of {found.duration_s:g} s.",
            reason="baseline_ms out of range",
            suggestion=f"Use {validation.LEAST_BASELINE_S * 1000:g} or more, "
            "at most the length of the recording.",
            field="options.baseline_ms",
        )
    return found.features(0, seconds)


def _heart(
    found: Measures, options: Options
) -> tuple[HeartRate | None, HeartRateVariability | None]:
    if found.heart is None:
        return None, None
    rate = hrv.heart_rate(found.heart.intervals, found.heart.beat_count)
    if not options.hrv:
        return rate, None
    return rate, hrv.heart_rate_variability(found.heart.intervals)


def _skin(skin: Skin) -> ElectrodermalActivity:
    found = skin.conductance
    seconds = float(skin.usable.sum()) / found.rate_hz
    if seconds < eda.LEAST_LEVEL_S * 0.9:
        return ElectrodermalActivity()
    level = float(found.tonic_us[skin.usable].mean())
    if seconds < eda.LEAST_RESPONSES_S * 0.9:
        return ElectrodermalActivity(level)
    amplitudes = found.amplitude_us[skin.response_usable]
    return ElectrodermalActivity(
        scl_mean=level,
        scr_count=len(amplitudes),
        scr_amplitude_mean=float(amplitudes.mean()) if len(amplitudes) else None,
        scr_rate_per_min=len(amplitudes) * 60 / seconds,
    )


def _breathing(breathing: Breathing) -> BreathingRate:
    rates = breathing.rate_bpm
    if (60 / rates).sum() < respiration.LEAST_S * 0.7:
        return BreathingRate()
    return BreathingRate(float(rates.mean()), float(rates.std()))


def _warmth(warmth: Warmth) -> SkinTemperature:
    values, rate_hz = warmth.celsius, warmth.rate_hz
    if len(values) < temperature.LEAST_TREND_S * rate_hz:
        return SkinTemperature(float(values.mean()))
    return SkinTemperature(float(values.mean()), temperature.trend(values, rate_hz))


def _timeline(found: Measures, rest: Features | None) -> list[Moment]:
    moments = []
    start = 0.0
    while start == 0 or start + STRETCH_S <= found.duration_s + STRETCH_S / 2:
        end = min(start + STRETCH_S, found.duration_s)
        known = max(end, min(LEAST_CONTEXT_S, found.duration_s))
        features = found.features(max(0.0, end - CONTEXT_S), known)
        now = None
        if found.heart:
            now = hrv.mean_rate(found.heart.intervals.part(start, end), _MOMENT_SHARE)
        moments.append(Moment(start, states.derive(features, rest), now))
        start += STRETCH_S
    return moments


def _trusted(derived: States, found: Measures) -> States:
    """The states with their confidence lowered by the share of stretches left out."""
    parts = [part for stretches in found.quality.values() for part in stretches]
    usable = sum(part.usable for part in parts) / len(parts)
    return States(
        derived.stress,
        derived.relaxation,
        derived.arousal,
        derived.engagement,
        derived.confidence * usable,
    )


def _methods(found: Measures) -> list[Method]:
    methods = []
    if found.heart and found.heart.source == "ecg":
        methods.append(Method(rpeaks.METHOD, rpeaks.VERSION))
    if found.heart and found.heart.source == "ppg":
        methods.append(Method(ppg.METHOD, ppg.VERSION))
    if found.heart:
        methods.append(Method(hrv.METHOD, hrv.VERSION))
    if found.skin:
        methods.append(Method(eda.METHOD, eda.VERSION))
    if found.breathing:
        methods.append(Method(respiration.METHOD, respiration.VERSION))
    if found.warmth:
        methods.append(Method(temperature.METHOD, temperature.VERSION))
    return [*methods, Method(states.METHOD, states.VERSION)]
