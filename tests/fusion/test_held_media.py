"""Media that the real job service holds, named by its id to the services that analyse it."""

from collections.abc import AsyncIterator

import grpc
import httpx
import pytest

from affectmesh.v1 import (
    face_pb2,
    face_pb2_grpc,
    fusion_pb2,
    fusion_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    voice_pb2,
    voice_pb2_grpc,
)
from services.cli.samples import PHOTOGRAPH, SPEECH
from services.common import caller, errors
from services.common.caller import Caller
from services.common.channels import Channels
from services.mesh.temporary import TemporaryMesh
from tests.fusion.recordings import film, portrait, speech

OWNER = ((caller.KEY, Caller(71, "key_71", "enterprise").encode()),)
STRANGER = ((caller.KEY, Caller(72, "key_72", "enterprise").encode()),)


@pytest.fixture
async def channels(mesh: TemporaryMesh) -> AsyncIterator[Channels]:
    channels = Channels(mesh.settings)
    yield channels
    await channels.close()


async def upload(channels: Channels, name: str, data: bytes) -> str:
    async def pieces() -> AsyncIterator[jobs_pb2.UploadMediaRequest]:
        description = jobs_pb2.MediaDescription(file_name=name)
        yield jobs_pb2.UploadMediaRequest(description=description)
        for start in range(0, len(data), 1 << 20):
            yield jobs_pb2.UploadMediaRequest(chunk=data[start : start + (1 << 20)])
        yield jobs_pb2.UploadMediaRequest(end=jobs_pb2.MediaEnd(size_bytes=len(data)))

    stub = channels.stub("jobs", jobs_pb2_grpc.JobServiceStub)
    return (await stub.UploadMedia(pieces(), metadata=OWNER)).media_id


async def test_every_analysis_takes_held_media(channels: Channels) -> None:
    video = film(3, portrait(320), speech("0880"))
    face = channels.stub("face", face_pb2_grpc.FaceServiceStub)
    image = face_pb2.AnalyzeFaceRequest(
        media_id=await upload(channels, "face.jpg", PHOTOGRAPH.read_bytes())
    )
    assert len((await face.AnalyzeFace(image, metadata=OWNER)).faces) == 1

    held = await upload(channels, "film.mp4", video)
    asked = face_pb2.AnalyzeFaceVideoRequest(media_id=held)
    assert (await face.AnalyzeFaceVideo(asked, metadata=OWNER)).summary.face_count == 1

    voice = channels.stub("voice", voice_pb2_grpc.VoiceServiceStub)
    spoken = voice_pb2.AnalyzeVoiceRequest(
        media_id=await upload(channels, "speech.flac", SPEECH.read_bytes()),
        options=voice_pb2.VoiceOptions(return_transcript=False),
    )
    assert (await voice.AnalyzeVoice(spoken, metadata=OWNER)).emotions.primary.label

    fusion = channels.stub("fusion", fusion_pb2_grpc.FusionServiceStub)
    recording = fusion_pb2.AnalyzeRecordingRequest(media_id=held)
    messages = [one async for one in fusion.AnalyzeRecording(recording, metadata=OWNER)]
    assert messages[-1].result.face.summary.face_count == 1
    assert messages[-1].result.voice.transcript


async def test_what_another_holds_is_not_found(channels: Channels) -> None:
    held = await upload(channels, "face.jpg", PHOTOGRAPH.read_bytes())
    stub = channels.stub("face", face_pb2_grpc.FaceServiceStub)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.AnalyzeFace(face_pb2.AnalyzeFaceRequest(media_id=held), metadata=STRANGER)
    assert isinstance(errors.from_rpc(refused.value, "face"), errors.NotFound)


async def test_held_media_over_rest(mesh: TemporaryMesh) -> None:
    headers = {"X-WIA-API-Key": mesh.key}
    async with httpx.AsyncClient(base_url=mesh.address, headers=headers, timeout=60) as client:
        stored = await client.post(
            "/v1/media", content=PHOTOGRAPH.read_bytes(), headers={"Content-Type": "image/jpeg"}
        )
        assert stored.is_success, stored.text
        found = await client.post("/v1/analyze/face", json={"media_id": stored.json()["media_id"]})
        assert found.json()["faces"][0]["emotions"]["primary"]["label"] == "happiness"
        missing = await client.post("/v1/analyze/face", json={"media_id": "med_0123456789abcdef"})
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "NOT_FOUND")
