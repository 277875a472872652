import numpy as np
import pytest

from services.biosignal.analyze import Analysis, Options, analyze
from services.biosignal.hrv import HeartRateVariability
from services.biosignal.signals import Signal
from tests.biosignal import synthetic

RNG = np.random.default_rng(4)


def codes(found: Analysis) -> set[str]:
    return {remark.code for remark in found.remarks}


def text(found: Analysis, code: str) -> str:
    return " ".join(remark.message for remark in found.remarks if remark.code == code)


def recording(seconds: float, bpm: float = 66, responses: int = 2) -> dict[str, Signal]:
    heart = synthetic.ecg(synthetic.beat_times(seconds, bpm), seconds, 256)
    starts = np.linspace(5, seconds - 8, responses)
    skin = synthetic.conductance(starts, seconds, 4)
    return {"ecg": Signal(heart, 256.0, "mV"), "eda": Signal(skin, 4.0, "uS")}


def test_a_real_recording_gives_everything_it_can() -> None:
    found = analyze(synthetic.sample("rest"), Options(), duration_ms=60_000)
    assert found.heart_rate is not None
    assert found.heart_rate.mean_bpm == pytest.approx(59.4, abs=0.1)
    assert found.heart_rate.beat_count == 59
    assert found.hrv is not None
    assert found.hrv.rmssd_ms == pytest.approx(46.5, abs=1)
    assert found.hrv.hf_ms2 is not None
    assert found.hrv.lf_hf_ratio is None
    assert "lf_hf_ratio needs 300 s" in text(found, "WINDOW_TOO_SHORT")
    assert found.eda is not None
    assert found.eda.scr_count == 9
    assert [moment.start_s for moment in found.timeline] == [0, 10, 20, 30, 40, 50]
    assert all(moment.heart_rate_bpm is not None for moment in found.timeline)
    assert all(moment.states.stress is not None for moment in found.timeline)
    assert all(part.usable for parts in found.quality.values() for part in parts)


def test_pulse_and_breath_of_a_real_recording() -> None:
    found = analyze(synthetic.sample("pulse"), Options())
    assert found.heart_rate is not None
    assert found.heart_rate.mean_bpm == pytest.approx(69, abs=0.5)
    assert found.respiration is not None
    assert found.respiration.mean_bpm == pytest.approx(14.1, abs=0.5)
    assert "PULSE_RATE_VARIABILITY" in codes(found)


def test_intervals_given_as_such() -> None:
    lengths = 900 + 40 * np.sin(np.arange(400) / 2)
    found = analyze({"rr": Signal(lengths / 1000, 0.0, "s")}, Options())
    assert found.duration_s == pytest.approx(360, abs=1)
    assert found.heart_rate is not None
    assert found.heart_rate.mean_bpm == pytest.approx(66.7, abs=0.2)
    assert found.hrv is not None
    assert found.hrv.lf_hf_ratio is not None


@pytest.mark.parametrize("colour", ["white", "brown", "steps"])
def test_noise_gives_no_heart_rate_and_says_so(colour: str) -> None:
    white = RNG.normal(0, 0.3, 15360)
    noise = {
        "white": white,
        "brown": np.cumsum(white) / 20,
        "steps": np.repeat(white[::256], 256) + white / 1000,
    }[colour]
    found = analyze({"ecg": Signal(noise, 256.0, "mV")}, Options())
    assert found.heart_rate is not None
    assert found.heart_rate.mean_bpm is None
    assert found.hrv is not None
    assert found.hrv.rmssd_ms is None
    assert found.states.stress is None
    assert {"LOW_SIGNAL_QUALITY", "WINDOW_TOO_SHORT", "STATES_UNAVAILABLE"} <= codes(found)


def test_a_bad_stretch_is_left_out_and_said() -> None:
    signals = recording(120)
    heart = signals["ecg"].data.copy()
    heart[256 * 40 : 256 * 60] = RNG.normal(0, 0.8, 256 * 20)
    found = analyze({"ecg": Signal(heart, 256.0, "mV")}, Options())
    assert [part.start_s for part in found.quality["ecg"] if not part.usable] == [40, 50]
    assert "2 of 12 stretches were left out: 40-60 s" in text(found, "LOW_SIGNAL_QUALITY")
    assert found.heart_rate is not None
    assert found.heart_rate.mean_bpm == pytest.approx(66, abs=0.5)
    assert found.hrv is not None
    assert found.hrv.excluded_ratio is not None
    clean = analyze({"ecg": signals["ecg"]}, Options()).hrv
    assert clean is not None
    assert found.hrv.rmssd_ms == pytest.approx(clean.rmssd_ms, rel=0.1)


def test_dropped_packets_are_left_out_and_said() -> None:
    heart = recording(120)["ecg"].data.copy()
    heart[256 * 41 : 256 * 49] = 0
    found = analyze({"ecg": Signal(heart, 256.0, "mV")}, Options())
    assert [part.start_s for part in found.quality["ecg"] if not part.usable] == [40]
    assert "LOW_SIGNAL_QUALITY" in codes(found)
    assert found.states.confidence < analyze(recording(120), Options()).states.confidence


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_rate_off_by_two_makes_a_rare_heart_rate_that_is_said(factor: float) -> None:
    heart = synthetic.ecg(synthetic.beat_times(60, 70), 60, 256)
    found = analyze({"ecg": Signal(heart, 256.0 * factor, "mV")}, Options())
    assert "sample rate" in text(found, "IMPLAUSIBLE_HEART_RATE")


