"""Live streams for the tests: a real server, and clients that send and gather."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import numpy as np

from affectmesh.v1 import types_pb2, voice_pb2, voice_pb2_grpc
from services.common.errors import AffectMeshError, from_rpc
from services.common.server import Service
from services.common.settings import Settings
from services.voice.analyze import VoiceAnalyzer
from services.voice.servicer import VoiceServicer
from services.voice.sessions import Limits, Sessions
from tests.common.serving import serving
from tests.voice.recordings import Floats

Request = voice_pb2.StreamVoiceRequest
Response = voice_pb2.StreamVoiceResponse
Segment = voice_pb2.StreamVoiceSegment
EventType = types_pb2.StreamEventType

PAUSE = Request(action=types_pb2.STREAM_ACTION_PAUSE)
RESUME = Request(action=types_pb2.STREAM_ACTION_RESUME)
CLOSE = Request(action=types_pb2.STREAM_ACTION_CLOSE)


@dataclass
class Live:
    """A server of live streams."""

    stub: voice_pb2_grpc.VoiceServiceStub
    sessions: Sessions
    address: str

    async def answers(self, *requests: Request) -> list[Response]:
        """Everything the server says to a client that sends, then waits."""
        return [response async for response in self.stub.StreamVoice(iter(requests))]

    async def refusal(self, *requests: Request) -> AffectMeshError:
        """The error that ends the stream."""
        try:
            await self.answers(*requests)
        except grpc.aio.AioRpcError as error:
            return from_rpc(error, "voice")
        raise AssertionError("the stream ended well")

    async def hears(self, requests: list[Request]) -> None:
        """Returns once the newest stream has taken in these, its configuration first."""
        config = requests[0].config
        width = {"LINEAR16": 2, "MULAW": 1}[config.encoding]
        sent_ms = sum(len(one.audio) for one in requests) // width * 1000 // config.sample_rate_hz
        session = [*self.sessions._connections][-1]
        async with asyncio.timeout(60):
            while session.received_ms < sent_ms - 1 or (  # noqa: ASYNC110
                CLOSE in requests and not session._closed
            ):
                await asyncio.sleep(0.01)

    async def leaves(self) -> None:
        """Returns once no stream is connected."""
        async with asyncio.timeout(60):
            while self.sessions.connected:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def empties(self) -> None:
        """Returns once no stream is connected or kept, nor anything of one runs."""
        async with asyncio.timeout(60):
            while self.sessions.running or _running():  # noqa: ASYNC110
                await asyncio.sleep(0.01)


def _running() -> list[str]:
    names = (repr(task.get_coro()) for task in asyncio.all_tasks())
    return [name for name in names if "LiveSession" in name]


@asynccontextmanager
async def living(
    analyzer: VoiceAnalyzer, limits: Limits, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[Live]:
    service = Service("voice", Settings())
    sessions = Sessions(analyzer, limits, clock)
    servicer = VoiceServicer(analyzer, sessions, service)

    async def add(server: grpc.aio.Server) -> None:
        voice_pb2_grpc.add_VoiceServiceServicer_to_server(servicer, server)

    async with serving(add) as address, grpc.aio.insecure_channel(address) as channel:
        yield Live(voice_pb2_grpc.VoiceServiceStub(channel), sessions, address)
    await sessions.close()
    for close in reversed(service.closers):
        await close()


def config(
    encoding: str = "LINEAR16",
    rate_hz: int = 16_000,
    stream_id: str = "",
    language: str = "en",
    transcript: bool = False,
    rate: types_pb2.OutputRate.ValueType = types_pb2.OUTPUT_RATE_UNSPECIFIED,
    threshold: float = 0.0,
    scores: bool = False,
) -> Request:
    return Request(
        config=voice_pb2.StreamVoiceConfig(
            stream_id=stream_id,
            sample_rate_hz=rate_hz,
            encoding=encoding,
            language=language,
            return_transcript=transcript,
            output=types_pb2.StreamOutput(
                rate=rate,
                threshold=threshold,
                include_dimensions=scores,
                include_raw_scores=scores,
            ),
        )
    )


def pcm(samples: Floats) -> bytes:
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def audio(data: bytes, size: int = 3200) -> list[Request]:
    """Chunks of `size` bytes; an odd size cuts samples in half."""
    return [Request(audio=data[place : place + size]) for place in range(0, len(data), size)]


def finals(received: Iterable[Response]) -> list[Segment]:
    return [one.final.segment for one in received if one.HasField("final")]


def partials(received: Iterable[Response]) -> list[voice_pb2.StreamVoicePartial]:
    return [one.partial for one in received if one.HasField("partial")]


def events(received: Iterable[Response]) -> list[tuple[str, int]]:
    """Name, without its prefix, and time of each event."""
    return [
        (
            EventType.Name(one.event.type).removeprefix("STREAM_EVENT_TYPE_"),
            one.event.timestamp_ms,
        )
        for one in received
        if one.HasField("event")
    ]


def problems(received: Iterable[Response]) -> list[tuple[str, bool]]:
    return [(one.error.code, one.error.recoverable) for one in received if one.HasField("error")]
