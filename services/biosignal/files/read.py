"""From the bytes of a recorded file to its signals."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from services.biosignal.files import edf, table, wfdb
from services.biosignal.files.channel import FIELD, MOST_SAMPLES, Channel
from services.biosignal.files.names import preference, signal_of
from services.biosignal.remarks import Remark
from services.biosignal.signals import NAMES, Recording, Signal
from services.common import errors

_READERS: Mapping[str, Callable[[bytes], list[Channel]]] = {
    "edf": edf.read,
    "wfdb": wfdb.read,
    "csv": table.read,
}


def read(data: bytes, kind: str = "") -> tuple[Recording, list[Remark]]:
    """The signals of a file of that kind, "edf", "wfdb" or "csv"; empty lets the content decide.

    Remarks name the channels left out: those that are no signal known here, and those of a signal
    that another channel has given. Raises InvalidRequest for another kind, InvalidSignal for a
    damaged file or one without a known signal, UnsupportedMedia and PayloadTooLarge.
    """
    kind = kind.strip().lower() or _kind(data)
    if kind not in _READERS:
        raise errors.InvalidRequest(
            f"{kind[:40]!r} is not a format of recordings.",
            field="recording_format",
            suggestion=f"Use one of {', '.join(_READERS)}, or leave it out.",
        )
    channels = _READERS[kind](data)
    chosen: dict[str, Channel] = {}
    for channel in sorted(channels, key=lambda one: preference(one.name)):
        signal = signal_of(channel.name)
        if signal:
            chosen.setdefault(signal, channel)
    if not chosen:
        listed = ", ".join(channel.name[:40] for channel in channels[:10])
        raise errors.InvalidSignal(
            f"No channel of the file is a signal that is read here: {listed}.",
            reason="No known channel",
            suggestion="Name channels ECG, PPG, RR, EDA, RESP or TEMP.",
            field=FIELD,
        )
    total = sum(channel.length for channel in chosen.values())
    if total > MOST_SAMPLES:
        raise errors.PayloadTooLarge(
            f"The signals of the file have {total} samples; at most {MOST_SAMPLES} are read.",
            suggestion="Send the recording in parts, or at a lower rate.",
            field=FIELD,
        )
    recording = {
        name: Signal(one.read(), one.rate_hz, one.unit)
        for name in NAMES
        if (one := chosen.get(name))
    }
    return recording, _left_out(channels, chosen)


def _kind(data: bytes) -> str:
    if data.startswith(edf.MAGIC):
        return "edf"
    if data.startswith(wfdb.MAGIC):
        return "wfdb"
    return "csv"


def _left_out(channels: list[Channel], chosen: Mapping[str, Channel]) -> list[Remark]:
    unused = [one.name[:40] for one in channels if one not in chosen.values()]
    if not unused:
        return []
    used = ", ".join(f"{name} is {channel.name[:40]}" for name, channel in chosen.items())
    listed = ", ".join(unused[:10]) + (" and more" if len(unused) > 10 else "")
    return [Remark("CHANNELS_LEFT_OUT", f"{used}; left out: {listed}.")]
