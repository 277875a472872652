"""Cues of the body: ranges for every input, and each by hand."""

import pytest
from hypothesis import given

from services.fusion import body
from services.fusion.body import Cue
from services.fusion.observations import Observations, Sighting
from tests.fusion.observed import observations, sighting

UNITS = {"head_movement": "deg/s", "gaze_aversion": "share", "blink_rate": "1/min"}


def cue(name: str, seen: Observations) -> Cue | None:
    return next((one for one in body.cues(seen) if one.name == name), None)


def seconds(count: int, interval_ms: int, **changes: object) -> Observations:
    sightings = [sighting(at, **changes) for at in range(0, count * 1000, interval_ms)]  # type: ignore[arg-type]
    return Observations(count * 1000, interval_ms, sightings)


@given(observations())
def test_every_cue_has_its_unit_and_range(seen: Observations) -> None:
    for one in body.cues(seen):
        assert one.unit == UNITS[one.name]
        assert one.value >= 0
        assert one.unit != "share" or one.value <= 1
        assert one.measured_ms > 0


def test_nothing_is_measured_without_a_face() -> None:
    assert body.cues(Observations(60_000)) == []


def test_nothing_is_measured_in_faces_too_poor_to_see() -> None:
    assert body.cues(seconds(30, 100, quality=0.1)) == []


def test_a_still_head_does_not_move() -> None:
    assert cue("head_movement", seconds(20, 500)) == Cue("head_movement", 0.0, "deg/s", 19_500)


@pytest.mark.parametrize("interval_ms", [100, 500])
def test_head_movement_does_not_depend_on_the_rate_of_pictures(interval_ms: int) -> None:
    turning = [sighting(at, head=(0, at / 1000 * 8, 0)) for at in range(0, 20_000, interval_ms)]
    found = cue("head_movement", Observations(20_000, interval_ms, turning))
    assert found is not None
    assert found.value == pytest.approx(8, rel=0.02)


def test_a_head_turned_once_and_for_all_is_where_the_speaker_usually_looks() -> None:
    found = cue("gaze_aversion", seconds(20, 500, head=(5.0, 40.0, 0.0)))
    assert found is not None
    assert found.value == 0


def test_gaze_aversion_is_the_share_of_pictures_looking_away() -> None:
    away = [sighting(at, eyes=(0, 25 if at < 5000 else 0)) for at in range(0, 20_000, 500)]
    found = cue("gaze_aversion", Observations(20_000, 500, away))
    assert found == Cue("gaze_aversion", 0.25, "share", 20_000)


def blinking(every_ms: int, lasting_ms: int, count_s: int = 60) -> list[Sighting]:
    return [
        sighting(at, closed=0.8 if at % every_ms < lasting_ms else 0.05)
        for at in range(100, count_s * 1000, 100)
    ]


def test_blinks_are_counted_by_the_minute() -> None:
    found = cue("blink_rate", Observations(60_000, 100, blinking(4000, 200)))
    assert found is not None
    assert found.value == pytest.approx(14, abs=0.5)
    assert found.unit == "1/min"


def test_closed_eyes_are_no_blink() -> None:
    found = cue("blink_rate", Observations(60_000, 100, blinking(10_000, 2000)))
    assert found is not None
    assert found.value == 0


def test_narrow_eyes_are_no_blinks() -> None:
    found = cue("blink_rate", seconds(30, 100, closed=0.5))
    assert found is not None
    assert found.value == 0


def test_blinks_are_not_counted_in_pictures_too_far_apart() -> None:
    assert cue("blink_rate", seconds(60, 500)) is None


def test_a_face_that_vanishes_has_not_blinked() -> None:
    lids = [sighting(at, closed=0.05) for at in range(0, 30_000, 100)]
    lids[150:] = [
        sighting(at, closed=0.8 if at == 17_000 else 0.05) for at in range(17_000, 30_000, 100)
    ]
    found = cue("blink_rate", Observations(30_000, 100, lids))
    assert found is not None
    assert found.value == 0
