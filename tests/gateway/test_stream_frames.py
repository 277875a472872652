"""The binary frames of the WIA streaming protocol."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidRequest
from services.gateway.streaming.frames import HEADER, Frame, parse

JPEG = b"\xff\xd8\xff\xe0picture"
AT = 1_766_140_215_123


def packed(payload: bytes, modality: int, **header: int | bytes) -> bytes:
    """A frame; `header` replaces magic, version, timestamp or length."""
    fields = {"magic": b"WIAE", "version": 1, "timestamp": AT, "length": len(payload), **header}
    return (
        struct.pack("!4s", fields["magic"])
        + struct.pack("!BB", fields["version"], modality)
        + struct.pack("!Q", fields["timestamp"])
        + struct.pack("!I", fields["length"])
        + payload
    )


def read(data: bytes) -> Frame:
    """With limits of 100 bytes for an image and 50 for audio."""
    return parse(data, 100, 50)


def test_the_header_has_eighteen_bytes_in_network_byte_order() -> None:
    assert HEADER.size == 18
    assert read(packed(JPEG, 1)) == Frame(AT, JPEG, None)
    assert packed(JPEG, 1)[:18].hex() == "5749414501010000019b3628ff530000000b"


def test_voice_and_both_carry_audio() -> None:
    assert read(packed(b"pcm", 2)) == Frame(AT, None, b"pcm")
    payload = len(JPEG).to_bytes(4, "big") + JPEG + b"pcm"
    assert read(packed(payload, 3)) == Frame(AT, JPEG, b"pcm")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (packed(JPEG, 1)[:17], "17 bytes"),
        (packed(JPEG, 1, magic=b"RIFF"), "WIAE"),
        (packed(JPEG, 1, version=2), "Version 2"),
        (packed(JPEG, 0), "Modality 0"),
        (packed(JPEG, 4), "Modality 4"),
        (packed(JPEG, 1, length=12), "12 bytes of payload; 11 came"),
        (packed(JPEG, 1, length=10), "10 bytes of payload; 11 came"),
        (packed(JPEG, 1, timestamp=2**63), "Timestamp"),
        (packed(b"", 1), "image is empty"),
        (packed(b"", 2), "audio is empty"),
        (packed(b"\x89PNG\r\n", 1), "not a JPEG"),
        (packed(JPEG + bytes(90), 1), "image has 101 bytes"),
        (packed(bytes(51), 2), "audio has 51 bytes"),
        (packed(b"abc", 3), "too short for both"),
        (packed(b"\0\0\0\x0c" + JPEG, 3), "12 bytes; 11 came"),
        (packed(b"\0\0\0\x0b" + JPEG, 3), "audio is empty"),
    ],
)
def test_a_wrong_frame_is_refused_saying_why(data: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        read(data)


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda rest: b"WIAE\x01" + rest))
def test_no_bytes_do_harm(data: bytes) -> None:
    try:
        frame = read(data)
    except InvalidRequest:
        return
    assert frame.image or frame.audio
