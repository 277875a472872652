"""One record of the WaveForm DataBase: a zip of a .hea file and the .dat files it names.

Header and formats: header(5) and signal(5) of the WFDB Applications Guide, PhysioNet (Goldberger et
al., Circulation 101 (2000) e215). Formats 16 and 212 are read.
"""

from __future__ import annotations

import io
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from services.biosignal.files.channel import FIELD, Channel, damaged
from services.biosignal.filters import Samples
from services.common import errors

MAGIC = b"PK\x03\x04"
_ENTRY = b"PK\x01\x02"
_MOST_ENTRIES = 256
_MOST_SIGNALS = 64
_HEADER_BYTES = 64 * 1024
_UNPACKED_BYTES = 128 * 1024 * 1024
_BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    UnicodeDecodeError,
    ValueError,
)

_USUAL_RATE_HZ, _USUAL_GAIN = 250.0, 200.0
_FORMAT = re.compile(r"(\d{1,3})(?:x(\d{1,4}))?(?::(\d{1,9}))?(?:\+(\d{1,9}))?")
_GAIN = re.compile(r"([-+.\deE]+)(?:\((-?\d{1,9})\))?(?:/(\S+))?")
_MISSING = {16: -(1 << 15), 212: -(1 << 11)}


@dataclass(frozen=True, slots=True)
class _Line:
    """The line of a header that describes one signal."""

    file: str
    format: int
    per_frame: int
    offset: int
    gain: float
    baseline: int
    unit: str
    name: str


def read(data: bytes) -> list[Channel]:
    """The channels of the one record in a zip.

    Raises InvalidSignal where the zip or the header is damaged, or contradicts the lengths of the
    files; PayloadTooLarge where it unpacks to over 128 MiB; UnsupportedMedia for other formats.
    """
    files = _files(data)
    headers = [name for name in files if name.suffix == ".hea"]
    if len(headers) != 1:
        raise damaged(
            f"The zip holds {len(headers)} WFDB headers (.hea); send exactly one record.",
            "Not one record",
        )
    rate_hz, frames, lines = _header(files[headers[0]].decode("latin-1"))
    return [
        channel
        for name in dict.fromkeys(line.file for line in lines)
        for channel in _channels(
            files.get(headers[0].parent / name),
            [x for x in lines if x.file == name],
            rate_hz,
            frames,
        )
    ]


def _files(data: bytes) -> Mapping[PurePosixPath, bytes]:
    """The header and signal files of a zip, by path."""
    if not data.startswith(MAGIC):
        raise damaged("A WFDB record must be a zip of its .hea and .dat files.", "Not a zip")
    if data.count(_ENTRY) > _MOST_ENTRIES:
        raise damaged(f"The zip holds more than {_MOST_ENTRIES} files.", "Not one record")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _unpacked(archive)
    except _BROKEN_ZIP:
        raise damaged("The zip is damaged or encrypted.") from None


def _unpacked(archive: zipfile.ZipFile) -> Mapping[PurePosixPath, bytes]:
    files: dict[PurePosixPath, bytes] = {}
    left = _UNPACKED_BYTES
    for entry in archive.infolist():
        path = PurePosixPath(entry.filename)
        if path.is_absolute() or ".." in path.parts or set(entry.filename) & {"\\", ":", "\0"}:
            raise damaged("The zip has a file whose path leads out of it.", "Path out of the zip")
        if path.suffix not in {".hea", ".dat"} or path.name.startswith("."):
            continue
        if path in files:
            raise damaged(f"The zip holds {path} twice.", "Not one record")
        most = min(left, _HEADER_BYTES) if path.suffix == ".hea" else left
        with archive.open(entry) as file:
            files[path] = file.read(most + 1)
        if len(files[path]) > most:
            raise errors.PayloadTooLarge(
                f"{path} unpacks to more than {most} bytes.",
                reason="Zip unpacks to too much",
                suggestion="Send a shorter recording.",
                field=FIELD,
            )
        if len(files[path]) != entry.file_size:
            raise damaged(f"The zip lies about the size of {path}.")
        left -= len(files[path])
    return files


def _header(text: str) -> tuple[float, int, list[_Line]]:
    """Frames a second, number of frames (0 where not said), and the signals."""
    rows = [line.split() for line in text.splitlines() if line.strip() and line[0] != "#"]
    if not rows or len(rows[0]) < 2:
        raise damaged("The WFDB header has no record line.")
    record = rows[0]
    if "/" in record[0]:
        raise errors.UnsupportedMedia(
            "The WFDB record is made of segments.",
            reason="Multi-segment record",
            suggestion="Send one segment as a record of its own.",
            field=FIELD,
        )
    count = _whole(record[1], "number of signals")
    rate_hz = _number(record[2].split("/")[0], "rate") if len(record) > 2 else _USUAL_RATE_HZ
    frames = _whole(record[3], "number of samples") if len(record) > 3 else 0
    if not 1 <= count <= _MOST_SIGNALS or len(rows) - 1 != count:
        raise damaged(f"The WFDB header says {count} signals and describes {len(rows) - 1}.")
    if rate_hz <= 0 or frames < 0:
        raise damaged("The WFDB header has a rate or a length below 0.")
    return rate_hz, frames, [_line(row) for row in rows[1:]]


