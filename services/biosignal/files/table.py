"""CSV: a header row that names signals, their units and rates, then one row per sample.

A column of the header reads `NAME (UNIT)`, or `NAME (UNIT) @ RATE Hz`. Columns without a rate
share that of a column of times, `time (s)` or `time (ms)`, which must be even. A column with a rate
of its own may end before the others: its last cells are then empty.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from math import isfinite

import numpy as np

from services.biosignal.files.channel import (
    FIELD,
    MOST_CHANNELS,
    MOST_SAMPLES,
    Channel,
    damaged,
)
from services.biosignal.filters import Samples
from services.common import errors

_COLUMN = re.compile(
    r"(?P<name>[^()\[\]@]+?)\s*(?:[(\[]\s*(?P<unit>[^)\]]*?)\s*[)\]])?"
    r"\s*(?:@\s*(?P<rate>[\d.]+)\s*hz)?",
    re.IGNORECASE,
)
_TIMES = {"time", "t", "timestamp", "elapsed"}
_TIME_UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "milliseconds": 1e-3}
_BATCH_CELLS = 200_000
_LONGEST_NAME = 100
_WITHOUT_RATE = {"rr", "rri", "ibi", "nn"}


@dataclass(slots=True)
class _Column:
    """One column as far as it is read; it has ended at its first empty cell."""

    name: str
    unit: str
    rate_hz: float | None
    parts: list[Samples] = field(default_factory=list)
    ended: bool = False

    @property
    def is_time(self) -> bool:
        return self.name.lower() in _TIMES

    @property
    def values(self) -> Samples:
        return np.concatenate(self.parts) if self.parts else np.zeros(0)


def read(data: bytes) -> list[Channel]:
    """The channels of a CSV file in UTF-8, with or without a byte-order mark.

    Raises UnsupportedMedia for what is no text, and InvalidSignal, naming the line, for a header
    that names no columns, ragged rows, cells that are no numbers, gaps, and uneven times.
    """
    rows = csv.reader(_lines(data), strict=True)
    try:
        columns = _columns(next(rows, []))
        while batch := list(islice(rows, max(1, _BATCH_CELLS // len(columns)))):
            _take(batch, columns, rows.line_num - len(batch) + 1)
    except csv.Error as error:
        raise damaged(f"Line {rows.line_num} of the CSV file is malformed: {error}.") from None
    except UnicodeDecodeError:
        raise _not_text() from None
    shared = _shared_rate(columns)
    return [_channel(column, shared) for column in columns if not column.is_time]


def _lines(data: bytes) -> Iterator[str]:
    if b"\0" in data[:4096] or data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise _not_text()
    text = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="")
    return (line for line in text if not line.isspace())


def _not_text() -> errors.UnsupportedMedia:
    return errors.UnsupportedMedia(
        "The file is not CSV in UTF-8.",
        reason="Not UTF-8 text",
        suggestion="Send EDF, a zip of one WFDB record, or CSV in UTF-8.",
        field=FIELD,
    )


def _columns(header: list[str]) -> list[_Column]:
    if len(header) == 1 and re.search(r"[;\t|]", header[0]):
        raise damaged(
            "The cells of the CSV file are not separated by commas.", "Wrong delimiter of CSV"
        )
    if not 1 <= len(header) <= MOST_CHANNELS:
        raise damaged(f"The CSV header names {len(header)} columns.", "No CSV header")
    columns = []
    for cell in header:
        found = _COLUMN.fullmatch(cell.strip()) if len(cell) <= _LONGEST_NAME else None
        if not found or _is_number(cell):
            raise errors.InvalidSignal(
                f"The CSV header has {cell[:40]!r} as the name of a column.",
                reason="No CSV header",
                suggestion="Begin with a row such as: time (s),ecg (mV),eda (uS) @ 4 Hz",
                field=FIELD,
            )
        rate = found["rate"]
        if rate and not _is_number(rate):
            raise damaged(f"The CSV header has {rate[:40]!r} as a rate.")
        columns.append(_Column(found["name"], found["unit"] or "", float(rate) if rate else None))
    return columns


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _take(batch: list[list[str]], columns: list[_Column], line: int) -> None:
    """Adds rows, the first of that number in the file, to their columns."""
    for place, row in enumerate(batch):
        if len(row) != len(columns):
            raise damaged(
                f"Row {line + place} of the CSV file has {len(row)} cells; "
                f"the header names {len(columns)} columns.",
                "Ragged rows",
            )
    for column, cells in zip(columns, zip(*batch, strict=True), strict=True):
        _extend(column, [cell.strip() for cell in cells], line)


def _extend(column: _Column, cells: list[str], line: int) -> None:
    count = next((n for n, cell in enumerate(cells) if not cell), len(cells))
    later = next((n for n in range(count, len(cells)) if cells[n]), None)
    if column.ended and count:
        later = 0
    if later is not None:
        raise errors.InvalidSignal(
            f"{column.name} has no value before row {line + later} of the CSV file.",
            reason="Gap in a column",
            suggestion="Fill short gaps by interpolation. A signal of a lower rate stands in the "
            "first rows, with its rate in the header: eda (uS) @ 4 Hz",
            field=FIELD,
        )
    column.ended = count < len(cells)
    try:
        values = np.array(cells[:count], dtype=float)
    except ValueError:
        values = np.array([float(cell) if _is_number(cell) else np.nan for cell in cells[:count]])
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise errors.InvalidSignal(
            f"{column.name} is {cells[wrong[0]][:40]!r} in row {line + wrong[0]} of the CSV file, "
            "which is no number.",
            reason="NaN or text among the samples",
            suggestion="Cut the recording there, or fill short gaps by interpolation.",
            field=FIELD,
        )
    column.parts.append(values)
    if sum(map(len, column.parts)) > MOST_SAMPLES:
        raise errors.PayloadTooLarge(
            f"{column.name} has more than {MOST_SAMPLES} samples.",
            suggestion="Send the recording in parts.",
            field=FIELD,
        )


def _shared_rate(columns: list[_Column]) -> float | None:
    """The rate of the times; None without times, or where every column has its own."""
    times = [column for column in columns if column.is_time]
    if not times or all(x.rate_hz or x.is_time or _is_beats(x) for x in columns):
        return None
    scale = _TIME_UNITS.get(times[0].unit.lower())
    if scale is None:
        raise damaged(f"Times in {times[0].unit[:40]!r} are not read; s and ms are.", "Times")
    seconds = times[0].values * scale
    span = float(seconds[-1] - seconds[0]) if len(seconds) > 1 else 0.0
    if span <= 0 or not isfinite(span):
        raise damaged("The times of the CSV file do not increase.", "Uneven times")
    rate_hz = (len(seconds) - 1) / span
    off = np.abs(seconds - seconds[0] - np.arange(len(seconds)) / rate_hz)
    if off.max() >= 1 / rate_hz:
        raise errors.InvalidSignal(
            f"The times of the CSV file are uneven: sample {int(off.argmax()) + 1} is "
            f"{off.max():.4g} s away from where {rate_hz:.4g} Hz would put it.",
            reason="Uneven times",
            suggestion="Resample the signals evenly, or cut the recording at its gaps.",
            field=FIELD,
        )
    return rate_hz


def _is_beats(column: _Column) -> bool:
    return column.name.lower() in _WITHOUT_RATE


def _channel(column: _Column, shared_hz: float | None) -> Channel:
    rate_hz = column.rate_hz or shared_hz or 0.0
    if not rate_hz and not _is_beats(column):
        raise errors.InvalidSignal(
            f"The CSV file gives no rate for {column.name}.",
            reason="No rate",
            suggestion="Add a column time (s), or name the rate in the header: ecg (mV) @ 256 Hz",
            field=FIELD,
        )
    values = column.values
    return Channel(column.name, column.unit, rate_hz, len(values), lambda: values)
