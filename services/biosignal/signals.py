"""The signals a client can send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.biosignal.filters import Samples

NAMES = ("ecg", "ppg", "rr", "eda", "respiration", "temperature")


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """One signal, evenly sampled.

    data: (n,) samples in `unit`. rate_hz: samples a second; not used for rr, which has one value
    a beat. adc_gain: counts per mV for unit "adc".
    """

    data: Samples
    rate_hz: float
    unit: str
    adc_gain: float | None = None


Recording = Mapping[str, Signal]
"""Signals that start together, by name of NAMES."""
