"""How weights given by a client are read."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common import errors
from services.fusion.weights import DEFAULT_WEIGHTS, MODALITIES, choose_weights, normalise

positive = st.floats(min_value=5e-324, max_value=1.7e308, allow_nan=False)


def test_default_covers_every_modality() -> None:
    assert set(DEFAULT_WEIGHTS) == set(MODALITIES)


def test_default_keeps_its_proportions_where_a_modality_is_not_sent() -> None:
    weights = choose_weights({}, ["face", "voice"])
    assert weights == pytest.approx({"face": 0.75, "voice": 0.25})


def test_given_weights_need_not_sum_to_1() -> None:
    assert choose_weights({"face": 6, "text": 2}, ["face", "text"]) == {"face": 0.75, "text": 0.25}


def test_a_modality_without_a_weight_has_none_where_any_is_given() -> None:
    assert choose_weights({"face": 1}, ["face", "text"]) == {"face": 1, "text": 0}


def test_a_weight_for_what_was_not_sent_goes_to_the_others() -> None:
    assert choose_weights({"face": 9, "text": 1}, ["text"]) == {"text": 1}


@pytest.mark.parametrize(
    ("weights", "field"),
    [
        ({"face": -0.1, "text": 1.0}, "fusion.weights.face"),
        ({"text": math.nan}, "fusion.weights.text"),
        ({"text": math.inf}, "fusion.weights.text"),
        ({"text": -math.inf}, "fusion.weights.text"),
        ({"text": 0.0}, "fusion.weights"),
        ({"face": 0.0, "text": 0.0}, "fusion.weights"),
        ({"face": 1.0}, "fusion.weights"),
        ({"smell": 1.0, "text": 1.0}, "fusion.weights"),
        ({"": 1.0}, "fusion.weights"),
        ({"Text": 1.0}, "fusion.weights"),
    ],
)
def test_senseless_weights_are_refused_by_name(weights: dict[str, float], field: str) -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        choose_weights(weights, ["text"])
    assert refused.value.details["field"] == field
    assert refused.value.details["suggestion"]


def test_a_long_unknown_name_is_not_echoed_in_full() -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        choose_weights({"x" * 1_000_000: 1.0}, ["text"])
    assert len(refused.value.message) < 200


@given(st.dictionaries(st.sampled_from(MODALITIES), positive, min_size=1))
def test_normalised_weights_sum_to_1_however_large_or_small(weights: dict[str, float]) -> None:
    normal = normalise(weights)
    assert math.fsum(normal.values()) == pytest.approx(1)
    assert all(0 <= weight <= 1 for weight in normal.values())
