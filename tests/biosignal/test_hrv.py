import numpy as np
import pytest

from services.biosignal import hrv, nn
from tests.biosignal import synthetic


def swinging(seconds: float) -> nn.Intervals:
    """Intervals of 850 ms that swing by 30 ms at 0.1 Hz and by 20 ms at 0.25 Hz."""
    lengths: list[float] = []
    now = 0.0
    while now < seconds:
        slow, fast = np.sin(2 * np.pi * 0.1 * now), np.sin(2 * np.pi * 0.25 * now)
        lengths.append(850 + 30 * slow + 20 * fast)
        now += lengths[-1] / 1000
    return nn.given(np.array(lengths))


def test_measures_known_swings() -> None:
    found = hrv.heart_rate_variability(swinging(330))
    assert found.lf_ms2 == pytest.approx(30**2 / 2, rel=0.05)
    assert found.hf_ms2 == pytest.approx(20**2 / 2, rel=0.05)
    assert found.lf_hf_ratio == pytest.approx(2.25, rel=0.1)
    assert found.sdnn_ms == pytest.approx(np.sqrt((900 + 400) / 2), rel=0.05)
    assert found.mean_nn_ms == pytest.approx(850, rel=0.01)
    assert found.excluded_ratio == 0


def test_measures_rmssd_and_pnn50_of_alternating_intervals() -> None:
    found = hrv.heart_rate_variability(nn.given(np.tile([800.0, 860.0], 50)))
    assert found.rmssd_ms == pytest.approx(60)
    assert found.pnn50 == 1


@pytest.mark.parametrize(
    ("seconds", "present"),
    [
        (20, set()),
        (40, {"rmssd_ms", "pnn50", "mean_nn_ms"}),
        (70, {"rmssd_ms", "pnn50", "mean_nn_ms", "sdnn_ms", "hf_ms2"}),
        (130, {"rmssd_ms", "pnn50", "mean_nn_ms", "sdnn_ms", "hf_ms2", "lf_ms2"}),
        (310, set(hrv.LEAST_S) - {"heart_rate"}),
    ],
)
def test_gives_each_measure_only_from_a_window_long_enough(
    seconds: float, present: set[str]
) -> None:
    found = hrv.heart_rate_variability(swinging(seconds))
    measured = {
        name for name in hrv.LEAST_S if name != "heart_rate" and getattr(found, name) is not None
    }
    assert measured == present


def test_an_ectopic_beat_does_not_raise_variability() -> None:
    steady = swinging(120).length_ms
    ectopic = steady.copy()
    ectopic[60] -= 350
    ectopic[61] += 350
    alone = hrv.heart_rate_variability(nn.given(steady))
    with_ectopic = hrv.heart_rate_variability(nn.given(ectopic))
    assert alone.rmssd_ms is not None
    assert with_ectopic.rmssd_ms == pytest.approx(alone.rmssd_ms, rel=0.03)
    assert with_ectopic.excluded_ratio == pytest.approx(2 / len(steady))


def test_intervals_across_unusable_beats_are_left_out() -> None:
    times = synthetic.beat_times(60)
    usable = np.ones(len(times), bool)
    usable[20:25] = False
    found = nn.between(times, np.ones(len(times)), usable)
    assert found.possible.sum() == len(times) - 1 - 6


def test_a_beat_unlike_the_others_gives_no_normal_interval() -> None:
    times = synthetic.beat_times(60)
    match = np.full(len(times), 0.98)
    match[30] = 0.2
    found = nn.between(times, match, np.ones(len(times), bool))
    assert np.flatnonzero(~found.normal).tolist() == [29, 30]
    assert found.possible.all()


def test_heart_rate_is_of_all_beats() -> None:
    found = hrv.heart_rate(nn.given(np.full(60, 750.0)), 61)
    assert (found.mean_bpm, found.min_bpm, found.max_bpm) == (80, 80, 80)
    assert found.std_bpm == pytest.approx(0)
    assert found.beat_count == 61


def test_heart_rate_needs_ten_seconds() -> None:
    assert hrv.heart_rate(nn.given(np.full(8, 800.0)), 9).mean_bpm is None
