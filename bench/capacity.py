"""From requests a day to machines: `python -m bench.capacity --requests-per-day 1000000`.

What a request costs each process comes from `python -m bench --json FILE`. The plan gives every
process as many cores as it uses in the peak, at a utilisation that leaves room; the simulation then
plays some minutes of that peak, request by request, and says how long they would take.
"""

import argparse
import heapq
import math
import random
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

COSTS = Path(__file__).with_name("costs.json")
DEFAULT_MIX = "text=0.5,face=0.25,voice=0.1,biosignal=0.1,multimodal=0.05"
PEAK = 3.0
"""The busiest hour has this many times the mean."""

UTILISATION = 0.6
SPREAD = 0.35
"""Standard deviation of the logarithm of a cost: some faces and texts are larger than others."""

MACHINE_CORES, MACHINE_GB = 8, 32
SYSTEM_CORES, SYSTEM_GB = 0.5, 2.0
"""Of each machine, for the system and Kubernetes."""

ALIKE = ("redis", "billing", "jobs", "worker-1")
"""What they do for a request is the same for every kind."""

LEDGER_PER_S = 2_000.0
"""Entries a second that one ledger takes: `python -m bench.ledger`, on a busy machine."""

MOST_SIMULATED = 200_000
_DAY_S = 86_400


@dataclass(frozen=True)
class Costs:
    """Seconds of CPU by kind of request and process, and MB that each process holds."""

    machine: str
    cpu_s: Mapping[str, Mapping[str, float]]
    resident_mb: Mapping[str, float]

    @classmethod
    def read(cls, path: Path) -> "Costs":
        """From the JSON of `python -m bench`; of each kind, the row with most clients.

        A process spends a little while it waits, and the slower the requests, the more of it falls
        on each: what every request needs alike counts as in the cheapest row, and what is under 2 %
        of a request does not count.
        """
        figures = orjson.loads(path.read_bytes())
        rows = sorted(figures["rows"], key=lambda row: row["clients"])
        last = {row["kind"]: row["cpu_ms_by_process"] for row in rows}
        alike = {
            name: min(spent[name] for spent in last.values())
            for name in ALIKE
            if name in next(iter(last.values()))
        }
        cpu_s = {
            kind: {
                name: alike.get(name, ms) / 1000
                for name, ms in spent.items()
                if name in alike or ms >= 0.02 * sum(spent.values())
            }
            for kind, spent in last.items()
        }
        return cls(figures["machine"], cpu_s, figures["resident_mb"]["after_load"])


@dataclass(frozen=True)
class Load:
    """How many requests, of which kinds, and how busy the busiest hour is."""

    requests_per_day: float
    mix: Mapping[str, float]
    peak: float = PEAK

    @property
    def peak_per_s(self) -> float:
        """Requests a second in the busiest hour."""
        return self.requests_per_day / _DAY_S * self.peak


@dataclass(frozen=True)
class Station:
    """One kind of process: what it uses in the peak, and what it is given."""

    name: str
    used_cores: float
    cores: int
    memory_gb: float


def plan(costs: Costs, load: Load, utilisation: float = UTILISATION) -> list[Station]:
    """The processes, hungriest first. Each has two replicas at least, of one core or more."""
    found = []
    for name in sorted({name for kind in load.mix for name in costs.cpu_s[kind]}):
        mean_s = sum(share * costs.cpu_s[kind].get(name, 0) for kind, share in load.mix.items())
        used = load.peak_per_s * mean_s
        cores = max(2, math.ceil(used / utilisation))
        memory = cores * costs.resident_mb.get(name, 0) / 1000
        found.append(Station(name, used, cores, memory))
    return sorted(found, key=lambda station: -station.used_cores)


def machines(stations: list[Station], utilisation: float = UTILISATION) -> int:
    """How many machines carry the peak at this utilisation, and one more, so that one may fail.

    Cores of a process that it does not use are shared; memory is not.
    """
    by_cpu = sum(one.used_cores for one in stations) / utilisation / (MACHINE_CORES - SYSTEM_CORES)
    by_memory = sum(one.memory_gb for one in stations) / (MACHINE_GB - SYSTEM_GB)
    return math.ceil(max(by_cpu, by_memory)) + 1


@dataclass(frozen=True)
class Outcome:
    """Of a simulated peak: requests, and seconds from coming in to the answer, by kind."""

    requests: int
    seconds: Mapping[str, list[float]]
    busy: Mapping[str, float]
    """Share of the time that a station's cores work."""


