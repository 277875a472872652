"""What is read of a recording before it is analysed, of good files and bad ones."""

import io

import av
import numpy as np
import pytest
import soundfile

from services.common.errors import InvalidVideo, PayloadTooLarge, UnsupportedMedia
from services.fusion import footage
from tests.fusion.recordings import SAMPLES, SOUND_HZ, Sound, empty, film, slides, speech


def read(data: bytes) -> footage.Footage:
    return footage.read(io.BytesIO(data))


def heard(known: footage.Footage) -> Sound:
    assert known.sound is not None
    samples, rate = soundfile.read(io.BytesIO(known.sound), dtype="int16")
    assert rate == SOUND_HZ
    return np.asarray(samples, np.int16)


def lag_ms(known: footage.Footage, spoken: Sound) -> float:
    """How much later than it was spoken the sound is heard, by the peak of the correlation."""
    size = 1 << 18
    one, other = (np.fft.rfft(sound.astype(float), size) for sound in (heard(known), spoken))
    peak = int(np.fft.irfft(one * np.conj(other)).argmax())
    return (peak if peak < size // 2 else peak - size) * 1000 / SOUND_HZ


@pytest.mark.parametrize("kind", ["mp4", "webm", "avi"])
def test_length_rate_and_sound_of_every_common_container(kind: str) -> None:
    spoken = speech("0880")
    known = read(film(3, empty, spoken, frame_rate=10, kind=kind))
    assert known.duration_ms == pytest.approx(3000, abs=120)
    assert known.pictures_ms == pytest.approx(3000, abs=120)
    assert known.frame_rate_hz == pytest.approx(10, rel=0.05)
    assert not known.damaged
    assert abs(lag_ms(known, spoken)) < (100 if kind == "avi" else 5)


def test_sound_that_begins_later_keeps_its_time() -> None:
    late = np.concatenate([np.zeros(SOUND_HZ, np.int16), speech("0930")])
    known = read(film(3, empty, late, sound_from_s=1))
    assert not heard(known)[: SOUND_HZ - 1600].any()
    assert abs(lag_ms(known, late)) < 5


def test_sound_too_large_for_the_voice_service_is_made_smaller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoken = speech("0880")
    video = film(3, empty, spoken)
    lossless = read(video).sound
    monkeypatch.setattr(footage, "MAX_SOUND_BYTES", 10_000)
    known = read(video)
    assert known.sound is not None
    assert lossless is not None
    assert len(known.sound) < len(lossless) / 2
    assert abs(lag_ms(known, spoken)) < 5


def test_a_video_without_sound_has_none() -> None:
    assert read(film(1, empty)).sound is None


def test_a_file_cut_off_is_read_as_far_as_it_goes() -> None:
    whole = film(6, empty, speech("0870"), options={"movflags": "faststart"})
    known = read(whole[: len(whole) * 6 // 10])
    assert known.damaged
    assert 1500 < known.duration_ms < 5000
    assert heard(known).size > SOUND_HZ


def test_a_file_cut_off_before_its_index_is_refused() -> None:
    whole = film(3, empty, speech("0880"))
    with pytest.raises(InvalidVideo) as refused:
        read(whole[: len(whole) // 2])
    assert refused.value.details["suggestion"]


def test_a_recording_of_five_hours_is_refused_whatever_its_header_says() -> None:
    with pytest.raises(PayloadTooLarge) as refused:
        read(slides(empty, 0, 1, 5 * 3600))
    assert "4 hours" in refused.value.message
    lying = slides(empty, 0, 1, 5 * 3600).replace(b"\x44\x89", b"\x44\x88", 1)
    with pytest.raises(PayloadTooLarge):
        read(lying)


def test_pictures_that_are_far_apart_have_their_own_rate() -> None:
    known = read(slides(empty, *range(20)))
    assert known.frame_rate_hz == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"no video at all",
        b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        (SAMPLES / "face" / "astronaut.jpg").read_bytes(),
        (SAMPLES / "voice" / "austen-0880.flac").read_bytes(),
    ],
    ids=["byte", "text", "playlist", "list", "image", "audio"],
)
def test_what_is_no_video_is_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedMedia) as refused:
        read(data)
    assert refused.value.details["suggestion"]


def test_sound_without_pictures_is_refused() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 16_000), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(InvalidVideo) as refused:
        read(file.getvalue())
    assert refused.value.details["reason"] == "No video stream"


@pytest.mark.parametrize("seed", range(8))
def test_damaged_bytes_are_read_or_refused_and_nothing_else(seed: int) -> None:
    whole = bytearray(film(2, empty, speech("0930"), options={"movflags": "faststart"}))
    random = np.random.default_rng(seed)
    for place in random.integers(16, len(whole), 200):
        whole[place] = random.integers(256)
    try:
        known = read(bytes(whole))
    except (InvalidVideo, PayloadTooLarge):
        return
    assert 0 < known.duration_ms <= footage.MAX_MS
