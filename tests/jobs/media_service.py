"""The media part of the job service on a real database and folder, served over real gRPC."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from sqlalchemy import select

from affectmesh.v1 import jobs_pb2 as pb
from affectmesh.v1 import jobs_pb2_grpc
from services.common import errors
from services.common.caller import Caller, current
from services.common.channels import Channels, metadata
from services.common.database import Database
from services.common.resources import now_ms
from services.common.settings import Settings
from services.jobs.media import MediaStore
from services.jobs.media_methods import MediaMethods
from services.jobs.store import Store, open_store
from services.jobs.tables import MIGRATIONS
from services.jobs.tables import media as media_table
from tests.common.serving import serving

ALICE = Caller(1, "key_alice", "enterprise")
BOB = Caller(2, "key_bob", "enterprise")
FREE = Caller(3, "key_free", "free")


class Clock:
    """The time, which stands still until a test moves it on."""

    def __init__(self) -> None:
        self._start_ms = now_ms()
        self.ahead_ms = 0

    def __call__(self) -> int:
        return self._start_ms + self.ahead_ms


class _Servicer(MediaMethods, jobs_pb2_grpc.JobServiceServicer):
    """What the job service has of media."""


@dataclass
class MediaService:
    """The running service and what reaches it."""

    settings: Settings
    channels: Channels
    media: MediaStore
    store: Store
    database: Database
    clock: Clock

    async def upload(
        self,
        data: bytes,
        *,
        by: Caller = ALICE,
        file_name: str = "",
        content_type: str = "",
        sha256: str = "",
        chunk: int = 64 * 1024,
    ) -> pb.Media:
        """Uploads a file; raises the service's own error."""
        current.set(by)
        description = pb.MediaDescription(
            file_name=file_name, content_type=content_type, sha256=sha256
        )
        parts = [data[start : start + chunk] for start in range(0, len(data), chunk)]
        return await self.send(
            pb.UploadMediaRequest(description=description),
            *(pb.UploadMediaRequest(chunk=part) for part in parts),
            pb.UploadMediaRequest(end=pb.MediaEnd(size_bytes=len(data))),
        )

    async def send(self, *requests: pb.UploadMediaRequest) -> pb.Media:
        """Sends messages of an upload."""
        stub = self.channels.stub("jobs", jobs_pb2_grpc.JobServiceStub)

        async def each() -> AsyncIterator[pb.UploadMediaRequest]:
            for request in requests:
                yield request

        try:
            return await stub.UploadMedia(each(), metadata=metadata(), timeout=60)
        except grpc.aio.AioRpcError as error:
            raise errors.from_rpc(error, "jobs") from None

    async def download(
        self, media_id: str, *, by: Caller = ALICE, offset: int = 0, length: int = 0
    ) -> tuple[pb.Media, bytes]:
        """Description and bytes of a file; raises the service's own error."""
        current.set(by)
        stub = self.channels.stub("jobs", jobs_pb2_grpc.JobServiceStub)
        request = pb.DownloadMediaRequest(media_id=media_id, offset=offset, length=length)
        try:
            messages = [m async for m in stub.DownloadMedia(request, metadata=metadata())]
        except grpc.aio.AioRpcError as error:
            raise errors.from_rpc(error, "jobs") from None
        return messages[0].media, b"".join(m.chunk for m in messages[1:])

    def files(self) -> list[Path]:
        """Every file in the folder of the store."""
        return [path for path in (self.settings.data_dir / "media").rglob("*") if path.is_file()]


@asynccontextmanager
async def media_service(folder: Path, **overrides: object) -> AsyncIterator[MediaService]:
    """A service with its records and files in a folder."""
    given = Settings.model_validate({"data_dir": folder, "store_min_free_mb": 0, **overrides})
    database = await Database.open(given.database, MIGRATIONS)
    store, clock = open_store(given), Clock()
    media = MediaStore(database, store, given.retention_days, clock)

    async def add(server: grpc.aio.Server) -> None:
        servicer = _Servicer()  # type: ignore[abstract]
        servicer.media = media
        jobs_pb2_grpc.add_JobServiceServicer_to_server(servicer, server)

    async with serving(add) as address:
        settings = given.model_copy(update={"addresses": {"jobs": address}})
        channels = Channels(settings)
        try:
            yield MediaService(settings, channels, media, store, database, clock)
        finally:
            await channels.close()
            await media.close()
            await database.close()


async def rows(service: MediaService) -> Sequence[str]:
    """The id of every file that the database has, in any state."""
    async with service.database.read() as connection:
        return list((await connection.execute(select(media_table.c.media_id))).scalars())


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Waits until a check holds. Raises TimeoutError."""
    async with asyncio.timeout(60):
        while True:
            if await check():
                return
            await asyncio.sleep(0.01)