def simulate(
    costs: Costs, load: Load, stations: list[Station], seconds: float, seed: int = 1
) -> Outcome:
    """Requests come at random (Poisson) and wait at each process for a free core, first come first
    served; what a process does for a request varies around its measured cost (log-normal)."""
    chance = random.Random(seed)
    seconds = min(seconds, MOST_SIMULATED / load.peak_per_s)
    kinds, shares = list(load.mix), list(load.mix.values())
    free = {one.name: [0.0] * one.cores for one in stations}
    worked = dict.fromkeys(free, 0.0)
    coming: list[tuple[float, int, int]] = []
    begun: list[tuple[str, float]] = []
    at = chance.expovariate(load.peak_per_s)
    while at < seconds:
        kind = chance.choices(kinds, shares)[0]
        coming.append((at, len(begun), 0))
        begun.append((kind, at))
        at += chance.expovariate(load.peak_per_s)
    heapq.heapify(coming)
    ways = {kind: [name for name in free if costs.cpu_s[kind].get(name)] for kind in kinds}
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    while coming:
        now, request, stage = heapq.heappop(coming)
        kind, came = begun[request]
        if stage == len(ways[kind]):
            found[kind].append(now - came)
            continue
        name = ways[kind][stage]
        varied = chance.lognormvariate(-SPREAD * SPREAD / 2, SPREAD)
        cost = costs.cpu_s[kind][name] * varied
        end = max(now, heapq.heappop(free[name])) + cost
        heapq.heappush(free[name], end)
        heapq.heappush(coming, (end, request, stage + 1))
        worked[name] += cost
    busy = {one.name: worked[one.name] / (one.cores * seconds) for one in stations}
    return Outcome(len(begun), found, busy)


def parse_mix(text: str, known: Mapping[str, object]) -> dict[str, float]:
    """Shares by kind from "text=0.5,face=0.5", made to sum to 1. Raises ValueError."""
    found = {}
    for part in text.split(","):
        kind, _, share = part.partition("=")
        if kind.strip() not in known:
            raise ValueError(f"{kind.strip()!r} is none of {', '.join(known)}")
        found[kind.strip()] = float(share)
    total = sum(found.values())
    if total <= 0 or min(found.values()) < 0:
        raise ValueError("shares are positive numbers")
    return {kind: share / total for kind, share in found.items()}


def report(costs: Costs, load: Load, utilisation: float, seconds: float) -> str:
    """The plan and the simulated peak, as text."""
    stations = plan(costs, load, utilisation)
    outcome = simulate(costs, load, stations, seconds)
    lines = [
        f"{load.requests_per_day:,.0f} requests a day, {load.peak_per_s:.1f} a second in the peak",
        "",
        f"{'process':10} {'cores used':>10} {'cores given':>11} {'memory GB':>10} {'busy':>6}",
    ]
    lines += [
        f"{one.name:10} {one.used_cores:>10.2f} {one.cores:>11} {one.memory_gb:>10.1f} "
        f"{outcome.busy[one.name]:>6.0%}"
        for one in stations
    ]
    lines += ["", f"{'request':12} {'p50 ms':>8} {'p99 ms':>8}"]
    for kind, times in outcome.seconds.items():
        cuts = statistics.quantiles(times, n=100) if len(times) > 1 else [0.0] * 99
        lines.append(f"{kind:12} {1000 * cuts[49]:>8.0f} {1000 * cuts[98]:>8.0f}")
    ledger = load.peak_per_s / LEDGER_PER_S
    needed = machines(stations, utilisation)
    lines += [
        "",
        f"machines of {MACHINE_CORES} cores and {MACHINE_GB} GB: {needed}, one of them to spare",
        f"ledger: {load.peak_per_s:.0f} entries a second, {ledger:.1%} of what one enters",
    ]
    return "\n".join(lines)


def table(costs: Costs, mixes: Mapping[str, str]) -> str:
    """Machines for a million requests a day of several mixes, as Markdown."""
    rows = [
        "| requests | CPU of one, ms | most of it in | 1 M a day | 10 M a day | 100 M a day |",
        "|---|---|---|---|---|---|",
    ]
    for name, text in mixes.items():
        mix = parse_mix(text, costs.cpu_s)
        loads = [Load(count, mix) for count in (1e6, 1e7, 1e8)]
        plans = [plan(costs, load) for load in loads]
        used = plans[0]
        mean_ms = 1000 * sum(one.used_cores for one in used) / loads[0].peak_per_s
        needed = " | ".join(f"{machines(one)}" for one in plans)
        rows.append(f"| {name} | {mean_ms:.1f} | {used[0].name} | {needed} |")
    return "\n".join(rows)


MIXES = {
    "short texts": "small text=1",
    "texts with aspects, entities, sentences": "text=1",
    "faces": "face=1",
    "voice, 4 s with transcript": "voice=1",
    "biosignals": "biosignal=1",
    "multimodal": "multimodal=1",
    "a mixture": DEFAULT_MIX,
}


def main() -> None:
    """Plans, simulates and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.capacity")
    parser.add_argument("--requests-per-day", type=float, default=1_000_000)
    parser.add_argument("--mix", default=DEFAULT_MIX, help="shares of the kinds of requests")
    parser.add_argument("--peak", type=float, default=PEAK, help="busiest hour, times the mean")
    parser.add_argument("--utilisation", type=float, default=UTILISATION, help="of cores, in it")
    parser.add_argument("--seconds", type=float, default=300, help="of the peak, simulated")
    parser.add_argument("--costs", type=Path, default=COSTS, help="JSON of python -m bench")
    parser.add_argument("--table", action="store_true", help="machines for several mixes")
    arguments = parser.parse_args()
    costs = Costs.read(arguments.costs)
    if arguments.table:
        print(table(costs, MIXES))
        return
    try:
        mix = parse_mix(arguments.mix, costs.cpu_s)
    except ValueError as error:
        parser.error(f"--mix: {error}")
    load = Load(arguments.requests_per_day, mix, arguments.peak)
    print(f"costs measured on {costs.machine}")
    print(report(costs, load, arguments.utilisation, arguments.seconds))


if __name__ == "__main__":
    main()
