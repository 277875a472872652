"""WebSocket clients, a gateway of streams in the test's process, and scripted services."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from affectmesh.v1 import biosignal_pb2_grpc, voice_pb2_grpc
from services.common.channels import Channels
from services.common.settings import Settings
from services.gateway.policy import Policy
from services.gateway.streaming.frames import BOTH, FACIAL, HEADER, MAGIC, VERSION, VOICE
from services.gateway.streaming.limits import Limits
from services.gateway.streaming.routes import routes

PHOTOGRAPH = (Path(__file__).parents[2] / "samples" / "face" / "astronaut.jpg").read_bytes()
EPOCH_MS = 1_766_140_215_123
PATIENCE_S = 60.0


def _grey() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (320, 240), (90, 120, 150)).save(buffer, "JPEG")
    return buffer.getvalue()


FACELESS = _grey()

FACIAL_CONFIG: dict[str, Any] = {"type": "config", "modalities": ["facial"]}


def frame(payload: bytes, modality: int = FACIAL, at_ms: int = 0) -> bytes:
    """A binary frame, `at_ms` after the first."""
    return HEADER.pack(MAGIC, VERSION, modality, EPOCH_MS + at_ms, len(payload)) + payload


def audio(seconds: float, at_ms: int = 0) -> bytes:
    """A binary frame of silence at 16 kHz."""
    return frame(bytes(2 * round(16_000 * seconds)), VOICE, at_ms)


def both(image: bytes, sound: bytes, at_ms: int = 0) -> bytes:
    """A binary frame of an image and audio."""
    return frame(len(image).to_bytes(4, "big") + image + sound, BOTH, at_ms)


class Talk:
    """A client that reads as it goes, and remembers all it read."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard: list[dict[str, Any]] = []

    async def say(self, *messages: bytes | str | dict[str, Any]) -> None:
        """Sends messages; objects as JSON."""
        for message in messages:
            await self.socket.send(json.dumps(message) if isinstance(message, dict) else message)

    async def hear(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The next message of this type that has these fields; others are only remembered."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = json.loads(await self.socket.recv())
                self.heard.append(message)
                if message["type"] == kind and fields.items() <= message.items():
                    return dict(message)

    async def closed(self) -> int:
        """Reads to the end; gives the close code."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while True:
                    self.heard.append(json.loads(await self.socket.recv()))
            except ConnectionClosed:
                return self.socket.close_code or 0

    async def running(self) -> None:
        """Waits until all that was said has been read; the stream goes on."""
        await self.say({"type": "ping"})
        await self.hear("pong")

    def kinds(self, kind: str) -> list[dict[str, Any]]:
        """What was heard of one type."""
        return [message for message in self.heard if message["type"] == kind]


@asynccontextmanager
async def talk(address: str, path: str, key: str, *first: Any) -> AsyncIterator[Talk]:
    """An open stream, to which `first` was said."""
    url = address.replace("http", "ws", 1) + path
    async with connect(url, additional_headers={"x-wia-api-key": key}) as socket:
        client = Talk(socket)
        await client.say(*first)
        yield client


@asynccontextmanager
async def stream_gateway(
    settings: Settings, limits: Limits, **addresses: str
) -> AsyncIterator[tuple[str, uvicorn.Server]]:
    """A gateway that serves only streams; gives its address and its server."""
    settings = settings.model_copy(update={"addresses": {**settings.addresses, **addresses}})
    channels = Channels(settings)
    policy = await Policy.open(settings, channels)
    app = Starlette(routes=list(routes(channels, policy, limits)))
    config = uvicorn.Config(
        app, "127.0.0.1", 0, log_config=None, lifespan="off", ws_per_message_deflate=False
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", server
    finally:
        server.should_exit = True
        await serving
        await policy.close()
        await channels.close()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Any:
        yield


class Script:
    """A streaming service that answers each message as a function says, and notes its end.

    It ends the call where the answer is None.
    """

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.asked: list[Any] = []
        self.open = 0
        self.resume = asyncio.Event()
        self.resume.set()

    async def serve(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Serves one call."""
        self.open += 1
        try:
            async for request in requests:
                await self.resume.wait()
                self.asked.append(request)
                for response in self._answer(request):
                    if response is None:
                        return
                    yield response
        finally:
            self.open -= 1

    async def add_voice(self, server: grpc.aio.Server) -> None:
        """Serves StreamVoice."""
        voice_pb2_grpc.add_VoiceServiceServicer_to_server(_Voice(self), server)

    async def add_biosignal(self, server: grpc.aio.Server) -> None:
        """Serves StreamBiosignal."""
        biosignal_pb2_grpc.add_BiosignalServiceServicer_to_server(_Biosignal(self), server)


class _Voice(voice_pb2_grpc.VoiceServiceServicer):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def AnalyzeVoice(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def StreamVoice(self, request_iterator: Any, context: Any) -> Any:
        return self._script.serve(request_iterator)


class _Biosignal(biosignal_pb2_grpc.BiosignalServiceServicer):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def AnalyzeBiosignal(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def StreamBiosignal(self, request_iterator: Any, context: Any) -> Any:
        return self._script.serve(request_iterator)


async def calls_in_flight(settings: Settings, service: str) -> int:
    """How many calls a service of the mesh serves now, by its own metrics."""
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        page = await client.get(f"http://{settings.host}:{settings.metrics_port(service)}/metrics")
    found = re.search(r"^affectmesh_rpc_in_flight (\S+)$", page.text, re.M)
    assert found is not None
    return int(float(found[1]))


async def until(condition: Any) -> None:
    """Waits until the condition, or the awaitable that it gives, holds."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            holds = condition()
            if await holds if asyncio.iscoroutine(holds) else holds:
                return
            await asyncio.sleep(0.02)
