import pytest

from services.biosignal import states
from services.biosignal.states import Features

REST = Features(
    heart_rate_bpm=65,
    rmssd_ms=45,
    responses_per_min=2,
    range_us=0.02,
    conductance_us=2,
    breaths_per_min=14,
    temperature_celsius=33.5,
    temperature_celsius_per_min=0.0,
)
STRESS = Features(
    heart_rate_bpm=85,
    rmssd_ms=25,
    responses_per_min=9,
    range_us=0.08,
    conductance_us=3.5,
    breaths_per_min=19,
    temperature_celsius=32.5,
    temperature_celsius_per_min=-0.1,
)


def test_rest_is_not_stress_and_stress_is() -> None:
    rest, stress = states.derive(REST, REST), states.derive(STRESS, REST)
    assert rest.stress is not None
    assert stress.stress is not None
    assert rest.stress < 0.2 < 0.8 < stress.stress
    assert rest.relaxation == pytest.approx(0.5)
    assert stress.relaxation is not None
    assert stress.relaxation < 0.1


def test_states_are_relative_to_the_persons_own_rest() -> None:
    own, other = states.derive(STRESS, STRESS), states.derive(STRESS, REST)
    assert own.stress is not None
    assert other.stress is not None
    assert own.stress < 0.2 < other.stress


def test_confidence_is_low_without_a_baseline_and_with_little_evidence() -> None:
    own, usual = states.derive(STRESS, REST), states.derive(STRESS)
    heart = states.derive(Features(heart_rate_bpm=85))
    assert own.confidence == pytest.approx(0.85)
    assert heart.confidence < usual.confidence <= 0.5


@pytest.mark.parametrize("features", [REST, STRESS, Features(heart_rate_bpm=300, rmssd_ms=0)])
def test_every_state_is_between_0_and_1(features: Features) -> None:
    found = states.derive(features, REST)
    values = (found.stress, found.relaxation, found.arousal, found.engagement, found.confidence)
    assert all(value is not None and 0 <= value <= 1 for value in values)


def test_nothing_measured_gives_no_state() -> None:
    found = states.derive(Features(), REST)
    assert (found.stress, found.relaxation, found.arousal, found.engagement) == (None,) * 4
    assert found.confidence == 0


def test_the_level_of_conductance_says_nothing_without_a_baseline() -> None:
    found = states.derive(Features(conductance_us=5))
    assert found.stress is None


def test_the_level_of_temperature_says_nothing_without_a_baseline() -> None:
    assert states.derive(Features(temperature_celsius=31.0)).stress is None


def test_skin_that_cools_says_a_little_without_a_baseline() -> None:
    steady = states.derive(Features(temperature_celsius_per_min=0.0))
    cooling = states.derive(Features(temperature_celsius_per_min=-0.1))
    assert steady.stress == pytest.approx(0.27, abs=0.01)
    assert cooling.stress == pytest.approx(0.73, abs=0.01)
    assert cooling.confidence <= 0.1
    assert cooling.relaxation is None


def test_features_weigh_as_their_evidence() -> None:
    rest = Features(heart_rate_bpm=70, responses_per_min=3)
    moved = states.derive(Features(heart_rate_bpm=85, responses_per_min=3), rest)
    sweating = states.derive(Features(heart_rate_bpm=70, responses_per_min=7), rest)
    assert moved.stress is not None
    assert sweating.stress is not None
    assert sweating.stress > moved.stress
