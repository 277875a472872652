"""Every kind of bad input is refused with what to do."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from services.biosignal.analyze import Options, analyze
from services.biosignal.signals import Signal
from services.common import errors
from tests.biosignal import synthetic

ECG = synthetic.ecg(synthetic.beat_times(60), 60, 256)
EDA = synthetic.conductance(np.array([10.0, 30.0]), 60, 4)
RR = np.full(70, 850.0)


def ecg(**changes: Any) -> dict[str, Signal]:
    return {"ecg": Signal(**{"data": ECG, "rate_hz": 256.0, "unit": "mV", **changes})}


def eda(**changes: Any) -> dict[str, Signal]:
    return {"eda": Signal(**{"data": EDA, "rate_hz": 4.0, "unit": "uS", **changes})}


def rr(**changes: Any) -> dict[str, Signal]:
    return {"rr": Signal(**{"data": RR, "rate_hz": 0.0, "unit": "ms", **changes})}


def warmth(**changes: Any) -> dict[str, Signal]:
    given = {"data": np.full(240, 33.0), "rate_hz": 4.0, "unit": "C", **changes}
    return {"temperature": Signal(**given)}


def without(values: Any, at: int, bad: float) -> Any:
    changed = values.copy()
    changed[at] = bad
    return changed


REFUSED: Mapping[str, tuple[dict[str, Signal], str, str]] = {
    "not a number": (ecg(data=without(ECG, 9, np.nan)), "NaN", "interpolation"),
    "infinite": (ecg(data=without(ECG, 9, np.inf)), "NaN", "interpolation"),
    "absurd": (ecg(data=without(ECG, 9, 1e300)), "Absurd", "Cut"),
    "flat": (ecg(data=np.full(15360, 0.1)), "Flat", "contact"),
    "flat skin": (eda(data=np.full(240, 2.0)), "Flat", "contact"),
    "saturated": (ecg(data=np.clip(ECG, -0.05, 0.1)), "Saturated", "gain"),
    "2 s": (ecg(data=ECG[:512]), "too short", "longer"),
    "2 s of skin": (eda(data=EDA[:8]), "too short", "longer"),
    "no samples": (ecg(data=ECG[:0]), "Empty", "data"),
    "rate of 0": (ecg(rate_hz=0.0), "Sample rate", "50 to 4000"),
    "negative rate": (ecg(rate_hz=-256.0), "Sample rate", "50 to 4000"),
    "absurd rate": (ecg(rate_hz=1e9), "Sample rate", "50 to 4000"),
    "rate that is no number": (ecg(rate_hz=float("nan")), "Sample rate", "50 to 4000"),
    "skin at 0.1 Hz": (eda(rate_hz=0.1), "Sample rate", "1 to 4000"),
    "unknown unit": (ecg(unit="furlong"), "Unknown unit", "mV, uV, V, adc"),
    "no unit": (ecg(unit=""), "Unknown unit", "mV, uV, V, adc"),
    "counts without gain": (ecg(unit="adc"), "adc_gain", "counts per mV"),
    "counts with gain of 0": (ecg(unit="adc", adc_gain=0.0), "adc_gain", "counts per mV"),
    "counts with a wrong gain": (ecg(unit="adc", adc_gain=200.0), "Implausible", "adc_gain"),
    "uV called mV": (ecg(data=ECG * 1000), "Implausible", "fit uV"),
    "mV called V": (ecg(unit="V"), "Implausible", "fit mV"),
    "mV called uV": (ecg(unit="uV"), "Implausible", "fit mV"),
    "nS called uS": (eda(data=EDA * 1000), "Implausible", "fit nS"),
    "uS called nS": (eda(unit="nS"), "Implausible", "fit uS"),
    "uS called S": (eda(unit="S"), "Implausible", "fit uS"),
    "s called ms": (rr(data=RR / 1000 * np.ones(70), unit="ms"), "too short", "unit"),
    "ms called s": (rr(unit="s"), "Implausible", "fit ms"),
    "negative intervals": (rr(data=without(RR, 3, -5.0)), "Negative", "beat"),
    "Kelvin called Celsius": (warmth(data=np.full(240, 306.0)), "Implausible", "fit K"),
    "Fahrenheit called Celsius": (warmth(data=np.full(240, 92.0)), "Implausible", "fit F"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str) -> None:
    recording, reason, advice = REFUSED[case]
    with pytest.raises(errors.InvalidSignal) as caught:
        analyze(recording, Options())
    assert reason in caught.value.details["reason"]
    assert advice in caught.value.details["suggestion"]
    assert caught.value.details["field"].startswith("signals.")


def test_refuses_a_request_without_signals() -> None:
    with pytest.raises(errors.InvalidRequest):
        analyze({}, Options())


@pytest.mark.parametrize("unit", ["mV", "MV", " millivolts ", "mv"])
def test_takes_the_usual_spellings_of_a_unit(unit: str) -> None:
    found = analyze(ecg(unit=unit), Options()).heart_rate
    assert found is not None
    assert found.mean_bpm == pytest.approx(66, abs=0.5)


@pytest.mark.parametrize("unit", ["uS", "µS", "μS", "us", "microsiemens"])
def test_micro_has_many_spellings(unit: str) -> None:
    found = analyze(eda(unit=unit), Options()).eda
    assert found is not None
    assert found.scl_mean == pytest.approx(3.1, abs=0.2)


@pytest.mark.parametrize(
    ("unit", "scale", "gain"), [("uV", 1e3, None), ("V", 1e-3, None), ("adc", 200, 200.0)]
)
def test_every_unit_gives_the_same_beats(unit: str, scale: float, gain: float | None) -> None:
    found = analyze(ecg(data=ECG * scale, unit=unit, adc_gain=gain), Options()).heart_rate
    assert found is not None
    assert found.mean_bpm == pytest.approx(66, abs=0.5)


def test_temperatures_come_back_in_celsius() -> None:
    for unit, value in (("C", 33.0), ("K", 306.15), ("F", 91.4), ("°C", 33.0)):
        found = analyze(warmth(unit=unit, data=np.full(240, value)), Options()).temperature
        assert found is not None
        assert found.mean_celsius == pytest.approx(33)


def test_refuses_a_length_that_the_samples_do_not_have() -> None:
    assert analyze(ecg(), Options(), duration_ms=61_000).duration_s == 60
    for declared in (30_000, 120_000, 0):
        with pytest.raises(errors.InvalidSignal) as caught:
            analyze(ecg(), Options(), duration_ms=declared)
        assert "sample_rate" in caught.value.details["suggestion"]


def test_refuses_a_baseline_that_is_too_short() -> None:
    short = {"ecg": Signal(ECG[: 256 * 30], 256.0, "mV")}
    with pytest.raises(errors.InvalidSignal) as caught:
        analyze(ecg(), Options(), baseline=short)
    assert caught.value.details["field"].startswith("baseline.ecg")


@pytest.mark.parametrize("seconds", [-5.0, 0.0, 30.0, 90.0])
def test_refuses_a_first_part_as_baseline_that_is_not_there(seconds: float) -> None:
    with pytest.raises(errors.InvalidRequest):
        analyze(ecg(), Options(baseline_s=seconds))
