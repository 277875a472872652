"""What is refused before anything is computed."""

from __future__ import annotations

import numpy as np

from services.biosignal.filters import Samples
from services.biosignal.nn import Mask
from services.biosignal.signals import NAMES, Recording, Signal
from services.common import errors

LEAST_S = 10.0
LEAST_BASELINE_S = 60.0
LONGEST_S = 24 * 3600.0

_RATES_HZ = {
    "ecg": (50.0, 4000.0),
    "ppg": (20.0, 4000.0),
    "eda": (1.0, 4000.0),
    "respiration": (4.0, 4000.0),
    "temperature": (0.1, 4000.0),
}
_LARGEST = 1e12
_WAVES = frozenset({"ecg", "ppg", "respiration"})
_MOST_SATURATED = 0.2
_SATURATED_RUN = 4
_DEAD_S = 0.5
_MOST_OFF = 0.05


def duration_s(name: str, signal: Signal) -> float:
    """Length of a signal in s; of rr, whose unit is known to be ms or s, the sum of its values."""
    if name != "rr":
        return len(signal.data) / signal.rate_hz
    total = float(signal.data.sum())
    return total if signal.unit.strip().lower() in {"s", "seconds"} else total / 1000


def check(recording: Recording, least_s: float = LEAST_S, where: str = "signals") -> None:
    """Raises InvalidSignal or InvalidRequest for the first thing wrong, saying what to do."""
    if not recording:
        raise errors.InvalidRequest(
            "No signal was sent.",
            reason="Empty signals",
            suggestion=f"Send at least one of {', '.join(NAMES)}.",
            field=where,
        )
    for name, signal in recording.items():
        _check_signal(name, signal, least_s, f"{where}.{name}")


def check_duration(recording: Recording, declared_ms: int) -> None:
    """Raises InvalidSignal when a length given by the client is not that of the signals."""
    longest = max(duration_s(name, signal) for name, signal in recording.items())
    if abs(declared_ms / 1000 - longest) > _MOST_OFF * longest:
        raise errors.InvalidSignal(
            f"duration_ms says {declared_ms / 1000:g} s, the signals last {longest:g} s.",
            reason="Length and samples disagree",
            suggestion="Check sample_rate, or leave duration_ms out.",
            field="duration_ms",
        )


def check_samples(name: str, values: Samples, field: str) -> None:
    """Raises InvalidSignal for samples (n,) that no sensor gives; `field` is the signal's path."""
    if not len(values):
        raise errors.InvalidSignal(
            f"{name} has no samples.",
            reason="Empty data",
            suggestion="Send the samples in data.",
            field=f"{field}.data",
        )
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise errors.InvalidSignal(
            f"{name} has {len(wrong)} samples that are no numbers, the first at {wrong[0]}.",
            reason="NaN or infinite samples",
            suggestion="Cut the recording there, or fill short gaps by interpolation.",
            field=f"{field}.data",
        )
    largest = float(np.abs(values).max())
    if largest > _LARGEST:
        raise errors.InvalidSignal(
            f"{name} has a sample of {largest:.3g}, which no sensor gives.",
            reason="Absurd samples",
            suggestion="Cut the recording there, or send it in another unit.",
            field=f"{field}.data",
        )
    if name == "rr" and (values <= 0).any():
        raise errors.InvalidSignal(
            "rr has intervals of 0 or less.",
            reason="Negative intervals",
            suggestion="Send the time from each beat to the next.",
            field=f"{field}.data",
        )


def check_rate(name: str, rate_hz: float, field: str) -> None:
    """Raises InvalidSignal for a rate that is no use for the signal; `field` is its path."""
    if name not in _RATES_HZ:
        return
    lowest, highest = _RATES_HZ[name]
    if not lowest <= rate_hz <= highest:
        raise errors.InvalidSignal(
            f"{name} cannot have {rate_hz:g} samples a second.",
            reason="Sample rate out of range",
            suggestion=f"Use {lowest:g} to {highest:g} Hz; resample where needed.",
            field=f"{field}.sample_rate",
        )


def damaged(values: Samples, rate_hz: float) -> Mask:
    """Which samples (n,) of a wave are saturated (4 or more alike at its extreme) or dead (0.5 s
    or more alike)."""
    alike = np.flatnonzero(values[1:] == values[:-1])
    marked = np.zeros(len(values), bool)
    if not len(alike):
        return marked
    breaks = np.flatnonzero(np.diff(alike) > 1)
    starts = alike[np.concatenate(([0], breaks + 1))]
    ends = alike[np.concatenate((breaks, [len(alike) - 1]))] + 2
    length = ends - starts
    extreme = (values[starts] == values.max()) | (values[starts] == values.min())
    bad = (length >= _DEAD_S * rate_hz) | (extreme & (length >= _SATURATED_RUN))
    for start, end in zip(starts[bad], ends[bad], strict=True):
        marked[start:end] = True
    return marked


def _check_signal(name: str, signal: Signal, least_s: float, field: str) -> None:
    check_samples(name, signal.data, field)
    check_rate(name, signal.rate_hz, field)
    seconds = duration_s(name, signal)
    if seconds < least_s:
        raise errors.InvalidSignal(
            f"{name} lasts {seconds:.3g} s; at least {least_s:g} s are needed.",
            reason="Signal too short",
            suggestion="Send a longer recording, or check "
            f"{'its unit' if name == 'rr' else 'sample_rate'}.",
            field=f"{field}.data",
        )
    if seconds > LONGEST_S:
        raise errors.InvalidSignal(
            f"{name} lasts {seconds / 3600:.3g} h; at most 24 h are taken.",
            reason="Signal too long",
            suggestion="Send it in parts, or check sample_rate and unit.",
            field=f"{field}.data",
        )
    if name not in {"rr", "temperature"}:
        _check_range(name, signal, field)


def _check_range(name: str, signal: Signal, field: str) -> None:
    low, high = float(signal.data.min()), float(signal.data.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        raise errors.InvalidSignal(
            f"{name} is flat: every sample is {low:g}.",
            reason="Flat signal",
            suggestion="Check the sensor and its contact.",
            field=f"{field}.data",
        )
    if name in _WAVES:
        share = float(damaged(signal.data, signal.rate_hz).mean())
        if share > _MOST_SATURATED:
            raise errors.InvalidSignal(
                f"{name} is saturated or dead for {share:.0%} of its length.",
                reason="Saturated signal",
                suggestion="Lower the gain, check the contact, and record again.",
                field=f"{field}.data",
            )
