"""Ids stay with their faces, and flicker is no change of emotion."""

import numpy as np
import pytest

from services.face.geometry import Floats
from services.face.smoothing import Change, EmotionState
from services.face.tracking import KEPT_MS, ROUND_MS, Tracker

RNG = np.random.default_rng(3)
ANNA, BORIS = (RNG.uniform(0, 255, (48, 48)).astype(np.float32) for _ in range(2))


def box(x: float, y: float = 100, side: float = 80) -> Floats:
    return np.array([x, y, x + side, y + side], np.float32)


def test_a_moving_face_keeps_its_id() -> None:
    tracker = Tracker()
    ids = [tracker.update([box(100 + 30 * n)], [ANNA], 200 * n) for n in range(10)]
    assert ids == [[0]] * 10
    assert tracker.count == 1


def test_order_in_the_frame_does_not_matter() -> None:
    tracker = Tracker()
    assert tracker.update([box(100), box(500)], [ANNA, BORIS], 0) == [0, 1]
    assert tracker.update([box(505), box(104)], [BORIS, ANNA], 40) == [1, 0]


def test_faces_that_cross_keep_their_ids() -> None:
    tracker = Tracker()
    for n in range(21):
        places = [box(100 + 20 * n), box(500 - 20 * n, 110)]
        assert tracker.update(places, [ANNA, BORIS], 100 * n) == [0, 1], n


def test_a_face_missed_for_a_while_comes_back_as_itself() -> None:
    tracker = Tracker()
    for n in range(5):
        tracker.update([box(100 + 20 * n)], [ANNA], 100 * n)
    for n in range(5, 12):
        assert tracker.update([], [], 100 * n) == []
    assert tracker.update([box(100 + 20 * 12)], [ANNA], 1200) == [0]


def test_a_stranger_in_the_same_place_is_someone_new() -> None:
    tracker = Tracker()
    tracker.update([box(100)], [ANNA], 0)
    assert tracker.update([box(102)], [BORIS], 1500) == [1]


def test_a_face_far_away_is_someone_new() -> None:
    tracker = Tracker()
    tracker.update([box(100)], [ANNA], 0)
    assert tracker.update([box(900)], [ANNA], 40) == [1]


def test_nothing_is_known_of_the_first_frame_and_rounds_go_on_with_time() -> None:
    tracker = Tracker()
    assert tracker.known(0) is None
    tracker.update([], [], 0)
    known = tracker.known(ROUND_MS // 2)
    assert known is not None
    assert known.turn == (0.0, 0.5)


def test_a_face_long_gone_is_forgotten() -> None:
    tracker = Tracker()
    tracker.update([box(100)], [ANNA], 0)
    known = tracker.known(KEPT_MS + 1)
    assert known is not None
    assert known.boxes == []
    assert tracker.update([box(100)], [ANNA], KEPT_MS + 1) == [1]


def changes(shown: list[str], step_ms: int = 200) -> list[Change]:
    state = EmotionState()
    labels = set(shown)
    found = [
        state.update({label: 0.8 if label == one else 0.1 for label in labels}, step_ms * n)
        for n, one in enumerate(shown)
    ]
    return [change for change in found if change is not None]


def test_a_lasting_change_counts_once() -> None:
    [change] = changes(["neutral"] * 8 + ["happiness"] * 8)
    assert (change.previous, change.current) == ("neutral", "happiness")


@pytest.mark.parametrize("wrong_frames", [1, 2])
def test_flicker_is_no_change(wrong_frames: int) -> None:
    assert changes(["neutral"] * 6 + ["anger"] * wrong_frames + ["neutral"] * 6, 120) == []


def test_there_and_back_counts_twice() -> None:
    shown = ["neutral"] * 6 + ["surprise"] * 6 + ["neutral"] * 6
    assert [c.current for c in changes(shown)] == ["surprise", "neutral"]


def test_a_quick_change_is_sudden_and_a_slow_one_gradual() -> None:
    state = EmotionState()
    found = []
    for n in range(60):
        share = min(max((n - 10) / 30, 0.0), 1.0)
        found.append(state.update({"neutral": 1 - share, "happiness": share}, 100 * n))
    [slow] = [change for change in found if change]
    [quick] = changes(["neutral"] * 10 + ["happiness"] * 10, 100)
    assert quick.sudden
    assert quick.duration_ms < slow.duration_ms
