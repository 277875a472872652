"""When the emotion of a stream counts as changed."""

from services.voice.course import Change, Course


def test_one_other_reading_is_no_change() -> None:
    course = Course()
    assert course.update({"neutral": 0.8, "anger": 0.2}, 1000) is None
    assert course.update({"neutral": 0.2, "anger": 0.8}, 2000) is None
    assert course.update({"neutral": 0.8, "anger": 0.2}, 3000) is None
    assert course.primary == "neutral"


def test_two_readings_in_a_row_are_a_sudden_change() -> None:
    course = Course()
    course.update({"neutral": 0.9, "anger": 0.1}, 0)
    assert course.update({"neutral": 0.2, "anger": 0.8}, 1000) is None
    change = course.update({"neutral": 0.2, "anger": 0.8}, 2000)
    assert change == Change("neutral", "anger", 2000)
    assert change.sudden


def test_a_change_over_undecided_readings_is_gradual() -> None:
    course = Course()
    course.update({"neutral": 0.9, "anger": 0.1}, 0)
    for now_ms in (1000, 2000, 3000):
        assert course.update({"neutral": 0.48, "anger": 0.52}, now_ms) is None
    course.update({"neutral": 0.3, "anger": 0.7}, 4000)
    change = course.update({"neutral": 0.3, "anger": 0.7}, 5000)
    assert change
    assert not change.sudden


def test_silence_before_speech_is_no_part_of_a_change() -> None:
    course = Course()
    course.update({"neutral": 0.9, "anger": 0.1}, 0)
    course.begin(60_000)
    course.update({"neutral": 0.1, "anger": 0.9}, 61_000)
    change = course.update({"neutral": 0.1, "anger": 0.9}, 62_000)
    assert change == Change("neutral", "anger", 2000)
