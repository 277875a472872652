"""Who waits for a job while the gateway stops."""

import asyncio
import json
import os
import signal

import httpx

from services.common.settings import SERVICES
from services.mesh.temporary import TemporaryMesh
from tests.jobs.files import film, wav

HERE = ("billing", "jobs", "gateway")


async def test_who_waits_for_a_job_is_told_how_it_stands() -> None:
    settings = {
        "AFFECTMESH_ADDRESSES": json.dumps(
            {name: "127.0.0.1:1" for name in SERVICES if name not in HERE}
        ),
        "AFFECTMESH_STOP_GRACE_S": "300",
    }
    with TemporaryMesh(settings) as mesh:
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
                while not (await client.get("/api/v1/recordings")).json()["total"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                os.kill(mesh.pid("gateway"), signal.SIGTERM)
                last = [line async for line in lines if line][-2:]
            answer = await asking
        assert (answer.status_code, answer.json()["status"]) == (200, "processing")
        assert answer.headers["location"].endswith(answer.json()["recording_id"])
        assert int(answer.headers["retry-after"]) > 0
        assert last[0] == "event: error"
        assert json.loads(last[1].removeprefix("data: "))["code"] == "SERVICE_UNAVAILABLE"
