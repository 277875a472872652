"""Analyses one recording on a mesh of its own: `python -m bench.recording FILE [--depth DEPTH]`."""

import argparse
import asyncio
import os
import time
from pathlib import Path

import grpc

from affectmesh.v1 import fusion_pb2, fusion_pb2_grpc
from bench.usage import cpu_seconds, difference, resident_mb
from services.common.channels import OPTIONS
from services.mesh.temporary import TemporaryMesh

_LOOK_S = 0.5


def main() -> None:
    """Prints the time, the mesh's CPU time and its memory over that of the idle mesh."""
    parser = argparse.ArgumentParser(prog="python -m bench.recording")
    parser.add_argument("file", type=Path)
    parser.add_argument("--depth", default="basic", choices=("basic", "advanced"))
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before", flush=True)
    with TemporaryMesh() as mesh:
        asyncio.run(_measure(mesh, arguments.file.read_bytes(), arguments.depth))


async def _measure(mesh: TemporaryMesh, video: bytes, depth: str) -> None:
    idle_mb, before = _memory_mb(mesh), cpu_seconds(mesh)
    started = time.perf_counter()
    analysis = asyncio.create_task(_analyse(mesh, video, depth))
    most_mb = idle_mb
    while not analysis.done():
        most_mb = max(most_mb, await asyncio.to_thread(_memory_mb, mesh))
        await asyncio.wait([analysis], timeout=_LOOK_S)
    took_s = time.perf_counter() - started
    result = analysis.result()
    used = difference(before, cpu_seconds(mesh))
    spent = ", ".join(f"{name} {s:.1f}" for name, s in used.items() if s >= 0.1)
    print(
        f"{depth}: {result.duration_ms / 1000:.0f} s of recording in {took_s:.1f} s; "
        f"CPU {sum(used.values()):.1f} s ({spent}); {most_mb - idle_mb:.0f} MB over the idle mesh"
    )


def _memory_mb(mesh: TemporaryMesh) -> float:
    return sum(resident_mb(mesh).values())


async def _analyse(mesh: TemporaryMesh, video: bytes, depth: str) -> fusion_pb2.RecordingAnalysis:
    address = mesh.settings.address("fusion")
    request = fusion_pb2.AnalyzeRecordingRequest(video=video, depth=depth)
    result = fusion_pb2.RecordingAnalysis()
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        async for message in fusion_pb2_grpc.FusionServiceStub(channel).AnalyzeRecording(request):
            result = message.result
    return result


if __name__ == "__main__":
    main()
