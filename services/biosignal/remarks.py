"""What lowers the worth of a result, and why a value is absent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from services.biosignal import eda, hrv, respiration, rhythm, validation
from services.biosignal.hrv import HeartRate, HeartRateVariability
from services.biosignal.measures import Measures
from services.biosignal.quality import Stretch
from services.biosignal.signals import Recording
from services.biosignal.states import States

_USUAL_BPM = (45.0, 130.0)
_MOST_EXCLUDED, _MOST_UNEVEN = 0.2, 2.0
_STEADY_RMSSD_S = 60.0
_FINE_ECG_HZ, _FINE_PPG_HZ = 125.0, 60.0
_LENGTHS_ALIKE = 0.05


@dataclass(frozen=True, slots=True)
class Remark:
    """A machine-readable code and a sentence for people."""

    code: str
    message: str


def on_signals(found: Measures, recording: Recording) -> Iterator[Remark]:
    """Stretches left out, signals of unlike length."""
    for name, parts in found.quality.items():
        bad = [part for part in parts if not part.usable]
        if bad:
            yield Remark(
                "LOW_SIGNAL_QUALITY",
                f"{name}: {len(bad)} of {len(parts)} stretches were left out: {_times(bad)}.",
            )
    lengths = {name: validation.duration_s(name, signal) for name, signal in recording.items()}
    if min(lengths.values()) < (1 - _LENGTHS_ALIKE) * max(lengths.values()):
        listed = ", ".join(f"{name} {seconds:.4g} s" for name, seconds in lengths.items())
        yield Remark("MIXED_LENGTHS", f"The signals differ in length: {listed}.")


def on_heart(
    found: Measures, rate: HeartRate | None, variability: HeartRateVariability | None
) -> Iterator[Remark]:
    """Rates no resting heart has, and every absent value of heart rate and variability."""
    heart = found.heart
    if heart is None or rate is None:
        yield Remark("SIGNAL_MISSING", "heart_rate and hrv need ecg, ppg or rr.")
        return
    if rate.mean_bpm is None:
        yield _too_short("heart_rate", "heart_rate", heart.intervals.usable_s)
    elif not _USUAL_BPM[0] <= rate.mean_bpm <= _USUAL_BPM[1]:
        yield Remark(
            "IMPLAUSIBLE_HEART_RATE",
            f"A mean of {rate.mean_bpm:.0f} bpm is rare at rest: check the sample rate"
            f"{' and unit' if heart.source == 'rr' else ''} of {heart.source}.",
        )
    if variability is None:
        return
    if heart.disorderly_s:
        yield Remark(
            "IRREGULAR_RHYTHM",
            f"For {heart.disorderly_s:.0f} s the intervals are as disorderly as in atrial "
            "fibrillation: they are left out of variability, which is of sinus rhythm alone.",
        )
    normal_s = heart.intervals.normal_s
    for value in hrv.LEAST_S:
        if value != "heart_rate" and getattr(variability, value) is None:
            yield _too_short(f"hrv.{value}", value, normal_s)
    if variability.rmssd_ms is None:
        return
    if normal_s < 0.9 * _STEADY_RMSSD_S:
        yield Remark(
            "SHORT_WINDOW",
            f"RMSSD and pNN50 are over {normal_s:.0f} s; 60 s or more make them steadier.",
        )
    excluded = variability.excluded_ratio or 0.0
    scatter = variability.rmssd_ms / (variability.mean_nn_ms or 1000)
    if excluded > _MOST_EXCLUDED or scatter > rhythm.MOST_SCATTER:
        yield Remark(
            "IRREGULAR_RHYTHM",
            f"{excluded:.0%} of the intervals are ectopic or doubtful, and RMSSD is {scatter:.0%} "
            "of the mean interval: variability then says little of relaxation.",
        )
    elif hrv.unevenness(heart.intervals) > _MOST_UNEVEN:
        yield Remark(
            "IRREGULAR_RHYTHM",
            "A few pauses or jumps make most of RMSSD: variability then says little of relaxation.",
        )
    if heart.source == "ppg":
        yield Remark(
            "PULSE_RATE_VARIABILITY",
            "Variability from a pulse wave overstates RMSSD and pNN50 against an ECG.",
        )
    least_hz = {"ecg": _FINE_ECG_HZ, "ppg": _FINE_PPG_HZ}.get(heart.source, 0.0)
    if heart.rate_hz < least_hz:
        yield Remark(
            "LOW_SAMPLE_RATE",
            f"{heart.source} at {heart.rate_hz:g} Hz makes variability coarse; "
            f"{least_hz:g} Hz or more do not.",
        )


def on_slow_signals(
    found: Measures, responses: int | None, breaths_bpm: float | None
) -> Iterator[Remark]:
    """Absent values of skin and breath."""
    if found.skin is None:
        yield Remark("SIGNAL_MISSING", "eda needs the eda signal.")
    elif responses is None:
        seconds = float(found.skin.usable.sum()) / found.skin.conductance.rate_hz
        yield _short_signal("eda.scr_count", eda.LEAST_RESPONSES_S, seconds)
        if seconds < eda.LEAST_LEVEL_S * 0.9:
            yield _short_signal("eda.scl_mean", eda.LEAST_LEVEL_S, seconds)
    if found.breathing is not None and breaths_bpm is None:
        seconds = float((60 / found.breathing.rate_bpm).sum())
        yield _short_signal("respiration", respiration.LEAST_S, seconds)


def on_states(derived: States, relative: bool, stress: bool, engagement: bool) -> Iterator[Remark]:
    """How far the derived states may be believed."""
    if derived.arousal is None and derived.stress is None:
        if stress or engagement:
            yield Remark(
                "STATES_UNAVAILABLE",
                "No usable signal speaks of stress, relaxation, arousal or engagement.",
            )
        return
    if not relative:
        yield Remark(
            "NO_BASELINE",
            "States are against a usual person at rest; send baseline, or baseline_ms, for the "
            "person's own.",
        )
    if engagement:
        yield Remark("EXPERIMENTAL", "engagement is experimental: no evidence stands behind it.")


def _too_short(name: str, value: str, seconds: float) -> Remark:
    return _short_signal(name, hrv.LEAST_S[value], seconds, " intervals between beats")


def _short_signal(name: str, least_s: float, seconds: float, of: str = " signal") -> Remark:
    return Remark(
        "WINDOW_TOO_SHORT",
        f"{name} needs {least_s:g} s of usable{of}; there are {seconds:.0f} s.",
    )


def _times(parts: list[Stretch]) -> str:
    spans: list[list[float]] = []
    for part in parts:
        if spans and spans[-1][1] == part.start_s:
            spans[-1][1] = part.end_s
        else:
            spans.append([part.start_s, part.end_s])
    listed = [f"{start:.4g}-{end:.4g} s" for start, end in spans[:5]]
    return ", ".join(listed) + (" and more" if len(spans) > 5 else "")
