"""Units of signals, and whether the values can be in them at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from services.biosignal.filters import Samples
from services.biosignal.signals import Signal
from services.common import errors

Convert = Callable[[Samples], Samples]


def _times(factor: float) -> Convert:
    return lambda values: values * factor


@dataclass(frozen=True, slots=True)
class Quantity:
    """One kind of value: its units, and the range of `level` (in `base`) that bodies have."""

    base: str
    units: Mapping[str, Convert]
    level: Callable[[Samples, float], float]
    level_name: str
    lowest: float
    highest: float


def _swing(values: Samples, rate_hz: float) -> float:
    """Median range over 2 s."""
    width = max(2, min(len(values), int(2 * rate_hz)))
    parts = values[: len(values) // width * width].reshape(-1, width)
    return float(np.median(parts.max(axis=1) - parts.min(axis=1)))


def _median(values: Samples, rate_hz: float) -> float:
    return float(np.median(values))


_VOLTAGE = Quantity(
    "mV",
    {"mV": _times(1), "uV": _times(1e-3), "V": _times(1e3)},
    _swing,
    "swing of a beat",
    0.02,
    20,
)
_CONDUCTANCE = Quantity(
    "uS",
    {"uS": _times(1), "nS": _times(1e-3), "mS": _times(1e3), "S": _times(1e6)},
    _median,
    "level",
    0.02,
    100,
)
_INTERVAL = Quantity("ms", {"ms": _times(1), "s": _times(1e3)}, _median, "median", 250, 2500)
_TEMPERATURE = Quantity(
    "C",
    {
        "C": _times(1),
        "F": lambda values: (values - 32) / 1.8,
        "K": lambda values: values - 273.15,
    },
    _median,
    "level",
    10,
    45,
)
_QUANTITIES = {
    "ecg": _VOLTAGE,
    "eda": _CONDUCTANCE,
    "rr": _INTERVAL,
    "temperature": _TEMPERATURE,
}
_NAMES = {
    "microvolt": "uV",
    "microvolts": "uV",
    "millivolt": "mV",
    "millivolts": "mV",
    "volt": "V",
    "volts": "V",
    "microsiemens": "uS",
    "nanosiemens": "nS",
    "millisiemens": "mS",
    "siemens": "S",
    "milliseconds": "ms",
    "seconds": "s",
    "celsius": "C",
    "degc": "C",
    "fahrenheit": "F",
    "degf": "F",
    "kelvin": "K",
}
_COUNTS = "adc"
_MICRO = str.maketrans({"\N{MICRO SIGN}": "u", "\N{GREEK SMALL LETTER MU}": "u", "°": None})


def check(name: str, signal: Signal, where: str = "signals") -> None:
    """Raises InvalidSignal for a unit that the signal cannot have, or counts without a gain."""
    _scale(name, signal, where)


def convert(name: str, signal: Signal, where: str = "signals") -> Samples:
    """Samples (n,) in mV, µS, ms or °C; ppg and respiration as they are, their unit is free.

    Raises InvalidSignal for a unit that the signal cannot have, and for values that a body does
    not give in that unit, naming the unit that fits.
    """
    quantity = _QUANTITIES.get(name)
    unit, scale = _scale(name, signal, where)
    values = scale(signal.data)
    if quantity is None:
        return values
    level = quantity.level(values, signal.rate_hz)
    if not _plausible(level, quantity):
        raise _implausible(name, signal, unit, level, quantity, where)
    return values


def _scale(name: str, signal: Signal, where: str) -> tuple[str, Convert]:
    """The unit of a signal and its way into the base unit."""
    quantity = _QUANTITIES.get(name)
    if quantity is None:
        return signal.unit, _times(1)
    if name == "ecg" and signal.unit.strip().lower() == _COUNTS:
        return _COUNTS, _times(1 / _gain(signal, where))
    unit = _canonical(signal.unit, quantity)
    if unit is None:
        known = [*quantity.units, *([_COUNTS] if name == "ecg" else [])]
        raise errors.InvalidSignal(
            f"{name} has no unit." if not signal.unit else f"{name} has no unit {signal.unit!r}.",
            reason="Unknown unit",
            suggestion=f"Use one of {', '.join(known)}.",
            field=f"{where}.{name}.unit",
        )
    return unit, quantity.units[unit]


def _gain(signal: Signal, where: str) -> float:
    gain = signal.adc_gain
    if gain is None or not 0 < gain < float("inf"):
        raise errors.InvalidSignal(
            "ecg is in adc counts without a gain.",
            reason="No adc_gain",
            suggestion="Send adc_gain, the counts per mV, such as 200.",
            field=f"{where}.ecg.adc_gain",
        )
    return gain


def _canonical(unit: str, quantity: Quantity) -> str | None:
    plain = unit.strip().translate(_MICRO)
    plain = _NAMES.get(plain.lower(), plain)
    if plain in quantity.units:
        return plain
    alike = [known for known in quantity.units if known.lower() == plain.lower()]
    return alike[0] if len(alike) == 1 else None


def _plausible(level: float, quantity: Quantity) -> bool:
    return quantity.lowest <= level <= quantity.highest


def _implausible(
    name: str, signal: Signal, unit: str, level: float, quantity: Quantity, where: str
) -> errors.InvalidSignal:
    usual = f"{quantity.lowest:g} to {quantity.highest:g} {quantity.base}"
    advice = "Check the unit and the scale of the values."
    fitting = [
        other
        for other, change in quantity.units.items()
        if _plausible(quantity.level(change(signal.data), signal.rate_hz), quantity)
    ]
    if unit == _COUNTS:
        advice = "Check adc_gain, the counts per mV."
    elif fitting:
        advice = f"The values fit {' or '.join(fitting)}: send that unit."
    return errors.InvalidSignal(
        f"{name} cannot be in {unit}: its {quantity.level_name} would be {level:.4g} "
        f"{quantity.base}, and bodies have {usual}.",
        reason="Implausible values for the unit",
        suggestion=advice,
        field=f"{where}.{name}.unit",
    )
