"""Videos of every kind are followed; every bad one is refused with what to do."""

import io
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from services.common.errors import InvalidRequest, InvalidVideo
from services.face import video as video_module
from services.face.analyze import FaceAnalyzer, Options
from services.face.image import Pixels
from services.face.timeline import Following, Moment, VideoAnalysis
from services.face.video import MAX_IMAGES, EncodedVideo, Footage, Images, Sample, Span
from tests.face.pictures import BACKGROUND, encoded, movie, pan, scene, sound, turned

LEAN = Options(action_units=False)


async def analysed(
    analyzer: FaceAnalyzer, footage: Footage, options: Options = LEAN, track_faces: bool = True
) -> tuple[VideoAnalysis, list[Moment]]:
    following = Following(analyzer, footage, options, track_faces)
    moments = [moment async for moment in following.moments()]
    return following.result(), moments


def encoded_video(data: bytes, span: Span = Span()) -> EncodedVideo:  # noqa: B008
    return EncodedVideo(io.BytesIO(data), span)


def read(data: bytes, span: Span = Span()) -> tuple[EncodedVideo, list[Sample]]:  # noqa: B008
    video = encoded_video(data, span)
    return video, list(video.samples())


@pytest.fixture(scope="module")
def clip(portrait: Pixels) -> bytes:
    frame = pan(portrait)
    return movie([frame(n) for n in range(50)])


@pytest.mark.parametrize(
    ("codec", "container"),
    [
        ("libx264", "mp4"),
        ("libx264", "mov"),
        ("libx264", "matroska"),
        ("mpeg4", "avi"),
        ("libvpx", "webm"),
        ("libvpx-vp9", "webm"),
        ("mpeg2video", "mpegts"),
        ("flv1", "flv"),
    ],
)
async def test_follows_a_face_in_every_common_format(
    analyzer: FaceAnalyzer, portrait: Pixels, codec: str, container: str
) -> None:
    frame = pan(portrait)
    data = movie([frame(n) for n in range(25)], codec, container)
    found, moments = await analysed(analyzer, encoded_video(data, Span()))
    assert found.frame_count == 25
    assert found.duration_ms == pytest.approx(1000, abs=45)
    assert [m.timestamp_ms for m in moments] == pytest.approx([0, 200, 400, 600, 800], abs=2)
    assert [[number for number, _ in m.faces] for m in moments] == [[0]] * 5
    assert found.summary.dominant_emotion == "happiness"
    assert found.summary.average_valence == pytest.approx(0.8, abs=0.1)
    assert found.summary.average_arousal == pytest.approx(0.5, abs=0.1)
    assert (found.summary.emotion_transitions, found.summary.face_count) == (0, 1)


def test_samples_every_nth_frame_of_the_span(clip: bytes) -> None:
    video, samples = read(clip, Span(sample_rate=4, start_ms=400, end_ms=1200))
    assert video.frame_count == 20
    assert video.duration_ms == 800
    assert [s.timestamp_ms for s in samples] == [400, 560, 720, 880, 1040]


def test_an_end_past_the_video_is_its_end(clip: bytes) -> None:
    video, samples = read(clip, Span(sample_rate=10, end_ms=60_000))
    assert video.duration_ms == 2000
    assert len(samples) == 5


def test_variable_frame_rate_keeps_its_times(portrait: Pixels) -> None:
    times = [0, 40, 80, 500, 510, 1400, 1440, 2000]
    _, samples = read(movie([portrait] * 8, times_ms=times), Span(sample_rate=1))
    assert [s.timestamp_ms for s in samples] == times


def test_turns_upright_as_the_display_matrix_says(portrait: Pixels) -> None:
    lying = np.ascontiguousarray(np.rot90(portrait[:400], 1))
    _, [sample] = read(turned(movie([lying])), Span())
    assert sample.pixels.shape == portrait[:400].shape
    assert np.abs(sample.pixels.astype(int) - portrait[:400]).mean() < 12


