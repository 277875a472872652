"""Chunks cut anywhere give the samples of the whole."""

import io

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.errors import InvalidAudio, UnsupportedMedia
from services.voice.decoding import LiveDecoder
from tests.voice.recordings import Floats, contained, encoded, silence, speech

WHOLE = {
    "FLAC": encoded(speech("0930"), "FLAC"),
    "OGG_OPUS": contained(speech("0930"), "ogg", "libopus", 48_000),
}
SUBTYPES = {"LINEAR16": "PCM_16", "MULAW": "ULAW", "ALAW": "ALAW"}


def decoded(encoding: str, rate_hz: int, chunks: list[bytes]) -> tuple[Floats, int]:
    """All samples, and how often something was left out."""
    decoder = LiveDecoder(encoding, rate_hz)
    parts = [part for chunk in chunks for part in decoder.feed(chunk)]
    parts += decoder.finish()
    return np.concatenate([silence(0), *parts]), decoder.damages


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[place : place + size] for place in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 7, 160, 4096])
@pytest.mark.parametrize("rate_hz", [8000, 11_025, 16_000, 44_100, 48_000])
def test_chunk_borders_leave_no_seam(rate_hz: int, size: int) -> None:
    data = encoded(speech("0930"), "RAW", "PCM_16", rate_hz)
    whole, _ = decoded("LINEAR16", rate_hz, [data])
    pieces, _ = decoded("LINEAR16", rate_hz, cut(data, size))
    np.testing.assert_allclose(pieces, whole, atol=1e-6)
    samples = np.frombuffer(data, "<i2").astype(np.float32) / 32768
    expected = soxr.resample(samples, rate_hz, 16_000)
    assert abs(whole.size - expected.size) <= 2
    length = min(whole.size, expected.size)
    np.testing.assert_allclose(whole[:length], expected[:length], atol=1e-4)


@pytest.mark.parametrize("encoding", ["MULAW", "ALAW"])
def test_g711_is_decoded_as_libsndfile_does(encoding: str) -> None:
    codes = bytes(range(256))
    expected, _ = soundfile.read(
        io.BytesIO(codes),
        samplerate=16_000,
        channels=1,
        format="RAW",
        subtype=SUBTYPES[encoding],
        dtype="float32",
    )
    np.testing.assert_array_equal(decoded(encoding, 16_000, [codes])[0], expected)


@pytest.mark.parametrize("size", [1, 100, 5000, 1 << 20])
@pytest.mark.parametrize("channels", [1, 2])
def test_flac_is_decoded_whole(size: int, channels: int) -> None:
    samples = speech("0930")
    spread = samples if channels == 1 else np.column_stack((samples, samples * 0.5))
    found, damages = decoded("FLAC", 16_000, cut(encoded(spread, "FLAC"), size))
    assert damages == 0
    expected = samples if channels == 1 else samples * 0.75
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("size", [1, 100, 5000, 1 << 20])
def test_opus_is_decoded_whole(size: int) -> None:
    samples = speech("0930")
    found, damages = decoded("OGG_OPUS", 0, cut(contained(samples, "ogg", "libopus", 48_000), size))
    assert damages == 0
    assert found.size == pytest.approx(samples.size, abs=400)
    length = min(found.size, samples.size)
    assert np.corrcoef(found[:length], samples[:length])[0, 1] > 0.95


def test_24_bit_flac_is_of_full_scale_1() -> None:
    samples = speech("0930")
    found, _ = decoded("FLAC", 0, [encoded(samples, "FLAC", "PCM_24")])
    np.testing.assert_allclose(found, samples, atol=1e-4)


def test_a_chunk_of_much_silence_is_given_piece_by_piece() -> None:
    data = encoded(silence(600), "FLAC")
    decoder = LiveDecoder("FLAC", 0)
    largest = max(part.size for part in decoder.feed(data))
    assert largest <= 65_536


@settings(max_examples=60)
@given(
    st.sampled_from(["FLAC", "OGG_OPUS"]),
    st.integers(200, 50_000),
    st.binary(min_size=1, max_size=300),
    st.integers(1, 3000),
)
def test_damaged_bytes_never_break_the_decoder(
    encoding: str, place: int, damage: bytes, size: int
) -> None:
    data = bytearray(WHOLE[encoding])
    data[place : place + len(damage)] = damage
    found, _ = decoded(encoding, 0, cut(bytes(data), size))
    assert np.isfinite(found).all()
    assert np.abs(found).max(initial=0) < 4


@settings(max_examples=100)
@given(
    st.sampled_from(["LINEAR16", "MULAW", "ALAW", "FLAC", "OGG_OPUS"]),
    st.sampled_from([b"", b"fLaC", b"fLaC\x00\x00\x00\x22", b"OggS"]),
    st.lists(st.binary(max_size=200), max_size=20),
)
def test_any_bytes_are_decoded_or_refused(encoding: str, head: bytes, chunks: list[bytes]) -> None:
    try:
        found, _ = decoded(encoding, 16_000, [head, *chunks])
    except (UnsupportedMedia, InvalidAudio):
        return
    assert np.isfinite(found).all()
