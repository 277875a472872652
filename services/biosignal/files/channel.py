"""What every kind of file holds: named channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.biosignal.filters import Samples
from services.common import errors

FIELD = "recording"
"""Where the file is in the request."""
MOST_CHANNELS = 512
MOST_SAMPLES = 12_000_000
"""Most samples that are read of a file: one signal of 24 h at 128 Hz, or of 13 h at 256 Hz."""


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """One channel as its file names it; `read` gives its samples (length,) in `unit`."""

    name: str
    unit: str
    rate_hz: float
    length: int
    read: Callable[[], Samples]


def damaged(message: str, reason: str = "Damaged file") -> errors.InvalidSignal:
    """The error for a file that is not what it says it is."""
    return errors.InvalidSignal(
        message, reason=reason, suggestion="Write the file anew, and send all of it.", field=FIELD
    )
