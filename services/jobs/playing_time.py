"""How long a recording plays: measured over all of its packets, not read from its header."""

import contextlib
from collections.abc import Sequence
from typing import IO

import av

from services.common import errors
from services.jobs.content import Content

_BUFFER_BYTES = 256 * 1024


def measure(file: IO[bytes], content: Content, longest_ms: int) -> tuple[int, bool]:
    """Playing time in ms, and whether there is video, of a seekable file of a known kind.

    FFmpeg is told the format, never left to guess it. Stops as soon as it is longer than
    `longest_ms`. Raises InvalidVideo or InvalidAudio where it cannot be read.
    """
    try:
        with av.open(
            file,
            "r",
            format=content.format,
            metadata_errors="ignore",
            buffer_size=_BUFFER_BYTES,
        ) as container:
            streams = [s for s in container.streams if s.type in ("audio", "video")]
            video = any(s.type == "video" and not _is_cover(s) for s in streams)
            if streams:
                return _last_ms(container, streams, longest_ms), video
    except (av.FFmpegError, ValueError, OverflowError) as error:
        raise _broken(content, str(error)) from None
    raise _broken(content, "it has neither sound nor pictures")


def _last_ms(
    container: av.container.InputContainer, streams: Sequence[av.stream.Stream], longest_ms: int
) -> int:
    first: dict[int, float] = {}
    end: dict[int, float] = {}
    with contextlib.suppress(av.FFmpegError):
        for packet in container.demux(streams):
            if not packet.size or packet.time_base is None:
                continue
            number, unit_ms = packet.stream_index, 1000 * float(packet.time_base)
            stamp = packet.pts if packet.pts is not None else packet.dts
            start = end.get(number, 0.0) if stamp is None else stamp * unit_ms
            first[number] = min(first.get(number, start), start)
            end[number] = max(end.get(number, start), start + (packet.duration or 0) * unit_ms)
            if end[number] - first[number] > longest_ms:
                break
    return round(max((end[number] - first[number] for number in end), default=0.0))


def _is_cover(stream: av.stream.Stream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _broken(content: Content, reason: str) -> errors.InvalidRequest:
    kind = errors.InvalidAudio if content.content_type.startswith("audio/") else errors.InvalidVideo
    return kind(
        "The file is broken and cannot be read.",
        reason=reason[:200],
        suggestion="Check that the whole file was sent, or save it anew.",
    )
