"""Media in a bucket of a real S3 server, plain and sealed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from affectmesh.v1 import jobs_pb2 as pb
from services.common import errors
from tests.jobs import files
from tests.jobs.media_service import ALICE, FREE, MediaService, media_service, rows
from tests.jobs.s3_server import ACCESS_KEY, SECRET_KEY, S3Server, s3_server

pytestmark = pytest.mark.slow

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(params=["", "k" * 32])
async def service(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    bucket: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[MediaService]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    url = bucket.url(tmp_path.name)
    key = request.param or None
    async with media_service(tmp_path, object_store_url=url, media_key=key) as service:
        yield service


async def test_a_film_is_measured_kept_and_given_back(service: MediaService) -> None:
    data = files.padded(files.film(seconds=3), 30 * MIB)
    kept = await service.upload(data, content_type="video/mp4", chunk=MIB)
    assert (kept.duration_ms, kept.size_bytes) == (3000, len(data))
    assert (await service.download(kept.media_id))[1] == data
    _, part = await service.download(kept.media_id, offset=len(data) - 9, length=5)
    assert part == data[-9:-4]
    assert await service.media.delete(ALICE.org_id, [kept.media_id]) == [kept.sha256]
    with pytest.raises(errors.NotFound):
        await service.download(kept.media_id)


async def test_a_film_over_the_plan_leaves_nothing(service: MediaService) -> None:
    with pytest.raises(errors.PayloadTooLarge):
        await service.upload(files.padded(files.film(), 17 * MIB), by=FREE, chunk=MIB)
    assert await rows(service) == []


async def test_an_upload_that_breaks_off_leaves_nothing(service: MediaService) -> None:
    begun = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield files.padded(files.film(), 20 * MIB)
        begun.set()
        await asyncio.Event().wait()

    receiving = asyncio.create_task(service.media.receive(ALICE, pb.MediaDescription(), chunks()))
    await begun.wait()
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert await rows(service) == []
