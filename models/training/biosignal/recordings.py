"""The recordings that the biosignal analysis is measured on: MIT-BIH and WESAD."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DATA = Path(os.environ.get("DATA", "../shared/data")) / "biosignal"

NORMAL = frozenset("NLR")
FIBRILLATION = frozenset({"(AFIB", "(AFL"})
"""Rhythms that are atrial fibrillation or flutter."""

_BEATS = {
    **{1: "N", 2: "L", 3: "R", 4: "a", 5: "V", 6: "F", 7: "J", 8: "A", 9: "S", 10: "E", 11: "j"},
    **{12: "/", 13: "Q", 25: "B", 30: "?", 34: "e", 35: "n", 38: "f", 41: "r"},
}
_SKIP, _NUMBER, _SUBTYPE, _CHANNEL, _NOTE = 59, 60, 61, 62, 63


@dataclass(frozen=True, slots=True, eq=False)
class Electrocardiogram:
    """First lead in mV (n,), beat times in s (m,), and the annotators' one-letter kinds (m,) and
    rhythms (m,), such as "(N"."""

    name: str
    rate_hz: float
    millivolts: NDArray[np.float64]
    beats_s: NDArray[np.float64]
    kinds: NDArray[np.str_]
    rhythms: NDArray[np.str_]


@dataclass(frozen=True, slots=True, eq=False)
class Wearing:
    """One subject of WESAD: features by name (n,) of windows of 295/64 s in order of recording
    within each condition, and the condition (n,): 0 amusement, 1 baseline, 2 stress."""

    name: str
    features: dict[str, NDArray[np.float64]]
    condition: NDArray[np.intp]


def electrocardiograms() -> Iterator[Electrocardiogram]:
    """The records of MIT-BIH (WFDB format 212) that are there."""
    for header in sorted((DATA / "mitdb").glob("*.hea")):
        lines = header.read_text().splitlines()
        rate_hz = float(lines[0].split()[2])
        lead = lines[1].split()
        gain, zero = float(lead[2].split("(")[0].split("/")[0]), float(lead[4])
        counts = _format_212(header.with_suffix(".dat"))
        samples, kinds, rhythms = _annotations(header.with_suffix(".atr"))
        yield Electrocardiogram(
            header.stem, rate_hz, (counts - zero) / gain, samples / rate_hz, kinds, rhythms
        )


def wearings() -> Iterator[Wearing]:
    """The subjects of WESAD whose features are there."""
    for path in sorted((DATA / "wesad").glob("*.csv")):
        with path.open() as file:
            rows = list(csv.DictReader(file))
        columns = {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name}
        condition = np.argmax([columns[label] for label in "012"], axis=0)
        yield Wearing(path.stem.split("_")[0], columns, condition)


def _format_212(path: Path) -> NDArray[np.float64]:
    packed = np.fromfile(path, np.uint8).reshape(-1, 3).astype(np.int16)
    first = packed[:, 0] | ((packed[:, 1] & 0x0F) << 8)
    return np.where(first > 2047, first - 4096, first).astype(float)


def _annotations(path: Path) -> tuple[NDArray[np.intp], NDArray[np.str_], NDArray[np.str_]]:
    words = np.fromfile(path, "<u2").tolist()
    samples, kinds, rhythms = [], [], []
    at = place = 0
    rhythm = ""
    while words[at] != 0:
        code, value = words[at] >> 10, words[at] & 0x3FF
        if code == _SKIP:
            jump = (words[at + 1] << 16) | words[at + 2]
            place += jump - (1 << 32) if jump >= 1 << 31 else jump
            at += 3
            continue
        if code == _NOTE:
            note = np.array(words[at + 1 : at + 1 + (value + 1) // 2], "<u2").tobytes()
            text = note[:value].rstrip(b"\0").decode("latin-1")
            rhythm = text if text.startswith("(") else rhythm
            at += (value + 1) // 2
        elif code not in (_NUMBER, _SUBTYPE, _CHANNEL):
            place += value
            if code in _BEATS:
                samples.append(place)
                kinds.append(_BEATS[code])
                rhythms.append(rhythm)
        at += 1
    return np.array(samples), np.array(kinds), np.array(rhythms)
