"""The one vocabulary of emotions."""

import pytest

from affectmesh.v1 import types_pb2
from services.common.labels import COORDINATES, LABELS, dimensions


def test_labels_are_those_of_the_contract_in_lower_case() -> None:
    assert [types_pb2.EmotionLabel.Value(f"EMOTION_LABEL_{one.upper()}") for one in LABELS] == [
        *range(1, len(LABELS) + 1)
    ]
    assert "unspecified" not in LABELS


def test_the_labels_every_client_may_rely_on_are_there() -> None:
    required = ["happiness", "sadness", "anger", "fear", "disgust", "surprise", "neutral"]
    extended = ["contempt", "confusion", "interest", "boredom", "excitement", "anxiety"]
    assert {*required, *extended} <= set(LABELS)


def test_coordinates_are_of_known_labels_and_within_range() -> None:
    assert COORDINATES.keys() <= set(LABELS)
    assert all(-1 <= axis <= 1 for place in COORDINATES.values() for axis in place)


def test_a_sure_label_lies_at_its_own_place() -> None:
    assert dimensions({"anger": 1.0}) == COORDINATES["anger"]


def test_dimensions_are_the_mean_of_the_places() -> None:
    valence, arousal = dimensions({"happiness": 0.5, "sadness": 0.5})
    assert valence == pytest.approx((0.81 - 0.63) / 2)
    assert arousal == pytest.approx((0.51 - 0.27) / 2)


def test_confidences_need_not_sum_to_1() -> None:
    assert dimensions({"happiness": 0.2, "sadness": 0.2}) == dimensions(
        {"happiness": 0.5, "sadness": 0.5}
    )


def test_nothing_known_is_the_origin() -> None:
    assert dimensions({}) == dimensions({"anger": 0.0}) == (0.0, 0.0)
