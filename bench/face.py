"""Measures the face service of a mesh of its own: `python -m bench.face [--video FILE]`.

Images of 1280 x 720, a live stream of them, and a video, with the service's memory on the way.
"""

import argparse
import asyncio
import io
import os
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import numpy as np
from PIL import Image

from affectmesh.v1 import face_pb2, face_pb2_grpc, types_pb2
from bench.table import against
from bench.usage import cpu_seconds, difference, resident_mb
from services.cli.samples import PHOTOGRAPH
from services.common.channels import OPTIONS
from services.face.image import Pixels, decode
from services.mesh.temporary import TemporaryMesh
from tests.face.pictures import scene

ONE_FACE_MS, TWENTY_FACES_MS = 60.0, 400.0
LIVE_P50_MS, LIVE_P99_MS = 85.0, 160.0
VIDEO_SPEED, VIDEO_MB = 5.0, 600.0
"""Targets: p50 of images in the service, frame to result of a live stream, times real time, and the
service's memory during a video."""
REPEATS, LIVE_HZ, LIVE_S = 40, 15, 20
_LOOK_S = 1.0
_CHUNK_BYTES = 1024 * 1024

Stub = face_pb2_grpc.FaceServiceStub


def main() -> None:
    """Prints each figure beside its target."""
    parser = argparse.ArgumentParser(prog="python -m bench.face")
    parser.add_argument("--video", type=Path, help="a video to be followed")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before", flush=True)
    with TemporaryMesh() as mesh:
        asyncio.run(_measure(mesh, arguments.video))


async def _measure(mesh: TemporaryMesh, video: Path | None) -> None:
    portrait = decode(PHOTOGRAPH.read_bytes())
    one, _ = scene(portrait, [(400, 60, 240)])
    twenty, _ = scene(portrait, [(20 + 250 * (n % 5), 10 + 175 * (n // 5), 40) for n in range(20)])
    address = mesh.settings.address("face")
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        stub = Stub(channel)
        for name, picture, target in (
            ("one face", one, ONE_FACE_MS),
            ("20 small faces", twenty, TWENTY_FACES_MS),
        ):
            before = cpu_seconds(mesh)
            found, took_ms = await _image(stub, _jpeg(picture))
            used_ms = 1000 * difference(before, cpu_seconds(mesh))["face"] / REPEATS
            print(against(f"720p, {name} ({found} found), p50", took_ms, "ms", target))
            print(f"720p, {name}, CPU an image: {used_ms:.1f} ms", flush=True)
        before = cpu_seconds(mesh)
        latencies, dropped = await _live(stub, portrait)
        used_ms = 1000 * difference(before, cpu_seconds(mesh))["face"] / len(latencies)
        cuts = statistics.quantiles(latencies, n=100, method="inclusive")
        name = f"live 720p at {LIVE_HZ} Hz"
        print(against(f"{name}, p50", cuts[49], "ms", LIVE_P50_MS))
        print(against(f"{name}, p99", cuts[98], "ms", LIVE_P99_MS))
        print(f"{name}, frames dropped: {dropped} of {LIVE_HZ * LIVE_S}; CPU {used_ms:.1f} ms each")
        if video is not None:
            await _video(mesh, stub, video)


async def _image(stub: Stub, jpeg: bytes) -> tuple[int, float]:
    """Faces found, and the median time in the service in ms."""
    times = []
    for _ in range(REPEATS):
        answer = await stub.AnalyzeFace(face_pb2.AnalyzeFaceRequest(image=jpeg))
        times.append(answer.processing_time_ms)
    return len(answer.faces), statistics.median(times)


async def _live(stub: Stub, portrait: Pixels) -> tuple[list[int], int]:
    """Milliseconds from frame to result, and frames without one."""
    places = [200 + round(200 * np.sin(n / 15)) for n in range(LIVE_HZ * LIVE_S)]
    frames = [_jpeg(scene(portrait, [(left, 60, 240)])[0]) for left in places]

    async def sent() -> AsyncIterator[face_pb2.StreamFaceRequest]:
        output = types_pb2.StreamOutput(rate=types_pb2.OUTPUT_RATE_PER_FRAME)
        yield face_pb2.StreamFaceRequest(config=face_pb2.StreamFaceConfig(output=output))
        began = time.perf_counter()
        for number, jpeg in enumerate(frames):
            await asyncio.sleep(max(0.0, began + number / LIVE_HZ - time.perf_counter()))
            at_ms = round(1000 * number / LIVE_HZ)
            frame = face_pb2.VideoFrame(frame_number=number, timestamp_ms=at_ms, image=jpeg)
            yield face_pb2.StreamFaceRequest(frame=frame)

    latencies = [
        message.result.latency_ms
        async for message in stub.StreamFace(sent())
        if message.WhichOneof("message") == "result"
    ]
    return latencies, len(frames) - len(latencies)


async def _video(mesh: TemporaryMesh, stub: Stub, path: Path) -> None:
    before, idle_mb = cpu_seconds(mesh), resident_mb(mesh)["face"]
    started = time.perf_counter()
    following = asyncio.create_task(_follow(stub, path))
    curve = [idle_mb]
    while not following.done():
        await asyncio.wait([following], timeout=_LOOK_S)
        curve.append((await asyncio.to_thread(resident_mb, mesh))["face"])
    took_s = time.perf_counter() - started
    result = following.result()
    used_s = difference(before, cpu_seconds(mesh))["face"]
    length_s = result.duration_ms / 1000
    print(
        f"video of {length_s:.0f} s, {result.frame_count} frames, {result.analyzed_frames} "
        f"analysed, in {took_s:.1f} s; CPU {used_s:.1f} s, "
        f"{1000 * used_s / length_s:.0f} ms a second"
    )
    speed = length_s / took_s
    verdict = "met" if speed >= VIDEO_SPEED else "missed"
    print(f"{'video, times real time':44} {speed:>8.2f}     target {VIDEO_SPEED:g}: {verdict}")
    print(against("video, most memory of the service", max(curve), "MB", VIDEO_MB))
    points = [curve[round(k * (len(curve) - 1) / 20)] for k in range(21)]
    print("memory in MB, in 20 steps: " + " ".join(f"{size:.0f}" for size in points))


async def _follow(stub: Stub, path: Path) -> face_pb2.AnalyzeFaceVideoResponse:
    result = face_pb2.AnalyzeFaceVideoResponse()
    async for message in stub.FollowFaces(_pieces(path)):
        result = message.result
    return result


def _pieces(path: Path) -> Iterator[face_pb2.FollowFacesRequest]:
    yield face_pb2.FollowFacesRequest(video=face_pb2.AnalyzeFaceVideoRequest())
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield face_pb2.FollowFacesRequest(chunk=chunk)


def _jpeg(picture: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
