"""The binary frames of the WIA streaming protocol.

A frame is an 18-byte header in network byte order and a payload: magic "WIAE" (4), version (1),
modality (1), timestamp in ms since the epoch (8), length of the payload (4). The standard calls the
header 16 bytes; its fields, one byte each for version and modality, make 18.

The payload is a JPEG image (modality 1) or audio (2). For both (3) it is the length of the image
in 4 bytes, the image, and then the audio that begins at the same time.
"""

import struct
from dataclasses import dataclass

from services.common.errors import InvalidRequest

MAGIC = b"WIAE"
VERSION = 1
FACIAL, VOICE, BOTH = 1, 2, 3

HEADER = struct.Struct("!4sBBQI")
_IMAGE_LENGTH = struct.Struct("!I")
_JPEG = b"\xff\xd8\xff"
_LATEST_MS = 253_402_300_799_999
"""The end of the year 9999."""


@dataclass(frozen=True)
class Frame:
    """An image, a chunk of audio, or both, with the time of the client in ms since the epoch."""

    timestamp_ms: int
    image: bytes | None
    audio: bytes | None


def parse(data: bytes, image_bytes: int, audio_bytes: int) -> Frame:
    """A frame from a binary message, with at most so many bytes of each. Raises InvalidRequest."""
    if len(data) < HEADER.size:
        raise _invalid(
            f"The frame has {len(data)} bytes, less than its header.",
            f"Send {HEADER.size} bytes of header before the payload.",
        )
    magic, version, modality, timestamp_ms, length = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise _invalid("The frame does not begin with WIAE.", "Begin each frame with its header.")
    if version != VERSION:
        raise _invalid(f"Version {version} is not known.", f"Send version {VERSION}.")
    if modality not in (FACIAL, VOICE, BOTH):
        raise _invalid(
            f"Modality {modality} is not known.", "Send 1 for facial, 2 for voice, 3 for both."
        )
    if timestamp_ms > _LATEST_MS:
        raise _invalid(f"Timestamp {timestamp_ms} is out of range.", "Send ms since the epoch.")
    payload = data[HEADER.size :]
    if len(payload) != length:
        raise _invalid(
            f"The header says {length} bytes of payload; {len(payload)} came.",
            "Send one whole frame in one message.",
        )
    image, audio = _parts(modality, payload)
    return Frame(
        timestamp_ms,
        None if image is None else _image(image, image_bytes),
        None if audio is None else _sized(audio, audio_bytes, "audio"),
    )


def _parts(modality: int, payload: bytes) -> tuple[bytes | None, bytes | None]:
    if modality == FACIAL:
        return payload, None
    if modality == VOICE:
        return None, payload
    if len(payload) < _IMAGE_LENGTH.size:
        raise _invalid("The payload is too short for both.", "Begin it with the image's length.")
    (length,) = _IMAGE_LENGTH.unpack_from(payload)
    media = payload[_IMAGE_LENGTH.size :]
    if length > len(media):
        raise _invalid(
            f"The image is said to have {length} bytes; {len(media)} came.",
            "Send the image's length in 4 bytes, the image, then the audio.",
        )
    return media[:length], media[length:]


def _image(image: bytes, limit: int) -> bytes:
    if not _sized(image, limit, "image").startswith(_JPEG):
        raise _invalid("The image is not a JPEG.", "Send each frame as a JPEG image.")
    return image


def _sized(payload: bytes, limit: int, name: str) -> bytes:
    if not payload:
        raise _invalid(f"The {name} is empty.", "Send no frame where there is nothing to send.")
    if len(payload) > limit:
        raise _invalid(
            f"The {name} has {len(payload)} bytes.", f"Send at most {limit} bytes in one frame."
        )
    return payload


def _invalid(message: str, suggestion: str) -> InvalidRequest:
    return InvalidRequest(message, suggestion=suggestion)