def test_skin_of_twenty_seconds_has_a_level_but_no_responses() -> None:
    skin = synthetic.conductance(np.array([5.0]), 20, 4)
    found = analyze({"eda": Signal(skin, 4.0, "uS")}, Options())
    assert found.eda is not None
    assert found.eda.scl_mean is not None
    assert found.eda.scr_count is None
    assert "eda.scr_count needs 30 s" in text(found, "WINDOW_TOO_SHORT")


def test_ten_seconds_of_breath_have_no_rate() -> None:
    at = np.arange(150) / 10
    found = analyze({"respiration": Signal(np.sin(at * 1.5), 10.0, "")}, Options())
    assert found.respiration is not None
    assert found.respiration.mean_bpm is None
    assert "respiration needs 30 s" in text(found, "WINDOW_TOO_SHORT")


def test_an_aroused_minute_is_more_stressed_than_the_same_persons_rest() -> None:
    rest, load = recording(90, 62, responses=2), recording(90, 88, responses=16)
    calm, tense = analyze(rest, Options(), baseline=rest), analyze(load, Options(), baseline=rest)
    assert calm.states.stress is not None
    assert tense.states.stress is not None
    assert calm.states.stress < 0.2 < 0.8 < tense.states.stress
    assert "NO_BASELINE" not in codes(tense)
    alone = analyze(load, Options())
    assert alone.states.confidence < tense.states.confidence
    assert "NO_BASELINE" in codes(alone)


def test_skin_that_cools_is_more_stressed_than_skin_that_does_not() -> None:
    at = np.arange(480) / 4
    still = analyze({"temperature": Signal(33 + 0.01 * np.sin(at), 4.0, "C")}, Options())
    cools = analyze({"temperature": Signal(33 - at / 60 * 0.2, 4.0, "C")}, Options())
    assert still.states.stress is not None
    assert cools.states.stress is not None
    assert still.states.stress < 0.4 < 0.7 < cools.states.stress
    assert cools.timeline[0].states.stress is not None


def test_the_first_minutes_can_be_the_baseline() -> None:
    found = analyze(recording(180), Options(baseline_s=60))
    assert "NO_BASELINE" not in codes(found)
    assert found.states.stress is not None
    assert found.states.stress < 0.3


def test_the_better_of_two_hearts_is_taken() -> None:
    times = synthetic.beat_times(60)
    pulse = Signal(synthetic.ppg(times, 60, 64), 64.0, "")
    noise = Signal(RNG.normal(0, 0.3, 15360), 256.0, "mV")
    found = analyze({"ecg": noise, "ppg": pulse}, Options())
    assert found.heart_rate is not None
    assert found.heart_rate.mean_bpm == pytest.approx(66, abs=0.5)
    assert "PULSE_RATE_VARIABILITY" in codes(found)


def test_signals_of_unlike_length_are_said() -> None:
    signals = recording(60)
    signals["eda"] = Signal(signals["eda"].data[:160], 4.0, "uS")
    found = analyze(signals, Options())
    assert "ecg 60 s, eda 40 s" in text(found, "MIXED_LENGTHS")
    assert found.duration_s == 60
    assert len(found.timeline) == 6


def fibrillating(seconds: float) -> synthetic.Samples:
    """Beats whose intervals say nothing of each other."""
    lengths = RNG.uniform(450, 1100, int(seconds / 0.775))
    return 0.5 + np.cumsum(lengths) / 1000


def test_fibrillation_has_a_rate_and_no_variability() -> None:
    times = fibrillating(180)
    seconds = float(times[-1]) + 1
    heart = Signal(synthetic.ecg(times, seconds, 256), 256.0, "mV")
    found = analyze({"ecg": heart}, Options())
    assert found.heart_rate is not None
    assert found.heart_rate.mean_bpm == pytest.approx(60 / np.diff(times).mean(), rel=0.02)
    assert found.hrv == HeartRateVariability(excluded_ratio=1.0)
    assert "sinus rhythm" in text(found, "IRREGULAR_RHYTHM")
    assert "hrv.rmssd_ms" in text(found, "WINDOW_TOO_SHORT")


def test_minutes_of_fibrillation_leave_the_variability_of_the_others() -> None:
    calm = synthetic.beat_times(120)
    mixed = np.concatenate([calm, calm[-1] + fibrillating(120)])
    rr = {
        name: {"rr": Signal(np.diff(times) * 1000, 0.0, "ms")}
        for name, times in (("calm", calm), ("mixed", mixed))
    }
    alone, found = (analyze(rr[name], Options()) for name in ("calm", "mixed"))
    assert alone.hrv is not None
    assert found.hrv is not None
    assert found.hrv.rmssd_ms == pytest.approx(alone.hrv.rmssd_ms, rel=0.05)
    assert found.hrv.excluded_ratio == pytest.approx(0.5, abs=0.1)
    assert "IRREGULAR_RHYTHM" in codes(found)
    assert "IRREGULAR_RHYTHM" not in codes(alone)


def test_pauses_are_said_to_make_the_variability() -> None:
    times = np.delete(synthetic.beat_times(120), 60)
    found = analyze({"ecg": Signal(synthetic.ecg(times, 120, 256), 256.0, "mV")}, Options())
    assert "pauses" in text(found, "IRREGULAR_RHYTHM")
    assert "IRREGULAR_RHYTHM" not in codes(analyze(recording(120), Options()))


def test_variability_is_absent_where_not_asked_for() -> None:
    found = analyze(recording(60), Options(hrv=False))
    assert found.heart_rate is not None
    assert found.hrv is None