async def test_two_people_crossing_keep_their_ids(analyzer: FaceAnalyzer, portrait: Pixels) -> None:
    def frame(index: int) -> Pixels:
        picture, _ = scene(portrait, [(40 + 24 * index, 40, 70)])
        other, _ = scene(np.ascontiguousarray(portrait[:, ::-1]), [(900 - 24 * index, 360, 70)])
        picture[360:] = other[360:]
        return picture

    found, moments = await analysed(
        analyzer, encoded_video(movie([frame(n) for n in range(31)]), Span(3))
    )
    high = {number for m in moments for number, f in m.faces if f.box[1] < 300}
    low = {number for m in moments for number, f in m.faces if f.box[1] > 300}
    assert sorted([high, low], key=min) == [{0}, {1}]
    assert found.summary.face_count == 2


async def test_without_tracking_ids_are_places(analyzer: FaceAnalyzer, portrait: Pixels) -> None:
    picture, _ = scene(portrait, [(100, 100, 120), (700, 100, 90)])
    found, moments = await analysed(
        analyzer, Images([encoded(picture)] * 3, Span(1), 25), track_faces=False
    )
    assert [[number for number, _ in m.faces] for m in moments] == [[0, 1]] * 3
    assert found.summary.face_count == 2


async def test_a_video_without_a_face_says_so(analyzer: FaceAnalyzer) -> None:
    blank = np.full((120, 160, 3), BACKGROUND, np.uint8)
    found, moments = await analysed(analyzer, encoded_video(movie([blank] * 10), Span()))
    assert found.summary.dominant_emotion is None
    assert found.summary.average_valence is None
    assert [code for code, _ in found.warnings] == ["NO_FACE"]
    assert len(moments) == 2


async def test_options_reach_the_faces(analyzer: FaceAnalyzer, clip: bytes) -> None:
    full = Options(action_units=True, landmarks=True, dimensions=False)
    found, moments = await analysed(analyzer, encoded_video(clip, Span(sample_rate=25)), full)
    [(_, face)] = moments[0].faces
    assert face.action_units is not None
    assert face.landmarks is not None
    assert face.dimensions is None
    assert found.summary.average_valence is None


async def test_frames_are_timed_by_their_rate(analyzer: FaceAnalyzer, photograph: bytes) -> None:
    images = Images([photograph] * 6, Span(sample_rate=2, start_ms=100), 10)
    found, moments = await analysed(analyzer, images)
    assert [m.timestamp_ms for m in moments] == [100, 300, 500]
    assert (found.duration_ms, found.frame_count) == (500, 5)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "Zero bytes"),
        (b"Once upon a time there was no video.", "Not a video"),
        (sound(), "No video stream"),
    ],
    ids=["empty", "text", "sound"],
)
def test_refuses_what_is_no_video(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidVideo) as raised:
        read(data)
    assert raised.value.details["reason"].startswith(reason)
    assert raised.value.details["suggestion"]


