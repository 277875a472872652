"""Key moments: ranges for every input, and each kind by hand."""

from hypothesis import given
from hypothesis import strategies as st

from services.fusion import moments
from services.fusion.moments import KeyMoment
from services.fusion.observations import Observations, Saying, Word
from services.fusion.timeline import build
from tests.fusion.observed import even_words, observations, saying, sighting

KINDS = {"honesty_drop", "emotion_peak", "emotion_shift", "long_pause", "gaze_aversion"}


def found(seen: Observations, hop_ms: int = 1000) -> list[KeyMoment]:
    return moments.find(seen, build(seen, hop_ms))


@given(observations(), st.sampled_from([500, 1000]))
def test_every_key_moment_is_typed_scored_and_within_the_recording(
    seen: Observations, hop_ms: int
) -> None:
    listed = found(seen, hop_ms)
    assert len(listed) <= moments.MOST
    assert [one.start_ms for one in listed] == sorted(one.start_ms for one in listed)
    for one in listed:
        assert one.kind in KINDS
        assert 0 <= one.score <= 1
        assert 0 <= one.start_ms <= one.end_ms <= seen.duration_ms
        assert one.evidence
        assert all(one.evidence)


def test_a_recording_that_stays_the_same_has_none() -> None:
    seen = Observations(
        30_000,
        500,
        [sighting(at, "happiness") for at in range(0, 30_000, 500)],
        [saying(0, 30_000, "neutral", "happiness")],
        even_words(0, 30_000),
    )
    assert found(seen) == []


def test_a_modality_that_falls_silent_makes_no_moment_of_emotion() -> None:
    seen = Observations(
        30_000,
        500,
        [sighting(at, "happiness") for at in range(0, 30_000, 500)],
        [saying(0, 12_000, "neutral", "neutral"), saying(18_000, 30_000, "neutral", "neutral")],
    )
    assert found(seen) == []


def test_words_that_contradict_voice_and_face_for_a_while_are_a_drop() -> None:
    def part(start_ms: int, end_ms: int, words: str) -> Saying:
        return saying(start_ms, end_ms, "happiness", words)

    seen = Observations(
        40_000,
        500,
        [sighting(at, "happiness") for at in range(0, 40_000, 500)],
        [
            part(0, 20_000, "happiness"),
            part(20_000, 26_000, "anger"),
            part(26_000, 40_000, "happiness"),
        ],
    )
    drops = [one for one in found(seen) if one.kind == "honesty_drop"]
    assert len(drops) == 1
    assert 19_000 <= drops[0].start_ms <= 21_000
    assert 25_000 <= drops[0].end_ms <= 27_000
    assert drops[0].score > 0.2
    assert any("text anger" in line for line in drops[0].evidence)
    assert any("face happiness" in line for line in drops[0].evidence)


def test_a_smile_in_an_even_face_is_a_peak_of_the_face() -> None:
    seen = Observations(
        40_000,
        500,
        [
            sighting(at, "happiness" if 20_000 <= at < 26_000 else "neutral")
            for at in range(0, 40_000, 500)
        ],
    )
    peaks = [one for one in found(seen) if one.kind == "emotion_peak"]
    assert len(peaks) == 1
    assert 19_000 <= peaks[0].start_ms <= 21_000
    assert peaks[0].score > 0.5
    assert peaks[0].evidence[0].startswith("face: happiness")


def test_a_lasting_change_is_a_shift() -> None:
    seen = Observations(
        40_000,
        500,
        [sighting(at, "happiness" if at < 20_000 else "anger") for at in range(0, 40_000, 500)],
    )
    shifts = [one for one in found(seen) if one.kind == "emotion_shift"]
    assert len(shifts) == 1
    assert abs(shifts[0].start_ms - 20_000) <= 1000
    assert shifts[0].score > 0.6
    assert shifts[0].evidence == ("happiness before, anger after", "face changes most")


def test_what_is_hardly_seen_makes_no_moment_of_emotion() -> None:
    dark = [sighting(at, "anger", quality=0.05) for at in range(20_000, 40_000, 500)]
    seen = Observations(
        40_000, 500, [*(sighting(at, "happiness") for at in range(0, 20_000, 500)), *dark]
    )
    assert found(seen) == []


def test_a_single_frame_is_neither_a_peak_nor_a_shift() -> None:
    seen = Observations(
        40_000,
        500,
        [sighting(at, "anger" if at == 20_000 else "neutral") for at in range(0, 40_000, 500)],
    )
    assert found(seen) == []


def test_a_silence_between_words_is_a_long_pause() -> None:
    seen = Observations(20_000, words=[Word(0, 1000), Word(5000, 6000), Word(7000, 8000)])
    assert found(seen) == [
        KeyMoment(1000, 5000, "long_pause", 0.5, ("no word for 4.0 s",)),
    ]


def test_silence_before_the_first_and_after_the_last_word_is_no_pause() -> None:
    assert found(Observations(60_000, words=even_words(20_000, 30_000))) == []


def test_looking_away_for_seconds_is_an_aversion() -> None:
    seen = Observations(
        30_000,
        500,
        [
            sighting(at, eyes=(0, 30 if 10_000 <= at <= 14_000 else 0))
            for at in range(0, 30_000, 500)
        ],
    )
    assert found(seen) == [
        KeyMoment(
            10_000,
            14_000,
            "gaze_aversion",
            0.5,
            ("eyes up to 30 degrees from their usual direction",),
        )
    ]


def test_only_the_most_marked_are_kept() -> None:
    words = [Word(at * 10_000, at * 10_000 + 1000 + at * 50) for at in range(40)]
    listed = found(Observations(400_000, words=words))
    assert len(listed) == moments.MOST
    assert all(one.start_ms < 220_000 for one in listed)
