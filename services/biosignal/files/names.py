"""Which signal a channel is, by the names that recorders and databases give it."""

from __future__ import annotations

import re

_LEADS = ("ii", "mlii", "i", "iii", "avf", "avl", "avr", "mli", "mliii")
_CHEST_LEADS = tuple(f"{kind}{n}" for kind in ("v", "mv") for n in range(1, 7))

WHOLE_NAMES: dict[str, str] = {
    **dict.fromkeys((*_LEADS, *_CHEST_LEADS, "electrocardiogram"), "ecg"),
    **dict.fromkeys(("photoplethysmogram", "pulse wave", "blood volume pulse"), "ppg"),
    **dict.fromkeys(("rr", "rri", "ibi", "nn", "rr interval", "rr intervals"), "rr"),
    **dict.fromkeys(("skin conductance", "electrodermal activity", "sc", "scl"), "eda"),
    **dict.fromkeys(
        ("breathing", "chest", "thorax", "abdomen", "thor res", "abdo res"), "respiration"
    ),
    **dict.fromkeys(
        ("temp", "temperature", "skin temp", "skin temperature", "temp skin", "tskin"),
        "temperature",
    ),
}
"""Names, in lower case and with single spaces, that mean a signal as a whole."""

WORDS: dict[str, str] = {
    **dict.fromkeys(("ecg", "ekg"), "ecg"),
    **dict.fromkeys(("ppg", "bvp", "pleth"), "ppg"),
    **dict.fromkeys(("eda", "gsr"), "eda"),
    **dict.fromkeys(("resp", "respiration"), "respiration"),
}
"""Words that mean a signal as the first or the last of a name: "ECG V1", "wrist BVP", "EKG2"."""


def signal_of(channel: str) -> str | None:
    """The signal that a channel of that name holds; None where it is another thing."""
    words = re.sub(r"[^a-z0-9]+", " ", channel.lower()).split()
    if not words:
        return None
    whole = WHOLE_NAMES.get(" ".join(words))
    return whole or WORDS.get(words[0].rstrip("0123456789")) or WORDS.get(words[-1])


def preference(channel: str) -> int:
    """Which of several channels of a signal is taken, lowest first: lead II shows R peaks best."""
    words = re.sub(r"[^a-z0-9]+", " ", channel.lower()).split()
    return 0 if {"ii", "mlii"} & set(words) else 1
