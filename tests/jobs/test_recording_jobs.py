"""Jobs that analyse a recording with signals of the body taken with it, on a running mesh."""

import httpx
import pytest

from affectmesh.v1 import fusion_pb2
from services.common.transcoding import renderer
from services.mesh.temporary import TemporaryMesh
from tests.contract.following import followed
from tests.fusion.recordings import empty, film, speech

BEATS = {"rr": {"data": [800 + 20 * (i % 3) for i in range(100)], "unit": "ms"}}


async def test_signals_of_the_body_join_the_recording_of_a_job(mesh: TemporaryMesh) -> None:
    headers = {"x-wia-api-key": mesh.key}
    async with httpx.AsyncClient(base_url=mesh.address, headers=headers, timeout=60) as client:
        video = {"file": ("interview.mp4", film(3, empty, speech("0880")))}
        media = (await client.post("/v1/media", files=video)).json()
        asked = {
            "kind": "recording_basic",
            "input": {"media_id": media["media_id"]},
            "options": {"biosignal": {"signals": BEATS}, "biosignal_start_ms": -75_000},
        }
        made = await client.post("/v1/jobs", json=asked)
        assert made.status_code == 201, made.text
        assert made.json()["options"] == asked["options"]
        job = await followed(
            client, f"/v1/jobs/{made.json()['job_id']}", lambda now: "end_time" in now
        )
        assert job["state"] == "done", job
        forms = {
            one["file_name"]: await client.get(f"/v1/media/{one['media_id']}/content")
            for one in job["representations"]
        }
    message = fusion_pb2.RecordingAnalysis.FromString(forms.pop("result.binpb").content)
    result = forms.pop("result.json").json()
    assert not forms
    assert result == renderer(message.DESCRIPTOR)(message)
    assert result["biosignal"]["heart_rate"]["mean_bpm"] == pytest.approx(60_000 / 820, abs=0.5)
    assert all("biosignal" in one["modalities"] for one in result["timeline"])
    assert any("voice" in one["modalities"] for one in result["timeline"])
