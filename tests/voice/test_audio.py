"""Decoding: every kind of file, headerless audio, channels and ranges."""

import tempfile
from typing import IO

import numpy as np
import pytest

from services.common.errors import InvalidAudio, InvalidRequest, PayloadTooLarge, UnsupportedMedia
from services.voice import track
from services.voice.audio import WHOLE, Decoding, Selection, decode
from tests.voice.recordings import RATE_HZ, contained, encoded, noise, silence, speech


def likeness(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest normalised cross-correlation within half a second of shift."""
    size = min(found.size, expected.size)
    spectrum = np.fft.rfft(found[:size], 2 * size) * np.fft.rfft(expected[:size], 2 * size).conj()
    correlation = np.fft.irfft(spectrum)
    near = np.concatenate((correlation[:8000], correlation[-8000:]))
    return float(near.max() / np.linalg.norm(found[:size]) / np.linalg.norm(expected[:size]))


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "FLOAT"),
        ("WAV", "ULAW"),
        ("WAV", "ALAW"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
        ("AIFF", "PCM_16"),
    ],
)
@pytest.mark.parametrize("rate_hz", [8000, 16_000, 48_000])
def test_reads_what_libsndfile_writes(kind: str, subtype: str, rate_hz: int) -> None:
    expected = speech()
    recording = decode(encoded(expected, kind, subtype, rate_hz), WHOLE)
    assert recording.rate_hz in (rate_hz, 48_000)
    assert not recording.truncated
    assert abs(recording.duration_ms - 2990) < 150
    assert likeness(recording.tracks[0][:], expected) > 0.9


@pytest.mark.parametrize(
    ("kind", "codec", "rate_hz"),
    [("mp4", "aac", 44_100), ("adts", "aac", 16_000), ("webm", "libopus", 48_000)],
)
def test_reads_what_ffmpeg_writes(kind: str, codec: str, rate_hz: int) -> None:
    expected = speech()
    recording = decode(contained(expected, kind, codec, rate_hz), WHOLE)
    assert abs(recording.duration_ms - 2990) < 150
    assert likeness(recording.tracks[0][:], expected) > 0.9


def test_reads_amr() -> None:
    frames_at_12_2_kbit = (b"\x3c" + bytes(31)) * 50
    recording = decode(b"#!AMR\n" + frames_at_12_2_kbit, WHOLE)
    assert recording.rate_hz == 8000
    assert recording.duration_ms == 1000


@pytest.mark.parametrize(
    ("encoding", "subtype"), [("LINEAR16", "PCM_16"), ("MULAW", "ULAW"), ("ALAW", "ALAW")]
)
def test_reads_headerless_audio(encoding: str, subtype: str) -> None:
    expected = speech()
    raw = encoded(expected, "RAW", subtype, 8000)
    recording = decode(raw, Selection(encoding=encoding, rate_hz=8000))
    assert likeness(recording.tracks[0][:], expected) > 0.9


def test_a_header_wins_over_a_declared_encoding() -> None:
    recording = decode(encoded(speech()), Selection(encoding="MULAW", rate_hz=8000))
    assert recording.rate_hz == 16_000


def test_headerless_audio_needs_a_rate() -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(b"\x01\x02" * 8000, Selection(encoding="LINEAR16"))
    assert caught.value.details["field"] == "options.sample_rate"


def test_mixes_or_splits_channels() -> None:
    left, right = speech(), noise(speech().size / 16_000)
    data = encoded(np.column_stack((left, right)), subtype="FLOAT")
    (mixed,) = decode(data, WHOLE).tracks
    np.testing.assert_allclose(mixed[:], (left + right) / 2, atol=1e-6)
    split = decode(data, Selection(channel_mode="split"))
    assert split.channels == (0, 1)
    np.testing.assert_allclose(split.tracks[1][:], right, atol=1e-6)
    second = decode(data, Selection(channels=(1,)))
    np.testing.assert_allclose(second.tracks[0][:], right, atol=1e-6)


def test_refuses_a_channel_that_is_not_there() -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(encoded(speech()), Selection(channels=(1,)))
    assert caught.value.details["field"] == "options.channels"


def test_reads_only_the_range() -> None:
    samples = speech("0870")
    recording = decode(encoded(samples, subtype="FLOAT"), Selection(start_ms=1000, end_ms=3500))
    np.testing.assert_array_equal(recording.tracks[0][:], samples[16_000:56_000])


def test_a_range_past_the_end_names_the_end() -> None:
    with pytest.raises(InvalidRequest, match="ends at 2990 ms") as caught:
        decode(encoded(speech()), Selection(start_ms=5000))
    assert caught.value.details["field"] == "options.start_time_ms"


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS")],
)
def test_a_range_is_the_same_part_of_any_file(kind: str, subtype: str) -> None:
    data = encoded(speech("0870"), kind, subtype, 48_000)
    check_range(data)


@pytest.mark.parametrize(
    ("kind", "codec", "rate_hz"),
    [("mp4", "aac", 44_100), ("adts", "aac", 16_000), ("webm", "libopus", 48_000)],
)
def test_a_range_is_the_same_part_of_any_container(kind: str, codec: str, rate_hz: int) -> None:
    check_range(contained(speech("0870"), kind, codec, rate_hz))


def check_range(data: bytes) -> None:
    (whole,) = decode(data, WHOLE).tracks
    (part,) = decode(data, Selection(start_ms=3000, end_ms=5000)).tracks
    assert part.size == pytest.approx(32_000, abs=2)
    found = part[400:31_000]
    ms = 16  # Matroska's times are whole milliseconds
    near = [whole[48_400 + shift : 79_000 + shift] for shift in range(-ms, ms + 1)]
    norm = np.linalg.norm(found)
    assert max(float(found @ one / norm / np.linalg.norm(one)) for one in near) > 0.99


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "aac"), ("webm", "libopus")])
def test_a_range_at_the_end_decodes_the_end_alone(kind: str, codec: str) -> None:
    data = contained(np.tile(speech("0870"), 10), kind, codec, 48_000)
    with Decoding(data, Selection(start_ms=68_000)) as decoding:
        place, _ = next(decoding._blocks)
        assert place > 60 * 48_000


def test_long_recordings_leave_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track, "IN_MEMORY", 16_000)
    samples = speech("0870")
    (long,) = decode(encoded(samples, subtype="FLOAT"), WHOLE).tracks
    assert not long.in_memory
    assert long.size == samples.size
    np.testing.assert_array_equal(long[:], samples)
    np.testing.assert_array_equal(long[20_000:30_000], samples[20_000:30_000])
    np.testing.assert_array_equal(long[-100:], samples[-100:])
    assert long[50:10].size == 0
    long.close()
    with pytest.raises(ValueError, match="closed"):
        long[:10]


def lasting(hours: float) -> IO[bytes]:
    """A WAV file of silence that takes no room on the disk."""
    file = tempfile.TemporaryFile()  # noqa: SIM115
    size = round(hours * 3600 * RATE_HZ) * 2
    header = bytearray(encoded(silence(0)))
    header[4:8] = (size + len(header) - 8).to_bytes(4, "little")
    header[-4:] = size.to_bytes(4, "little")
    file.write(header)
    file.truncate(len(header) + size)
    return file


def test_refuses_five_hours_before_decoding_them() -> None:
    with lasting(5) as file:
        with pytest.raises(PayloadTooLarge, match="4 hours") as caught:
            Decoding(file, WHOLE)
        assert "start_time_ms" in caught.value.details["suggestion"]
        assert caught.value.details["limit"] == "14400000 ms"
        assert file.tell() < 1 << 20


def test_reads_a_part_of_five_hours_from_where_it_begins() -> None:
    with lasting(5) as file:
        recording = decode(file, Selection(start_ms=4 * 3_600_000, end_ms=4 * 3_600_000 + 5000))
        assert recording.duration_ms == 5000
        with pytest.raises(InvalidRequest, match="ends at 18000000 ms"):
            decode(file, Selection(start_ms=5 * 3_600_000))


def test_refuses_what_turns_out_longer_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.voice.audio.MAX_MS", 5000)
    with pytest.raises(PayloadTooLarge):
        decode(contained(speech("0870"), "adts", "aac", 16_000), WHOLE)


@pytest.mark.parametrize(
    "data",
    [b"not audio at all, only words", b"\x89PNG\r\n\x1a\n" + b"\0" * 200, b"%PDF-1.7 " + b"x" * 99],
)
def test_names_what_it_reads_where_the_bytes_are_something_else(data: bytes) -> None:
    with pytest.raises(UnsupportedMedia) as caught:
        decode(data, WHOLE)
    assert "WAV" in caught.value.details["suggestion"]


@pytest.mark.parametrize("keep", [12, 40])
def test_a_file_cut_within_its_header_is_invalid(keep: int) -> None:
    with pytest.raises(InvalidAudio):
        decode(encoded(speech())[:keep], WHOLE)


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16")])
def test_a_truncated_file_is_read_as_far_as_it_goes(kind: str, subtype: str) -> None:
    data = encoded(speech("0870"), kind, subtype)
    recording = decode(data[: len(data) // 2], WHOLE)
    assert recording.truncated
    assert 2000 < recording.duration_ms < 5000


def test_a_truncated_mp4_is_invalid() -> None:
    data = contained(speech(), "mp4", "aac", 16_000)
    with pytest.raises(InvalidAudio):
        decode(data[: len(data) // 2], WHOLE)


def test_damaged_names_inside_a_file_do_no_harm() -> None:
    data = contained(speech(), "mp4", "aac", 16_000).replace(b"isom", b"is\xffm")
    assert abs(decode(data, WHOLE).duration_ms - 2990) < 150


def test_an_unknown_codec_is_invalid() -> None:
    data = contained(speech(), "webm", "libopus", 48_000).replace(b"A_OPUS", b"A_NONE")
    with pytest.raises(InvalidAudio):
        decode(data, WHOLE)


def test_a_playlist_opens_nothing() -> None:
    with pytest.raises(UnsupportedMedia):
        decode(b"#EXTM3U\n#EXTINF:5,\nfile:///etc/passwd\n", WHOLE)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_samples_that_are_not_numbers_are_invalid(wrong: float) -> None:
    samples = speech()
    samples[1000] = wrong
    with pytest.raises(InvalidAudio, match="not numbers"):
        decode(encoded(samples, subtype="FLOAT"), WHOLE)


def test_a_file_without_samples_is_invalid() -> None:
    with pytest.raises(InvalidAudio, match="no audio"):
        decode(encoded(np.zeros(0, np.float32)), WHOLE)


@pytest.mark.parametrize("rate_hz", [1, 2_000_000_000])
def test_an_absurd_rate_is_invalid(rate_hz: int) -> None:
    data = bytearray(encoded(speech()))
    data[24:28] = rate_hz.to_bytes(4, "little")
    with pytest.raises(InvalidAudio, match="samples a second"):
        decode(bytes(data), WHOLE)


def test_nine_channels_are_too_many() -> None:
    with pytest.raises(InvalidAudio, match="9 channels"):
        decode(encoded(np.column_stack([speech()] * 9)), WHOLE)


def test_50_ms_are_too_short() -> None:
    with pytest.raises(InvalidAudio, match="50 ms") as caught:
        decode(encoded(speech()[:800]), WHOLE)
    assert caught.value.details["suggestion"]


def test_measures_clipping() -> None:
    assert decode(encoded(speech()), WHOLE).clipped == 0
    assert decode(encoded(np.clip(speech() * 20, -1, 1)), WHOLE).clipped > 0.05
