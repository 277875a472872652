"""A client of the running mesh, and a server of files for it to fetch."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from aiohttp import web
from PIL import Image

from services.mesh.temporary import TemporaryMesh

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture(scope="session")
async def client(mesh: TemporaryMesh) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"x-wia-api-key": mesh.key}
    async with httpx.AsyncClient(base_url=mesh.address, headers=headers, timeout=120) as client:
        yield client


@pytest.fixture(scope="session")
async def files() -> AsyncIterator[str]:
    """Address of a server with good files and bad manners."""
    photograph = (SAMPLES / "face" / "astronaut.jpg").read_bytes()
    grey = io.BytesIO()
    Image.new("RGB", (320, 240), (90, 120, 150)).save(grey, "PNG")
    bodies = {
        "/face.jpg": photograph,
        "/audio.wav": (SAMPLES / "voice" / "austen-0870.flac").read_bytes(),
        "/video.mp4": panning_video(photograph),
        "/no-face.png": grey.getvalue(),
        "/empty": b"",
    }

    async def give(request: web.Request) -> web.StreamResponse:
        if request.path == "/loop":
            raise web.HTTPFound("/loop")
        if request.path == "/slow":
            await asyncio.sleep(10)
        if request.path == "/endless":
            return await pour(request)
        if request.path not in bodies:
            raise web.HTTPNotFound
        return web.Response(body=bodies[request.path])

    app = web.Application()
    app.router.add_get("/{name:.*}", give)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}"
    await runner.cleanup()


async def pour(request: web.Request) -> web.StreamResponse:
    """A body without length or end."""
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        while True:
            await response.write(b"\0" * 1024 * 1024)
    except ConnectionError:
        return response


def panning_video(photograph: bytes, frames: int = 60, rate: int = 30) -> bytes:
    """Two seconds in which the photograph moves sideways."""
    image = np.asarray(Image.open(io.BytesIO(photograph)).convert("RGB").resize((512, 512)))
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 512, 512, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(image, number, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()
