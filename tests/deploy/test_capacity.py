"""The plan gives each process what the peak needs, and the simulation agrees with theory."""

import statistics
from pathlib import Path

import pytest

from bench.capacity import (
    COSTS,
    MIXES,
    UTILISATION,
    Costs,
    Load,
    Station,
    machines,
    parse_mix,
    plan,
    report,
    simulate,
    table,
)

MADE_UP = Costs(
    "a machine",
    {"text": {"gateway": 0.001, "text": 0.01}, "face": {"gateway": 0.002, "face": 0.1}},
    {"gateway": 100, "text": 250, "face": 500},
)
SCALING = Path(__file__).parents[2] / "docs" / "scaling.md"


def test_a_plan_gives_what_the_peak_uses_with_room() -> None:
    load = Load(86_400_000, {"text": 0.5, "face": 0.5}, peak=2)
    stations = {one.name: one for one in plan(MADE_UP, load)}
    assert load.peak_per_s == pytest.approx(2000)
    assert stations["face"].used_cores == pytest.approx(100)
    assert stations["text"].used_cores == pytest.approx(10)
    assert stations["gateway"].used_cores == pytest.approx(3)
    for one in stations.values():
        assert one.used_cores / one.cores <= UTILISATION


def test_a_small_mesh_still_has_two_of_each() -> None:
    stations = plan(MADE_UP, Load(1000, {"text": 1.0}))
    assert [one.cores for one in stations] == [2, 2]
    assert machines(stations) == 2


def test_more_requests_need_more_machines() -> None:
    needed = [machines(plan(MADE_UP, Load(10.0**n, {"face": 1.0}))) for n in range(5, 10)]
    assert needed == sorted(needed)
    assert needed[-1] > needed[0]


def test_half_a_load_waits_as_queueing_theory_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """M/D/1: the mean wait is rho / (2 (1 - rho)) of a service (Pollaczek and Khinchine)."""
    monkeypatch.setattr("bench.capacity.SPREAD", 0.0)
    costs = Costs("", {"text": {"text": 0.01}}, {})
    load = Load(50 * 86_400, {"text": 1.0}, peak=1)
    outcome = simulate(costs, load, [Station("text", 0.5, 1, 0)], 1000)
    assert outcome.busy["text"] == pytest.approx(0.5, rel=0.03)
    assert statistics.mean(outcome.seconds["text"]) == pytest.approx(0.015, rel=0.05)


def test_every_simulated_request_is_answered() -> None:
    load = Load(10_000_000, {"text": 0.9, "face": 0.1})
    stations = plan(MADE_UP, load)
    outcome = simulate(MADE_UP, load, stations, 30)
    assert sum(map(len, outcome.seconds.values())) == outcome.requests > 1000
    assert all(share < 1 for share in outcome.busy.values())


@pytest.mark.parametrize("text", ["song=1", "text=x", "text=0", "text=-1,face=2"])
def test_a_mix_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of float, too
        parse_mix(text, MADE_UP.cpu_s)


def test_the_page_shows_what_the_command_prints() -> None:
    costs = Costs.read(COSTS)
    page = SCALING.read_text()
    assert table(costs, MIXES) in page, "run: python -m bench.capacity --table"
    load = Load(1_000_000, parse_mix(MIXES["a mixture"], costs.cpu_s))
    assert report(costs, load, UTILISATION, 300) in page, "run: python -m bench.capacity"
