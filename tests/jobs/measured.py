"""Results of the real face and voice services."""

import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import av
import grpc
import numpy as np

from affectmesh.v1 import face_pb2, face_pb2_grpc, voice_pb2, voice_pb2_grpc
from services.common.channels import OPTIONS
from services.common.server import Service
from services.common.settings import Settings
from services.face import servicer as face
from services.face.image import Pixels, decode
from services.voice import servicer as voice
from tests.common.serving import serving
from tests.face.pictures import PHOTOGRAPH

Register = Callable[[grpc.aio.Server, Service], Awaitable[str]]


class Voices:
    """A voice service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = voice_pb2_grpc.VoiceServiceStub(channel)

    async def __call__(self, audio: bytes, **options: Any) -> voice_pb2.AnalyzeVoiceResponse:
        """What it says of a recording."""
        asked = voice_pb2.VoiceOptions(return_transcript=False, return_prosody=False, **options)
        return await self._stub.AnalyzeVoice(
            voice_pb2.AnalyzeVoiceRequest(audio=audio, options=asked)
        )


@asynccontextmanager
async def voices() -> AsyncIterator[Voices]:
    """A real voice service."""
    async with _channel("voice", voice.register) as channel:
        yield Voices(channel)


async def faces(video: bytes, **options: Any) -> face_pb2.AnalyzeFaceVideoResponse:
    """What a real face service says of a video, action units included."""
    asked = face_pb2.FaceVideoOptions(sample_rate=1, return_action_units=True, **options)
    request = face_pb2.AnalyzeFaceVideoRequest(video=video, options=asked)
    async with _channel("face", face.register) as channel:
        return await face_pb2_grpc.FaceServiceStub(channel).AnalyzeFaceVideo(request)


@asynccontextmanager
async def _channel(name: str, register: Register) -> AsyncIterator[grpc.aio.Channel]:
    service = Service(name, Settings())
    async with (
        serving(lambda server: register(server, service)) as address,
        grpc.aio.insecure_channel(address, options=OPTIONS) as channel,
    ):
        yield channel
    for close in reversed(service.closers):
        await close()


def footage() -> bytes:
    """Two frames of a photograph, one of nothing, and two in which it is there twice."""
    image = decode(PHOTOGRAPH.read_bytes())
    grey = np.full_like(image, 90)
    alone, nobody = np.hstack([image, grey]), np.hstack([grey, grey])
    both = np.hstack([image, image])
    return _movie([alone, alone, nobody, both, both])


def _movie(images: list[Pixels]) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"qscale": "2"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()
