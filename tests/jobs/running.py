"""A job service with its billing, database, Redis and workers: the real ones, in this process."""

import asyncio
import io
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from affectmesh.v1 import billing_pb2, billing_pb2_grpc, jobs_pb2_grpc, voice_pb2, voice_pb2_grpc
from affectmesh.v1 import jobs_pb2 as pb
from services.common import caller
from services.common.caller import Caller
from services.common.channels import Channels, call, metadata
from services.common.database import Database
from services.common.server import Service
from services.common.settings import Settings
from services.jobs import servicer, worker
from services.jobs.states import ENDED, State
from services.jobs.tables import MIGRATIONS
from tests.billing.installation import installation
from tests.common.serving import serving

_CHUNK_BYTES = 256 * 1024

ENOUGH_S = 180.0
"""Far above what anything here takes on a machine that has nothing else to do."""


@dataclass
class Speech(voice_pb2_grpc.VoiceServiceServicer):
    """Keeps the voice contract: answers what it is told, after a pause."""

    answer: voice_pb2.AnalyzeVoiceResponse
    errors: Iterator[Exception] = field(default_factory=lambda: iter(()))
    """Raised in place of the answer, one for each request, until they are used up."""
    pause_s: float = 0.0
    asked: list[voice_pb2.AnalyzeVoiceRequest] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    callers: list[Caller] = field(default_factory=list)

    async def AnalyzeVoice(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        self.callers.append(caller.required())
        self.began.set()
        try:
            await asyncio.sleep(self.pause_s)
        except asyncio.CancelledError:
            self.stopped.set()
            raise
        for error in self.errors:
            raise error
        return self.answer


@dataclass
class Running:
    """What runs, and what reaches it."""

    settings: Settings
    channels: Channels
    speech: Speech
    stack: AsyncExitStack
    org_id: int = 0

    async def call(self, method: str, request: Any, org_id: int = 0, **fields: Any) -> Any:
        """Calls a method of the job service, for an organisation."""
        self._become(org_id, fields)
        stub = self.channels.stub("jobs", jobs_pb2_grpc.JobServiceStub)
        return await call("jobs", getattr(stub, method), request, 30)

    async def billing(self, method: str, request: Any) -> Any:
        """Calls a method of the billing service."""
        stub = self.channels.stub("billing", billing_pb2_grpc.BillingServiceStub)
        return await call("billing", getattr(stub, method), request, 30)

    async def create(self, job: pb.Job, org_id: int = 0, **fields: Any) -> pb.Job:
        """A new job."""
        known = {"plan", "test_mode", "principal_id"}
        asking = {name: value for name, value in fields.items() if name in known}
        rest = {name: value for name, value in fields.items() if name not in known}
        made: pb.Job = await self.call(
            "CreateJob", pb.CreateJobRequest(job=job, **rest), org_id, **asking
        )
        return made

    async def get(self, job_id: str, org_id: int = 0) -> pb.Job:
        """A job as it is."""
        found: pb.Job = await self.call("GetJob", pb.GetJobRequest(job_id=job_id), org_id)
        return found

    async def watch(self, job_id: str, org_id: int = 0) -> AsyncIterator[pb.Job]:
        """A job at every change."""
        self._become(org_id, {})
        stub = self.channels.stub("jobs", jobs_pb2_grpc.JobServiceStub)
        async for job in stub.WatchJob(pb.WatchJobRequest(job_id=job_id), metadata=metadata()):
            yield job

    async def end(self, job_id: str, org_id: int = 0) -> pb.Job:
        """A job once it has ended."""
        async with asyncio.timeout(ENOUGH_S):
            async for job in self.watch(job_id, org_id):
                if State(job.state) in ENDED:
                    return job
        raise AssertionError("the job did not end")

    async def upload(self, data: bytes, name: str = "speech.wav") -> pb.Media:
        """A file of the organisation."""
        self._become(0, {})
        stub = self.channels.stub("jobs", jobs_pb2_grpc.JobServiceStub)

        async def pieces() -> AsyncIterator[pb.UploadMediaRequest]:
            yield pb.UploadMediaRequest(description=pb.MediaDescription(file_name=name))
            for start in range(0, len(data), _CHUNK_BYTES):
                yield pb.UploadMediaRequest(chunk=data[start : start + _CHUNK_BYTES])
            yield pb.UploadMediaRequest(end=pb.MediaEnd(size_bytes=len(data)))

        media: pb.Media = await stub.UploadMedia(pieces(), metadata=metadata())
        return media

    async def download(self, media_id: str) -> bytes:
        """The bytes of a file."""
        self._become(0, {})
        stub = self.channels.stub("jobs", jobs_pb2_grpc.JobServiceStub)
        request = pb.DownloadMediaRequest(media_id=media_id)
        pieces = [piece async for piece in stub.DownloadMedia(request, metadata=metadata())]
        return b"".join(piece.chunk for piece in pieces)

    async def work(self) -> Service:
        """Starts a worker, which stops with all the rest."""
        service = Service("worker-1", self.settings)
        await worker.register(grpc.aio.server(), service)
        self.stack.push_async_callback(close, service)
        return service

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """The service's database, from outside."""
        database = await Database.open(self.settings.database, MIGRATIONS)
        try:
            yield database
        finally:
            await database.close()

    async def usage(self) -> billing_pb2.Usage:
        """What the organisation used this month."""
        found: billing_pb2.Usage = await self.billing(
            "GetUsage", billing_pb2.GetUsageRequest(org_id=self.org_id)
        )
        return found

    def _become(self, org_id: int, fields: Mapping[str, Any]) -> None:
        given = {"principal_id": "key_test", "plan": "enterprise", **fields}
        caller.current.set(Caller(org_id=org_id or self.org_id, **given))


def speech_wav(seconds: float) -> bytes:
    """A tone with pauses as a WAV file, 8 kHz, 8 bits: small, and really this long."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        second = bytes(128 + (40 if n % 40 < 20 and n < 6000 else 0) for n in range(8000))
        file.writeframes((second * int(seconds + 1))[: int(seconds * 8000)])
    return out.getvalue()


async def close(service: Service) -> None:
    """Ends a service as its process would, once."""
    closers, service.closers = list(reversed(service.closers)), []
    for closer in closers:
        await closer()


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Returns once the condition holds; fails the test when it does not in time."""
    deadline = time.monotonic() + ENOUGH_S
    while not await holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running(
    data_dir: Path, database_url: str, redis_url: str, **fields: Any
) -> AsyncIterator[Running]:
    """A job service with one organisation and no worker yet."""
    speech = Speech(  # type: ignore[abstract]
        voice_pb2.AnalyzeVoiceResponse(duration_ms=90_000, transcript="good")
    )
    async with AsyncExitStack() as stack:
        billing = await stack.enter_async_context(
            installation(data_dir, database_url, redis_url=redis_url, **fields)
        )

        async def add_voice(server: grpc.aio.Server) -> None:
            voice_pb2_grpc.add_VoiceServiceServicer_to_server(speech, server)

        voice = await stack.enter_async_context(serving(add_voice))
        addresses = {**billing.settings.addresses, "voice": voice}
        service = Service("jobs", billing.settings.model_copy(update={"addresses": addresses}))
        stack.push_async_callback(close, service)

        async def add_jobs(server: grpc.aio.Server) -> None:
            await servicer.register(server, service)

        addresses["jobs"] = await stack.enter_async_context(serving(add_jobs))
        settings = billing.settings.model_copy(update={"addresses": addresses})
        channels = Channels(settings)
        stack.push_async_callback(channels.close)
        organization = await billing.organization()
        yield Running(settings, channels, speech, stack, organization.org_id)
