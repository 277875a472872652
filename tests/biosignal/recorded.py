"""EDF, WFDB and CSV files of signals, written as their standards say."""

import io
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Channel:
    """A channel to write: samples in `unit`, within `reach` of 0."""

    name: str
    unit: str
    rate_hz: int
    data: Samples
    reach: float = 10.0


def edf(*channels: Channel, changes: Mapping[str, Any] | None = None) -> bytes:
    """An EDF file of records of 1 s; `changes` are to the fields of its header."""
    seconds = len(channels[0].data) // channels[0].rate_hz
    fields = {
        "version": "0",
        "header bytes": 256 * (len(channels) + 1),
        "reserved": "",
        "records": seconds,
        "record length": 1,
        "signals": len(channels),
        "samples": [channel.rate_hz for channel in channels],
        "digital maximum": 32767,
        **(changes or {}),
    }

    def padded(value: object, width: int) -> bytes:
        return str(value).ljust(width).encode("latin-1")

    head = padded(fields["version"], 8) + padded("X X X X", 80) + padded("Startdate X X X X", 80)
    head += b"01.01.2600.00.00" + padded(fields["header bytes"], 8) + padded(fields["reserved"], 44)
    head += padded(fields["records"], 8) + padded(fields["record length"], 8)
    head += padded(fields["signals"], 4)
    columns = (
        (16, [channel.name for channel in channels]),
        (80, [""] * len(channels)),
        (8, [channel.unit for channel in channels]),
        (8, [-channel.reach for channel in channels]),
        (8, [channel.reach for channel in channels]),
        (8, [-32768] * len(channels)),
        (8, [fields["digital maximum"]] * len(channels)),
        (80, [""] * len(channels)),
        (8, fields["samples"]),
        (32, [""] * len(channels)),
    )
    head += b"".join(padded(value, width) for width, values in columns for value in values)
    parts = []
    for channel in channels:
        digital = np.rint((channel.data / channel.reach + 1) / 2 * 65535 - 32768).astype("<i2")
        parts.append(digital.reshape(seconds, -1))
    return head + np.hstack(parts).tobytes()


def counts(values: Samples, gain: float) -> NDArray[np.int16]:
    """Values as the counts of a converter."""
    return np.rint(values * gain).astype(np.int16)


def pairs(values: NDArray[np.int16]) -> bytes:
    """WFDB format 212."""
    low, high = values[::2].astype(int) & 0xFFF, values[1::2].astype(int) & 0xFFF
    packed = np.stack([low & 0xFF, (low >> 8) | (high >> 8) << 4, high & 0xFF], axis=1)
    return packed.astype(np.uint8).tobytes()


def words(values: NDArray[np.int16]) -> bytes:
    """WFDB format 16."""
    return values.astype("<i2").tobytes()


def zipped(files: Mapping[str, bytes | str]) -> bytes:
    """A zip of those files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def with_declared_size(archive: bytes, size: int) -> bytes:
    """A zip whose first file claims to unpack to so many bytes."""
    data = bytearray(archive)
    struct.pack_into("<I", data, 22, size)
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, size)
    return bytes(data)


def csv(header: str, *columns: Samples) -> bytes:
    """A CSV file of columns; the shorter ones end in empty cells."""
    longest = max(map(len, columns))
    rows = (
        ",".join(f"{column[n]:.6g}" if n < len(column) else "" for column in columns)
        for n in range(longest)
    )
    return "\n".join([header, *rows, ""]).encode()
