import numpy as np
import pytest

from services.biosignal import hrv, nn, rhythm
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


NORMAL_MS, EARLY_MS, PAUSE_MS = 850.0, 520.0, 1180.0


@pytest.mark.parametrize(
    "pattern", ["EP", "NEP", "NNEP", "NNNNNNNNEP", "NNNNNEEP", "NNNNNNNNNNNNNEEEP"]
)
def test_early_beats_in_any_pattern_leave_the_variability_of_the_normal_ones(pattern: str) -> None:
    kinds = np.array(list(pattern * (400 // len(pattern))))
    length = {"N": NORMAL_MS, "E": EARLY_MS, "P": PAUSE_MS}
    drawn = np.random.default_rng(3).normal(0, 10, len(kinds))
    intervals = nn.given(np.array([length[kind] for kind in kinds]) + drawn)
    normal, truly = intervals.normal[12:-12], (kinds == "N")[12:-12]
    assert not normal[~truly].any()
    assert np.mean(normal == truly) > 0.98
    found = hrv.rmssd(intervals.part(10, intervals.end_s[-12]))
    if "NN" in pattern:
        assert found == pytest.approx(np.sqrt(2) * 10, rel=0.2)
    else:
        assert found is None


def test_the_breath_of_the_young_is_no_ectopy() -> None:
    beats = np.arange(300)
    found = nn.given(1000 + 180 * np.sin(2 * np.pi * beats / 9))
    assert found.normal.all()


@pytest.mark.parametrize(
    ("mean_ms", "breath_ms", "beats"), [(800, 150, 4.3), (1000, 210, 5.7), (1200, 220, 4.6)]
)
def test_the_deepest_breath_is_in_order(mean_ms: float, breath_ms: float, beats: float) -> None:
    drawn = np.random.default_rng(4).normal(0, 15, 400)
    breathing = mean_ms + breath_ms * np.sin(2 * np.pi * np.arange(400) / beats) + drawn
    intervals = nn.given(breathing)
    assert (hrv.rmssd(intervals) or 0) > rhythm.MOST_SCATTER * mean_ms
    assert not rhythm.disorderly(intervals).any()


def test_intervals_that_say_nothing_of_each_other_are_disorderly() -> None:
    shuffled = np.random.default_rng(4).gamma(20, 35, 400)
    intervals = nn.given(shuffled)
    assert rhythm.disorderly(intervals).all()
    assert rhythm.disorder(intervals) > -0.7
    assert rhythm.disorder(swinging(300)) < -1.5


def test_nothing_is_disorderly_in_nothing() -> None:
    assert not len(rhythm.disorderly(nn.given(np.zeros(0))))


def test_a_still_pause_counts_and_a_restless_one_does_not() -> None:
    length_s = np.full(60, 0.8)
    length_s[30] = 1.5
    times = np.cumsum(length_s)
    match, usable = np.ones(60), np.ones(60, bool)
    restless = np.zeros(59, bool)
    assert nn.between(times, match, usable, restless).normal.all()
    restless[29] = True
    assert np.flatnonzero(~nn.between(times, match, usable, restless).normal).tolist() == [29]
    assert np.flatnonzero(~nn.between(times, match, usable).normal).tolist() == [29]


def test_pauses_that_make_most_of_the_variability_are_seen() -> None:
    even = np.random.default_rng(5).normal(900, 25, 200)
    assert hrv.unevenness(nn.given(even)) == pytest.approx(1, abs=0.2)
    paused = even.copy()
    paused[20::40] += 700
    still = np.zeros(len(paused), bool)
    times = np.concatenate(([0.0], np.cumsum(paused))) / 1000
    whole = np.ones(len(times))
    found = nn.between(times, whole, whole > 0, still)
    assert found.normal.all()
    assert hrv.unevenness(found) > 2


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
