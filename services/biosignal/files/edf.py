"""EDF and EDF+C, the European Data Format.

Kemp, Värri, Rosa, Nielsen and Gade, Electroenceph. clin. Neurophysiol. 82 (1992) 391; Kemp and
Olivan, Clin. Neurophysiol. 114 (2003) 1755.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from services.biosignal.files.channel import FIELD, MOST_CHANNELS, Channel, damaged
from services.biosignal.filters import Samples
from services.common import errors

MAGIC = b"0       "
_HEAD = 256
_ANNOTATIONS = "EDF Annotations"
_SAMPLE_BYTES = 2
_FIELDS = {
    "label": 16,
    "transducer": 80,
    "unit": 8,
    "physical minimum": 8,
    "physical maximum": 8,
    "digital minimum": 8,
    "digital maximum": 8,
    "prefiltering": 80,
    "samples of a record": 8,
    "reserved": 32,
}


@dataclass(frozen=True, slots=True)
class _Scale:
    """From digital to physical values."""

    gain: float
    offset: float


def read(data: bytes) -> list[Channel]:
    """The channels of an EDF file, annotations apart.

    Raises InvalidSignal where the header contradicts itself or the length of the file, and
    UnsupportedMedia for EDF+D, whose records do not follow one another.
    """
    if not data.startswith(MAGIC):
        raise damaged("The file is not EDF: it does not begin with version 0.", "Not EDF")
    if len(data) < _HEAD:
        raise damaged("The EDF file ends within its header.", "Truncated file")
    if data[192:197] == b"EDF+D":
        raise errors.UnsupportedMedia(
            "The EDF+ file has gaps between its records (EDF+D).",
            reason="Discontinuous EDF+",
            suggestion="Send each stretch without a gap as its own file.",
            field=FIELD,
        )
    count = _whole(data[252:256], "number of signals")
    if not 1 <= count <= MOST_CHANNELS:
        raise damaged(f"The EDF header names {count} signals; 1 to {MOST_CHANNELS} are read.")
    start = _HEAD * (count + 1)
    if _whole(data[184:192], "length of the header") != start:
        raise damaged(f"The EDF header of {count} signals does not say it is {start} bytes long.")
    if len(data) < start:
        raise damaged("The EDF file ends within its header.", "Truncated file")
    fields = _fields(data[_HEAD:start], count)
    sizes = [_whole(text, "samples of a record") for text in fields["samples of a record"]]
    if min(sizes) < 1:
        raise damaged("A signal of the EDF header has no samples in a record.")
    records = _records(data, len(data) - start, _SAMPLE_BYTES * sum(sizes))
    whole = np.frombuffer(data, "<i2", records * sum(sizes), start).reshape(records, sum(sizes))
    edges = np.concatenate(([0], np.cumsum(sizes))).tolist()
    seconds = _number(data[244:252], "length of a record")
    channels = []
    for place, size in enumerate(sizes):
        label = _text(fields["label"][place])
        if label == _ANNOTATIONS:
            continue
        if seconds <= 0:
            raise damaged(f"The EDF header says a record lasts {seconds:g} s.")
        scale = _scale(label, {name: values[place] for name, values in fields.items()})
        part = whole[:, edges[place] : edges[place + 1]]
        channels.append(
            Channel(
                label,
                _text(fields["unit"][place]),
                size / seconds,
                records * size,
                partial(_physical, part, scale),
            )
        )
    return channels


def _fields(head: bytes, count: int) -> dict[str, list[bytes]]:
    fields, at = {}, 0
    for name, width in _FIELDS.items():
        fields[name] = [head[at + width * n : at + width * (n + 1)] for n in range(count)]
        at += width * count
    return fields


def _records(data: bytes, body: int, record_bytes: int) -> int:
    """Number of records: what the header says, if the file is as long as that; -1 asks the file."""
    declared = _whole(data[236:244], "number of records")
    records, rest = divmod(body, record_bytes)
    if declared == -1:
        declared = records
    if declared < 1:
        raise damaged(f"The EDF header says the file has {declared} records.")
    if declared > records:
        raise damaged(
            f"The EDF header says {declared} records; the file holds {body / record_bytes:.1f}.",
            "Truncated file",
        )
    if declared < records or rest:
        raise damaged(
            f"The EDF header says {declared} records of {record_bytes} bytes, and the file goes "
            f"on for {body - declared * record_bytes} bytes after them."
        )
    return records


def _scale(label: str, fields: dict[str, bytes]) -> _Scale:
    low, high, lowest, highest = (
        _number(fields[f"{kind} {end}"], f"{kind} {end} of {label}")
        for kind in ("physical", "digital")
        for end in ("minimum", "maximum")
    )
    if low == high or lowest >= highest:
        raise damaged(f"The EDF header gives {label} no range of values.")
    gain = (high - low) / (highest - lowest)
    return _Scale(gain, low - gain * lowest)


def _physical(part: NDArray[np.int16], scale: _Scale) -> Samples:
    values = part.astype(float).ravel()
    values *= scale.gain
    values += scale.offset
    return values


def _text(field: bytes) -> str:
    return field.decode("latin-1").strip(" \0")


def _whole(field: bytes, name: str) -> int:
    value = _number(field, name)
    if value != int(value):
        raise damaged(f"The EDF header has {value:g} as its {name}.")
    return int(value)


def _number(field: bytes, name: str) -> float:
    try:
        value = float(_text(field))
    except ValueError:
        raise damaged(f"The EDF header has no number as its {name}.") from None
    if not isfinite(value):
        raise damaged(f"The EDF header has no number as its {name}.")
    return value
