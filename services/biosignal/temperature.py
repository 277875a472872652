"""Skin temperature."""

from __future__ import annotations

import numpy as np

from services.biosignal.filters import Samples

METHOD = "temperature-linear"
VERSION = "1.0.0"

LEAST_TREND_S = 30.0


def trend(celsius: Samples, rate_hz: float) -> float:
    """Slope in °C a minute of the least-squares line through temperatures (n,), n >= 2."""
    time_min = np.arange(len(celsius)) / rate_hz / 60
    time_min -= time_min.mean()
    return float(time_min @ (celsius - celsius.mean()) / (time_min @ time_min))