def _line(row: list[str]) -> _Line:
    found = _FORMAT.fullmatch(row[1]) if len(row) > 1 else None
    if not found:
        raise damaged("The WFDB header has a signal without a format.")
    number, per_frame, skew, offset = (int(part or 0) for part in found.groups())
    if number not in _MISSING or skew:
        raise errors.UnsupportedMedia(
            f"WFDB format {row[1]} is not read; 16 and 212 without skew are.",
            reason="Unsupported WFDB format",
            suggestion="Write the record in format 16.",
            field=FIELD,
        )
    scale = _GAIN.fullmatch(row[2]) if len(row) > 2 else None
    if len(row) > 2 and not scale:
        raise damaged(f"The WFDB header has {row[2][:40]!r} as a gain.")
    gain = _number(scale[1], "gain") if scale else 0.0
    zero = _whole(row[4], "ADC zero") if len(row) > 4 else 0
    return _Line(
        file=row[0],
        format=number,
        per_frame=max(1, per_frame),
        offset=offset,
        gain=gain or _USUAL_GAIN,
        baseline=int(scale[2]) if scale and scale[2] else zero,
        unit=scale[3] if scale and scale[3] else "mV",
        name=" ".join(row[8:]),
    )


def _channels(data: bytes | None, lines: list[_Line], rate_hz: float, frames: int) -> list[Channel]:
    """The channels of one signal file."""
    first = lines[0]
    if data is None:
        raise damaged(f"The zip lacks {first.file[:80]!r}, which its header names.", "File missing")
    if any((line.format, line.offset) != (first.format, first.offset) for line in lines):
        raise damaged(f"The WFDB header gives {first.file[:80]!r} several formats.")
    width = sum(line.per_frame for line in lines)
    held = _held(len(data) - first.offset, first.format)
    frames = frames or held // width
    spare = 1 if first.format == 212 else 0
    if not frames or held < frames * width:
        raise damaged(
            f"The WFDB header says {frames * width} samples; {first.file[:80]!r} holds {held}.",
            "Truncated file",
        )
    if held > frames * width + spare:
        raise damaged(
            f"The WFDB header says {frames * width} samples; {first.file[:80]!r} goes on to {held}."
        )
    counts = _DECODE[first.format](data, first.offset)[: frames * width].reshape(frames, width)
    channels, at = [], 0
    for line in lines:
        part = counts[:, at : at + line.per_frame]
        at += line.per_frame
        channels.append(
            Channel(
                line.name,
                line.unit,
                rate_hz * line.per_frame,
                frames * line.per_frame,
                partial(_physical, part, line),
            )
        )
    return channels


def _held(size: int, number: int) -> int:
    """Samples in so many bytes."""
    if number == 16:
        return max(0, size) // 2
    pairs, rest = divmod(max(0, size), 3)
    return 2 * pairs + rest // 2


def _words(data: bytes, offset: int) -> NDArray[np.int16]:
    return np.frombuffer(data, "<i2", (len(data) - offset) // 2, offset)


def _pairs(data: bytes, offset: int) -> NDArray[np.int16]:
    """Two 12-bit samples in each three bytes."""
    raw = np.frombuffer(data, np.uint8, offset=offset)
    triples = np.pad(raw, (0, -len(raw) % 3)).astype(np.int16).reshape(-1, 3)
    found = np.empty((len(triples), 2), np.int16)
    found[:, 0] = triples[:, 0] | (triples[:, 1] & 0x0F) << 8
    found[:, 1] = triples[:, 2] | (triples[:, 1] & 0xF0) << 4
    found[found >= 1 << 11] -= 1 << 12
    return found.ravel()


_DECODE = {16: _words, 212: _pairs}


def _physical(part: NDArray[np.int16], line: _Line) -> Samples:
    values = part.astype(float).ravel()
    values[values == _MISSING[line.format]] = np.nan
    values -= line.baseline
    values /= line.gain
    return values


def _whole(text: str, name: str) -> int:
    value = _number(text, name)
    if value != int(value):
        raise damaged(f"The WFDB header has {value:g} as its {name}.")
    return int(value)


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise damaged(f"The WFDB header has {text[:40]!r} as its {name}.")
    return value
