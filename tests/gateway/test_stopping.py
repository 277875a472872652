"""Who waits for a job while the gateway stops."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import httpx

from affectmesh.v1 import fusion_pb2_grpc, voice_pb2_grpc
from services.common.settings import SERVICES
from services.mesh.temporary import TemporaryMesh
from tests.common.serving import serving
from tests.gateway.streams import until
from tests.jobs.files import film, wav

HERE = ("billing", "jobs", "gateway")


class Held(fusion_pb2_grpc.FusionServiceServicer, voice_pb2_grpc.VoiceServiceServicer):
    """Keeps every analysis until it may end, in vain."""

    def __init__(self) -> None:
        self.open = 0
        self.may_end = asyncio.Event()

    async def add(self, server: grpc.aio.Server) -> None:
        """Serves both contracts."""
        fusion_pb2_grpc.add_FusionServiceServicer_to_server(self, server)
        voice_pb2_grpc.add_VoiceServiceServicer_to_server(self, server)

    async def AnalyzeVoice(self, request: Any, context: Any) -> Any:
        await self._hold()
        raise NotImplementedError

    async def AnalyzeRecording(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._hold()
        return
        yield

    async def _hold(self) -> None:
        self.open += 1
        try:
            await self.may_end.wait()
        finally:
            self.open -= 1


async def test_who_waits_for_a_job_is_told_how_it_stands() -> None:
    held = Held()  # type: ignore[abstract]
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serving(held.add))
        elsewhere = {name: address for name in SERVICES if name not in HERE}
        settings = {
            "AFFECTMESH_ADDRESSES": json.dumps(elsewhere),
            "AFFECTMESH_STOP_GRACE_S": "300",
        }
        mesh = await asyncio.to_thread(lambda: stack.enter_context(TemporaryMesh(settings)))
        headers = {"authorization": f"Bearer {mesh.key}"}
        async with httpx.AsyncClient(base_url=mesh.address, headers=headers, timeout=60) as client:
            media = (await client.post("/v1/media", files={"file": ("a.wav", wav())})).json()
            job = {"kind": "voice", "input": {"media_id": media["media_id"]}}
            job = (await client.post("/v1/jobs", json=job)).json()
            asking = asyncio.create_task(
                client.post("/api/v1/analyze", files={"video": ("a.mp4", film())})
            )
            async with client.stream("GET", f"/v1/jobs/{job['job_id']}/watch") as watched:
                lines = watched.aiter_lines()
                assert await anext(lines) == "event: job"
                await until(lambda: held.open == 2)
                os.kill(mesh.pid("gateway"), signal.SIGTERM)
                last = [line async for line in lines if line][-2:]
            answer = await asking
        held.may_end.set()
        await until(lambda: held.open == 0)
    assert (answer.status_code, answer.json()["status"]) == (200, "processing")
    assert answer.headers["location"].endswith(answer.json()["recording_id"])
    assert int(answer.headers["retry-after"]) > 0
    assert last[0] == "event: error"
    assert json.loads(last[1].removeprefix("data: "))["code"] == "SERVICE_UNAVAILABLE"
