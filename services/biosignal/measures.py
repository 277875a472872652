"""What the signals of one recording say, over all of it or any part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from services.biosignal import (
    eda,
    nn,
    ppg,
    quality,
    respiration,
    rhythm,
    rpeaks,
    temperature,
    units,
    validation,
)
from services.biosignal.beats import Beats
from services.biosignal.filters import Samples
from services.biosignal.hrv import mean_rate, rmssd
from services.biosignal.nn import Intervals, Mask
from services.biosignal.quality import Stretch
from services.biosignal.signals import Recording, Signal
from services.biosignal.states import Features

_DETECTORS: Mapping[str, Callable[[Samples, float], Beats]] = {
    "ecg": rpeaks.detect,
    "ppg": ppg.detect,
}
_ENOUGH = 0.5


@dataclass(frozen=True, slots=True)
class Heart:
    """Beats and intervals of one source ("ecg", "ppg" or "rr"), usable stretches only.

    disorderly_s: time that intervals cover which are in no sinus rhythm; none of them is normal.
    """

    source: str
    rate_hz: float
    duration_s: float
    beat_count: int
    intervals: Intervals
    disorderly_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Skin:
    """A decomposed conductance, and which of its samples and responses are usable."""

    conductance: eda.SkinConductance
    usable: Mask
    response_usable: Mask
    range_usable: Mask


@dataclass(frozen=True, slots=True)
class Breathing:
    """Rates of single breaths (n,) a minute and the times in s they end at, usable ones only."""

    end_s: Samples
    rate_bpm: Samples


@dataclass(frozen=True, slots=True)
class Warmth:
    """Temperatures (n,) in °C."""

    celsius: Samples
    rate_hz: float


@dataclass(frozen=True, slots=True)
class Measures:
    """Everything measured in a recording; None where its signal was not sent."""

    duration_s: float
    quality: Mapping[str, list[Stretch]]
    heart: Heart | None
    skin: Skin | None
    breathing: Breathing | None
    warmth: Warmth | None

    def features(self, start_s: float, end_s: float) -> Features:
        """What the derived states are made of, over [start_s, end_s)."""
        found = Features()
        if self.heart:
            part = self.heart.intervals.part(start_s, end_s)
            found = replace(found, heart_rate_bpm=mean_rate(part), rmssd_ms=rmssd(part))
        if self.skin:
            found = replace(found, **_skin_features(self.skin, start_s, end_s))
        if self.breathing:
            ends = self.breathing.end_s
            rates = self.breathing.rate_bpm[(ends >= start_s) & (ends < end_s)]
            if len(rates) >= 3:
                found = replace(found, breaths_per_min=float(rates.mean()))
        if self.warmth:
            rate_hz = self.warmth.rate_hz
            values = self.warmth.celsius[int(start_s * rate_hz) : int(end_s * rate_hz)]
            if len(values):
                found = replace(found, temperature_celsius=float(values.mean()))
            if len(values) >= temperature.LEAST_TREND_S * rate_hz:
                slope = temperature.trend(values, rate_hz)
                found = replace(found, temperature_celsius_per_min=slope)
        return found


def measure(recording: Recording, where: str = "signals") -> Measures:
    """Runs every detector over a recording that `validation.check` has let pass.

    Raises InvalidSignal for a wrong unit; `where` is the path of the recording in the request.
    """
    values = {name: units.convert(name, signal, where) for name, signal in recording.items()}
    parts: dict[str, list[Stretch]] = {}
    hearts = [
        _heart(name, values[name], recording[name], parts)
        for name in ("ecg", "rr", "ppg")
        if name in recording
    ]
    lengths = [validation.duration_s(name, signal) for name, signal in recording.items()]
    return Measures(
        duration_s=max(lengths),
        heart=_best(hearts),
        skin=_skin(values["eda"], recording["eda"], parts) if "eda" in recording else None,
        breathing=(
            _breathing(values["respiration"], recording["respiration"], parts)
            if "respiration" in recording
            else None
        ),
        warmth=(
            _warmth(values["temperature"], recording["temperature"], parts)
            if "temperature" in recording
            else None
        ),
        quality=parts,
    )


def _heart(name: str, values: Samples, signal: Signal, parts: dict[str, list[Stretch]]) -> Heart:
    seconds = validation.duration_s(name, signal)
    if name == "rr":
        intervals = nn.given(values)
        parts[name] = quality.of_events(intervals.end_s, intervals.possible, seconds)
        return _in_sinus_rhythm(Heart(name, 0.0, seconds, len(values), intervals))
    beats = _DETECTORS[name](values, signal.rate_hz)
    broken = validation.damaged(values, signal.rate_hz)
    parts[name] = quality.of_beats(beats, broken, signal.rate_hz)
    usable = quality.usable_at(beats.times_s, parts[name])
    intervals = nn.between(beats.times_s, beats.match, usable, beats.restless)
    return _in_sinus_rhythm(Heart(name, signal.rate_hz, seconds, int(usable.sum()), intervals))


def _in_sinus_rhythm(heart: Heart) -> Heart:
    """The same, with no interval normal that is in another rhythm."""
    found = rhythm.disorderly(heart.intervals)
    lost_ms = heart.intervals.length_ms[found & heart.intervals.possible]
    return replace(
        heart, intervals=heart.intervals.without(found), disorderly_s=float(lost_ms.sum()) / 1000
    )


def _best(hearts: list[Heart]) -> Heart | None:
    """The first source that is usable for half its length; else the most usable one."""
    for heart in hearts:
        if heart.intervals.usable_s >= _ENOUGH * heart.duration_s:
            return heart
    return max(hearts, key=lambda heart: heart.intervals.usable_s, default=None)


def _skin(values: Samples, signal: Signal, parts: dict[str, list[Stretch]]) -> Skin:
    found = eda.decompose(values, signal.rate_hz)
    parts["eda"] = quality.of_samples(found.good.astype(float), found.rate_hz)
    times = np.arange(len(found.level_us)) / found.rate_hz
    ranges = np.arange(0.5, len(found.range_us)) * eda.RANGE_S
    return Skin(
        found,
        quality.usable_at(times, parts["eda"]),
        quality.usable_at(found.response_s, parts["eda"]),
        quality.usable_at(ranges, parts["eda"]),
    )


def _breathing(values: Samples, signal: Signal, parts: dict[str, list[Stretch]]) -> Breathing:
    breaths = respiration.detect(values, signal.rate_hz)
    parts["respiration"] = quality.of_samples(breaths.share, breaths.share_hz)
    ends, rates = respiration.rates(breaths.times_s)
    usable = quality.usable_at(ends, parts["respiration"])
    return Breathing(ends[usable], rates[usable])


def _warmth(values: Samples, signal: Signal, parts: dict[str, list[Stretch]]) -> Warmth:
    steady = np.abs(np.diff(values, prepend=values[0])) * signal.rate_hz < 5
    parts["temperature"] = quality.of_samples(steady.astype(float), signal.rate_hz)
    return Warmth(values, signal.rate_hz)


def _skin_features(skin: Skin, start_s: float, end_s: float) -> dict[str, float]:
    found = skin.conductance
    low, high = (int(at * found.rate_hz) for at in (start_s, end_s))
    usable = skin.usable[low:high]
    seconds = float(usable.sum()) / found.rate_hz
    features: dict[str, float] = {}
    if seconds >= eda.LEAST_LEVEL_S * 0.9:
        features["conductance_us"] = float(found.tonic_us[low:high][usable].mean())
    ranges = slice(int(start_s / eda.RANGE_S), int(end_s / eda.RANGE_S))
    chosen = found.range_us[ranges][skin.range_usable[ranges]]
    if seconds >= eda.LEAST_RESPONSES_S * 0.9 and len(chosen):
        within = (found.response_s >= start_s) & (found.response_s < end_s) & skin.response_usable
        features["responses_per_min"] = float(within.sum()) * 60 / seconds
        features["range_us"] = float(chosen.mean())
    return features
