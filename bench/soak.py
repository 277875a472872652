"""Many live voices for a long time: `python -m bench.soak [--streams N] [--minutes M]`.

Emotion only, in real time, over WebSocket, on a mesh of its own. Prints the memory of the voice
service and of the gateway as it goes, then how late partials came and whether anything was lost.
"""

import argparse
import asyncio
import os
import time

import numpy as np

from bench.live import Tally, voices
from bench.table import against
from bench.usage import cpu_seconds, difference, resident_mb
from services.mesh.temporary import TemporaryMesh

PARTIAL_MS = 400.0
GROWTH_MB = 30.0
"""Targets: a partial after the audio it covers; growth of both processes over the second half."""
_LOOKS = 20
_WATCHED = ("voice", "gateway")


def main() -> None:
    """Runs and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak")
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before", flush=True)
    with TemporaryMesh() as mesh:
        asyncio.run(_soak(mesh, arguments.streams, 60 * arguments.minutes))
    print(f"load {os.getloadavg()[0]:.1f} after")


async def _soak(mesh: TemporaryMesh, streams: int, seconds: float) -> None:
    await voices(mesh, 2, 10, transcript=False)
    before, started_s = cpu_seconds(mesh), time.perf_counter()
    speaking = asyncio.create_task(voices(mesh, streams, seconds, transcript=False))
    memory: list[dict[str, float]] = []
    print(f"{'minute':>7} {'voice MB':>9} {'gateway MB':>11}", flush=True)
    while not speaking.done():
        memory.append(await asyncio.to_thread(resident_mb, mesh))
        minute = (time.perf_counter() - started_s) / 60
        cells = " ".join(
            f"{memory[-1][name]:>{width}.0f}" for name, width in zip(_WATCHED, (9, 11), strict=True)
        )
        print(f"{minute:>7.1f} {cells}", flush=True)
        await asyncio.wait([speaking], timeout=seconds / _LOOKS)
    used = difference(before, cpu_seconds(mesh))
    _report(speaking.result(), memory, {name: used[name] / seconds for name in _WATCHED})


def _report(tally: Tally, memory: list[dict[str, float]], cores: dict[str, float]) -> None:
    half = memory[len(memory) // 2]
    print(f"cores in use: {', '.join(f'{name} {value:.2f}' for name, value in cores.items())}")
    for name, times in (("partials", tally.partials_ms), ("finals", tally.finals_ms)):
        median, late, most = np.percentile(times, (50, 95, 100))
        print(
            f"{len(times)} {name}: median {median:.0f}, 95 % within {late:.0f}, most {most:.0f} ms"
        )
    print(
        against(
            "partial, 95 % within", float(np.percentile(tally.partials_ms, 95)), "ms", PARTIAL_MS
        )
    )
    for name in _WATCHED:
        grown = memory[-1][name] - half[name]
        print(against(f"growth of {name} over the second half", grown, "MB", GROWTH_MB))
    print(against("chunks lost", tally.sent - tally.processed, "", 0))
    print(against("partials left out", tally.dropped, "", 0))
    print(against("chunks the socket took late", tally.late_chunks, "", 0))
    print(against("errors", len(tally.errors), "", 0), *sorted(set(tally.errors)))


if __name__ == "__main__":
    main()
