"""A client that goes away ends the work that was done for it, in every service it reached."""

import asyncio
import base64
import re
from urllib.parse import urlsplit

import grpc
import httpx
import orjson

from affectmesh.v1 import fusion_pb2, fusion_pb2_grpc
from services.cli.samples import PHOTOGRAPH
from services.common.channels import OPTIONS
from services.mesh.temporary import TemporaryMesh
from tests.fusion.recordings import film, portrait
from tests.gateway.streams import calls_in_flight, until

FRAMES = 400


async def cancelled(mesh: TemporaryMesh, service: str, method: str) -> float:
    """How many calls of a method have been cancelled."""
    settings = mesh.settings
    async with httpx.AsyncClient(timeout=60) as client:
        url = f"http://{settings.host}:{settings.metrics_port(service)}/metrics"
        text = (await client.get(url)).text
    pattern = rf'affectmesh_rpc_seconds_count{{code="CANCELLED",method="[^"]*/{method}"}} (\S+)'
    return sum(map(float, re.findall(pattern, text)))


async def rises(mesh: TemporaryMesh, service: str, method: str, before: float) -> None:
    """Waits until more of these calls have been cancelled."""

    async def is_higher() -> bool:
        return await cancelled(mesh, service, method) > before

    await until(is_higher)


async def test_a_rest_client_that_goes_away_ends_its_analysis(mesh: TemporaryMesh) -> None:
    before = await cancelled(mesh, "face", "AnalyzeFaceVideo")
    frame = base64.b64encode(PHOTOGRAPH.read_bytes()).decode()
    body = orjson.dumps({"frames_base64": [frame] * FRAMES, "options": {"sample_rate": 1}})
    place = urlsplit(mesh.address)
    _, writer = await asyncio.open_connection(place.hostname, place.port)
    head = (
        f"POST /v1/analyze/face/video HTTP/1.1\r\nHost: {place.netloc}\r\n"
        f"X-WIA-API-Key: {mesh.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()

    async def is_begun() -> bool:
        return await calls_in_flight(mesh.settings, "face") > 0

    await until(is_begun)
    writer.close()
    await writer.wait_closed()
    await rises(mesh, "face", "AnalyzeFaceVideo", before)


async def test_a_recording_nobody_waits_for_ends_in_fusion_and_face(mesh: TemporaryMesh) -> None:
    fusion = await cancelled(mesh, "fusion", "AnalyzeRecording")
    face = await cancelled(mesh, "face", "FollowFaces")
    video = film(40, portrait(320))
    address = mesh.settings.address("fusion")
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        request = fusion_pb2.AnalyzeRecordingRequest(video=video, depth="advanced")
        call = fusion_pb2_grpc.FusionServiceStub(channel).AnalyzeRecording(request)
        async for message in call:
            if message.progress > 0.1:
                break
        call.cancel()
    await rises(mesh, "fusion", "AnalyzeRecording", fusion)
    await rises(mesh, "face", "FollowFaces", face)