@pytest.mark.parametrize(
    "playlist",
    [
        b"ffconcat version 1.0\nfile clip.mp4\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nclip.mp4\n#EXT-X-ENDLIST\n",
    ],
    ids=["ffconcat", "hls"],
)
def test_a_playlist_opens_no_file_of_the_server(
    clip: bytes, playlist: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clip.mp4").write_bytes(clip)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidVideo, match="not a video"):
        read(playlist)


def test_refuses_a_codec_nobody_knows(clip: bytes) -> None:
    with pytest.raises(InvalidVideo) as raised:
        read(clip.replace(b"avc1", b"zzzz"))
    assert raised.value.details["suggestion"]


def test_damage_never_shows_as_anything_but_a_refusal(clip: bytes) -> None:
    rng = np.random.default_rng(5)
    for _ in range(60):
        damaged = bytearray(clip)
        for place in rng.integers(0, len(clip), 8):
            damaged[place] = int(rng.integers(256))
        with suppress(InvalidVideo):
            video, samples = read(bytes(damaged), Span(sample_rate=10, start_ms=400))
            assert video.frame_count >= len(samples) > 0


def test_refuses_a_file_cut_before_its_index(clip: bytes) -> None:
    with pytest.raises(InvalidVideo):
        read(clip[: len(clip) // 2])


def test_reads_what_a_cut_file_still_holds(portrait: Pixels) -> None:
    data = movie([portrait] * 50, "mpeg4", "mpegts")
    video, samples = read(data[: len(data) // 2], Span(sample_rate=1))
    assert 10 < len(samples) < 50
    assert video.frame_count == len(samples)


def test_reads_what_lies_behind_damage(portrait: Pixels) -> None:
    frame = pan(portrait)
    whole = movie([frame(n) for n in range(100)], "mpeg4", "mpegts")
    middle, length = len(whole) // 2, len(whole) // 10
    noise = np.random.default_rng(0).integers(0, 256, length, np.uint8).tobytes()
    video, samples = read(whole[:middle] + noise + whole[middle + length :], Span(sample_rate=1))
    assert samples[0].timestamp_ms == 0
    assert samples[-1].timestamp_ms > 3800
    assert 50 < video.frame_count < 100


def test_times_that_jump_back_never_fall_and_frames_may_change_their_size() -> None:
    large, small = (np.full((*size, 3), BACKGROUND, np.uint8) for size in ((240, 320), (120, 160)))
    parts = [movie([one] * 25, "mpeg2video", "mpegts") for one in (large, small)]
    _, samples = read(b"".join(parts), Span(sample_rate=1))
    times = [sample.timestamp_ms for sample in samples]
    assert times == sorted(times)
    assert {sample.pixels.shape[:2] for sample in samples} == {(240, 320), (120, 160)}


def test_a_stream_without_times_is_timed_by_its_rate() -> None:
    picture = np.full((120, 160, 3), BACKGROUND, np.uint8)
    _, samples = read(movie([picture] * 25, "mpeg2video", "mpeg2video"), Span(sample_rate=5))
    times = [sample.timestamp_ms for sample in samples]
    assert times == pytest.approx([0, 200, 400, 600, 800], abs=45)


def test_refuses_frames_that_grow_past_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (np.full((*size, 3), BACKGROUND, np.uint8) for size in ((120, 160), (240, 320)))
    parts = [movie([one] * 10, "mpeg2video", "mpegts") for one in (small, large)]
    monkeypatch.setattr(video_module, "MAX_PIXELS", 30_000)
    with pytest.raises(InvalidVideo, match="320 x 240"):
        read(b"".join(parts), Span(sample_rate=1))


@pytest.mark.parametrize(
    ("span", "field"),
    [
        ({"start_ms": 500, "end_ms": 500}, "end_time_ms"),
        ({"start_ms": 900, "end_ms": 100}, "end_time_ms"),
        ({"start_ms": -1}, "start_time_ms"),
        ({"sample_rate": 0}, "sample_rate"),
        ({"sample_rate": 1001}, "sample_rate"),
    ],
)
def test_refuses_an_impossible_span(span: dict[str, int], field: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        Span(**span)
    assert raised.value.details["field"] == f"options.{field}"
    assert raised.value.details["suggestion"]


def test_refuses_a_start_past_the_end(clip: bytes) -> None:
    with pytest.raises(InvalidVideo, match="past the end"):
        read(clip, Span(start_ms=2000))


def test_refuses_more_frames_than_it_analyses() -> None:
    blank = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(InvalidVideo) as raised:
        read(movie([blank] * 5600), Span(sample_rate=1))
    assert raised.value.details["reason"] == "Too many frames"


def test_refuses_too_many_images(photograph: bytes) -> None:
    with pytest.raises(InvalidVideo) as raised:
        Images([photograph] * (MAX_IMAGES + 1), Span(), 25)
    assert str(MAX_IMAGES) in raised.value.details["suggestion"]


def test_refuses_frames_of_differing_sizes(photograph: bytes, portrait: Pixels) -> None:
    images = Images([photograph, encoded(portrait[:300])], Span(1), 25)
    with pytest.raises(InvalidVideo) as raised:
        list(images.samples())
    assert raised.value.details["reason"] == "Frames of differing sizes"


def test_names_the_frame_that_is_no_image(photograph: bytes) -> None:
    with pytest.raises(InvalidVideo, match="Frame 1"):
        list(Images([photograph, b"not an image"], Span(1), 25).samples())


def test_refuses_a_senseless_frame_rate(photograph: bytes) -> None:
    with pytest.raises(InvalidRequest) as raised:
        Images([photograph], Span(), 0)
    assert raised.value.details["field"] == "options.frame_rate"


def test_memory_does_not_grow_with_length() -> None:
    def peak(frames: int) -> int:
        blank = np.full((360, 640, 3), 90, np.uint8)
        video = encoded_video(movie([blank] * frames), Span(sample_rate=1))
        tracemalloc.start()
        for sample in video.samples():
            assert sample.pixels.shape == blank.shape
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak(200) < 1.5 * peak(20) + 1_000_000
