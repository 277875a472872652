"""Small servers that keep the modalities' contracts: each answers what the test tells it to."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import grpc

from affectmesh.v1 import (
    biosignal_pb2_grpc,
    face_pb2,
    face_pb2_grpc,
    fusion_pb2_grpc,
    text_pb2_grpc,
    voice_pb2_grpc,
)
from services.common.server import Service
from services.common.settings import Settings
from services.fusion.modalities import MODALITIES
from services.fusion.servicer import register
from tests.common.serving import serving


@dataclass
class Script:
    """What a modality's server answers, after which pause, and what it has been asked.

    error: raised in place of the answer. failure: raised after the frames of a streamed one.
    """

    answer: Any = None
    error: Exception | None = None
    failure: Exception | None = None
    pause_s: float = 0.0
    asked: list[Any] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, request: Any) -> Any:
        self.asked.append(request)
        self.began.set()
        try:
            await asyncio.sleep(self.pause_s)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.error:
            raise self.error
        return self.answer


class _Face(face_pb2_grpc.FaceServiceServicer):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def AnalyzeFace(self, request: Any, context: Any) -> Any:
        return await self._script.serve(request)

    async def FollowFaces(self, request_iterator: Any, context: Any) -> Any:
        """Gives the frames of the answer one by one; then it fails where the script says so."""
        request = (await anext(request_iterator)).video
        request.video = b"".join([message.chunk async for message in request_iterator])
        answer = await self._script.serve(request)
        for frame in answer.timeline:
            frames = face_pb2.FaceFrames(frames=[frame])
            yield face_pb2.FollowFacesResponse(frames=frames)
        if self._script.failure:
            raise self._script.failure
        rest = face_pb2.AnalyzeFaceVideoResponse()
        rest.CopyFrom(answer)
        rest.ClearField("timeline")
        yield face_pb2.FollowFacesResponse(result=rest)


class _Voice(voice_pb2_grpc.VoiceServiceServicer):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def AnalyzeVoice(self, request: Any, context: Any) -> Any:
        return await self._script.serve(request)


class _Text(text_pb2_grpc.TextServiceServicer):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def AnalyzeText(self, request: Any, context: Any) -> Any:
        return await self._script.serve(request)

    async def AnalyzeTextBatch(self, request: Any, context: Any) -> Any:
        return await self._script.serve(request)


class _Biosignal(biosignal_pb2_grpc.BiosignalServiceServicer):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def AnalyzeBiosignal(self, request: Any, context: Any) -> Any:
        return await self._script.serve(request)


async def _add(name: str, script: Script, server: grpc.aio.Server) -> None:
    if name == "face":
        face = _Face(script)  # type: ignore[abstract]
        face_pb2_grpc.add_FaceServiceServicer_to_server(face, server)
    elif name == "voice":
        voice = _Voice(script)  # type: ignore[abstract]
        voice_pb2_grpc.add_VoiceServiceServicer_to_server(voice, server)
    elif name == "text":
        text = _Text(script)
        text_pb2_grpc.add_TextServiceServicer_to_server(text, server)
    else:
        biosignal = _Biosignal(script)  # type: ignore[abstract]
        biosignal_pb2_grpc.add_BiosignalServiceServicer_to_server(biosignal, server)


async def _close(service: Service) -> None:
    for close in reversed(service.closers):
        await close()


@asynccontextmanager
async def fusion_over(
    scripts: dict[str, Script], also: Mapping[str, str] = MappingProxyType({}), **settings: Any
) -> AsyncIterator[fusion_pb2_grpc.FusionServiceStub]:
    """The fusion service over a server for each script and those at the addresses of `also`; nobody
    answers for the others."""
    async with AsyncExitStack() as stack:
        addresses = {**dict.fromkeys((*MODALITIES, "jobs"), "127.0.0.1:1"), **also}
        for name, script in scripts.items():
            addresses[name] = await stack.enter_async_context(serving(partial(_add, name, script)))
        service = Service("fusion", Settings(addresses=addresses, **settings))
        stack.push_async_callback(_close, service)
        address = await stack.enter_async_context(serving(lambda server: register(server, service)))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        yield fusion_pb2_grpc.FusionServiceStub(channel)
