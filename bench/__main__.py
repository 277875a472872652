"""Starts a mesh, drives it, prints the table: `python -m bench [--json FILE] [--seconds S]`."""

import argparse
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path

import orjson

from bench.measure import Row, measure
from bench.table import HEAD, against, line
from bench.usage import resident_mb
from services.cli.samples import SampleRequest, sample_requests
from services.mesh.temporary import TemporaryMesh

CLIENTS = (1, 32)
SMALL_TEXT = SampleRequest(
    "small text", "/v1/analyze/text", {"text": "What a wonderful day!"}, "a few words"
)
GATEWAY = SampleRequest(
    "gateway", "/v1/analyze/text", {"text": ""}, "an empty text, refused by the text service", 400
)
"""Authentication, limit, translation and the call, without a model beside it that takes both cores
and their caches."""
GATEWAY_CPU_MS, RESIDENT_MB, READY_S = 0.6, 2500.0, 20.0
"""Targets: the gateway's CPU for a small request, memory of the whole mesh, time to ready."""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--json", type=Path, help="file that gets every figure")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    parser.add_argument("--only", help="measure this kind of request only")
    arguments = parser.parse_args()
    samples = [
        sample
        for sample in (GATEWAY, SMALL_TEXT, *sample_requests())
        if arguments.only in (None, sample.kind)
    ]
    machine = (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f} before"
    )
    print(f"{machine}\nstarting a mesh …", flush=True)
    with TemporaryMesh() as mesh:
        ready_s = mesh.ready_s or 0.0
        idle = resident_mb(mesh)
        print(HEAD, flush=True)
        rows = []
        for sample in samples:
            for clients in CLIENTS:
                _progress(f"{sample.kind}, {clients} clients …")
                rows.append(measure(mesh, sample, clients, arguments.seconds))
                _progress("")
                print(line(rows[-1]), flush=True)
        loaded = resident_mb(mesh)
    print()
    for text in _targets(rows, ready_s, idle, loaded):
        print(text)
    if arguments.json:
        figures = {
            "machine": machine,
            "ready_s": ready_s,
            "resident_mb": {"idle": idle, "after_load": loaded},
            "rows": [asdict(row) for row in rows],
        }
        arguments.json.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2))


def _targets(
    rows: list[Row], ready_s: float, idle: dict[str, float], loaded: dict[str, float]
) -> list[str]:
    gateway = [
        against(
            f"gateway, {row.kind}, {row.clients} clients",
            row.cpu_ms_by_process["gateway"],
            "ms",
            GATEWAY_CPU_MS,
        )
        for row in rows
        if row.kind in (GATEWAY.kind, SMALL_TEXT.kind)
    ]
    return [
        *gateway,
        against("start to ready", ready_s, "s", READY_S),
        against("resident before the load", sum(idle.values()), "MB", RESIDENT_MB),
        against("resident after the load", sum(loaded.values()), "MB", RESIDENT_MB),
        "after the load: " + ", ".join(f"{name} {size:.0f}" for name, size in loaded.items()),
    ]


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
