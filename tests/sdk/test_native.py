"""The client of the WIA API, of live streams and of the contract, with the running mesh."""

from collections.abc import AsyncIterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from affectmesh.v1 import text_pb2
from affectmesh_client import AffectMesh, Contract, Refused
from services.mesh.temporary import TemporaryMesh
from tests.fusion.recordings import portrait
from tests.voice.recordings import speech


@pytest.fixture
async def client(mesh: TemporaryMesh) -> AsyncIterator[AffectMesh]:
    async with AffectMesh(mesh.address, api_key=mesh.key) as client:
        yield client


async def test_every_modality_answers(client: AffectMesh, video: Path) -> None:
    assert (await client.text("What a lovely day!"))["sentiment"]["polarity"] > 0
    batch = await client.text_batch(["Lovely!", {"id": "b", "text": "Awful."}], language="en")
    assert [one["id"] for one in batch["results"]] == ["0", "b"]
    seen = await client.face_video(video)
    assert seen["summary"]["face_count"] == 1
    ecg = np.sin(np.arange(2500) / 40).tolist()
    with pytest.raises(Refused) as caught:
        await client.biosignal({"ecg": {"values": ecg[:10], "sampling_rate_hz": 250}})
    assert caught.value.status == 400
    assert caught.value.details["suggestion"]
    assert caught.value.request_id


async def test_a_live_stream_is_heard(client: AffectMesh) -> None:
    pcm = (np.clip(speech("0880"), -1, 1) * 32767).astype("<i2").tobytes()
    async with client.voice_stream(sample_rate=16_000, return_transcript=False) as stream:
        for place in range(0, len(pcm), 32_000):
            await stream.send(pcm[place : place + 32_000])
        await stream.close()
        kinds = [message["type"] async for message in stream]
    assert "final" in kinds


async def test_a_stream_that_is_not_admitted(mesh: TemporaryMesh) -> None:
    async with AffectMesh(mesh.address, api_key="sk_live_wrong") as stranger:
        with pytest.raises(Refused) as caught:
            async with stranger.voice_stream(sample_rate=16_000):
                pass
    assert caught.value.status == 401


async def test_a_job_is_queued_and_watched(client: AffectMesh, video: Path) -> None:
    media = await client.upload(video, "video/mp4")
    job = await client.create_job("face_multi", media_id=media["media_id"])
    states = [change["state"] async for change in client.watch(job["job_id"])]
    assert states[-1] == "done"
    found = await client.result(job["job_id"])
    assert found["summary"]["face_count"] == 1
    assert found["timeline"][0]["faces"][0]["emotions"]["primary"]["label"]
    with pytest.raises(Refused) as caught:
        await client.job("job_none")
    assert caught.value.code == "NOT_FOUND"


async def test_the_contract_is_called_with_its_messages(mesh: TemporaryMesh) -> None:
    address = mesh.settings.address("text")
    async with Contract(address, api_key=mesh.key, tls=False) as contract:
        answer = await contract.text.AnalyzeText(text_pb2.AnalyzeTextRequest(text="Lovely!"))
        assert answer.sentiment.polarity > 0
        with pytest.raises(Refused) as caught:
            await contract.text.AnalyzeText(text_pb2.AnalyzeTextRequest())
    assert caught.value.code == "INVALID_TEXT"
    assert caught.value.details["suggestion"]


async def test_pictures_are_sent_as_bytes(client: AffectMesh) -> None:
    encoded = cv2.imencode(".png", portrait(320)(0.0))[1].tobytes()
    found = await client.face(encoded, return_landmarks=True)
    assert len(found["faces"]) == 1
    assert found["faces"][0]["landmarks"]
