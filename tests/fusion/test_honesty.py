"""Behavioural consistency: ranges for every input, and each component by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fusion import honesty
from services.fusion.observations import Observations, Word
from services.fusion.timeline import build
from tests.fusion.observed import even_words, observations, saying, sighting


@given(observations(), st.sampled_from([500, 1000]))
def test_score_components_and_weights_are_within_their_ranges(
    seen: Observations, hop_ms: int
) -> None:
    found = honesty.assess(seen, build(seen, hop_ms))
    if found is None:
        return
    assert 0 <= found.score <= 100
    assert found.components
    assert all(0 <= value <= 1 for value in found.components.values())
    assert found.weights.keys() == found.components.keys()
    assert math.fsum(found.weights.values()) == pytest.approx(1)
    assert set(found.missing) | set(found.components) == set(honesty.WEIGHTS)
    by_hand = sum(found.weights[name] * value for name, value in found.components.items())
    assert found.score == pytest.approx(100 * by_hand)


@given(observations())
def test_the_interpretation_never_claims_to_detect_lies(seen: Observations) -> None:
    found = honesty.assess(seen, build(seen, 1000))
    if found is not None:
        text = honesty.interpretation(found)
        assert text.startswith("Behavioural consistency, not lie detection")
        assert "no evidence that anyone told the truth" in text
        assert all(name in text for name in honesty.WEIGHTS)


def test_weights_sum_to_1() -> None:
    assert math.fsum(honesty.WEIGHTS.values()) == pytest.approx(1)


def test_a_recording_in_which_nothing_can_be_measured_has_no_score() -> None:
    seen = Observations(2000, 500, [sighting(0)])
    assert honesty.assess(seen, build(seen, 1000)) is None


def test_missing_components_leave_their_weight_to_the_others() -> None:
    seen = Observations(16_000, words=even_words(0, 16_000, 1600))
    found = honesty.assess(seen, build(seen, 1000))
    assert found is not None
    fluent = 1 - (9 * 400 / 15_600 - 0.2) / 0.4
    assert found.components == pytest.approx({"fluency": fluent})
    assert found.weights == {"fluency": 1}
    assert found.score == pytest.approx(100 * fluent)
    assert found.missing == ["agreement", "steadiness", "pace"]


def test_agreement_is_high_where_all_say_the_same_and_low_where_they_contradict() -> None:
    def measured(words: str) -> float:
        seen = Observations(
            6000,
            1000,
            [sighting(at, "happiness") for at in range(0, 6000, 1000)],
            [saying(0, 6000, "happiness", words)],
        )
        found = honesty.agreement(build(seen, 1000))
        assert found is not None
        return found

    assert measured("happiness") > 0.95
    assert measured("anger") < measured("neutral") < measured("happiness")


def test_one_modality_alone_has_no_agreement() -> None:
    seen = Observations(9000, 1000, [sighting(at) for at in range(0, 9000, 1000)])
    assert honesty.agreement(build(seen, 1000)) is None


def test_somebody_who_stays_the_same_is_steady_whatever_they_show() -> None:
    for label in ("anger", "happiness"):
        seen = Observations(30_000, 500, [sighting(at, label) for at in range(0, 30_000, 500)])
        assert honesty.steadiness(seen, build(seen, 1000)) == 1


def test_departures_from_the_own_baseline_lower_steadiness() -> None:
    def measured(departing_ms: int) -> float:
        seen = Observations(
            30_000,
            500,
            [
                sighting(at, "anger" if at < departing_ms else "happiness")
                for at in range(0, 30_000, 500)
            ],
        )
        found = honesty.steadiness(seen, build(seen, 1000))
        assert found is not None
        return found

    assert measured(0) == 1
    assert measured(6000) < measured(3000) < 1


def test_a_few_seconds_have_no_baseline() -> None:
    seen = Observations(5000, 500, [sighting(at) for at in range(0, 5000, 500)])
    assert honesty.steadiness(seen, build(seen, 1000)) is None


@pytest.mark.parametrize(("pause_ms", "fluent"), [(240, 1.0), (1000, 0.5 / 0.4 * 0.2), (4000, 0.0)])
def test_fluency_falls_with_the_share_of_pauses(pause_ms: int, fluent: float) -> None:
    words = [Word(at * (1000 + pause_ms), at * (1000 + pause_ms) + 1000) for at in range(100)]
    assert honesty.fluency(words) == pytest.approx(fluent, abs=0.02)


def test_pace_is_1_at_an_even_rate_and_falls_with_changes() -> None:
    sayings = [saying(0, 8000), saying(8000, 16_000), saying(16_000, 24_000)]
    even = even_words(0, 24_000, 400)
    hurried = [*even_words(0, 16_000, 400), *even_words(16_000, 24_000, 200)]
    assert honesty.pace(sayings, even) == pytest.approx(1)
    assert honesty.pace(sayings, hurried) == pytest.approx(1 - 40 / 80, abs=0.01)


def test_pace_needs_three_sayings_of_four_words() -> None:
    assert honesty.pace([saying(0, 4000), saying(4000, 8000)], even_words(0, 8000)) is None


def test_pauses_between_words() -> None:
    words = [Word(0, 500), Word(400, 600), Word(1600, 2000)]
    assert honesty.pauses(words) == [(600, 1000)]
    assert honesty.pauses([]) == []
