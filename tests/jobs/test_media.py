"""Media: taken, checked, given back, deleted, swept."""

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from affectmesh.v1 import jobs_pb2 as pb
from services.common import errors
from services.common.caller import Caller, current
from services.jobs.media import DAY_MS, LONGEST_UPLOAD_S
from tests.jobs import files
from tests.jobs.media_service import ALICE, BOB, FREE, MediaService, media_service, rows

MIB = 1024 * 1024
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def service(tmp_path: Path, database_url: str) -> AsyncIterator[MediaService]:
    async with media_service(tmp_path, database_url=database_url) as service:
        yield service


async def test_a_file_comes_back_as_it_was_sent(service: MediaService) -> None:
    data = files.padded(files.film(seconds=2), 3 * MIB + 5)
    kept = await service.upload(data, file_name="talk.mp4", content_type="video/mp4")
    assert kept.media_id.startswith("med_")
    assert (kept.file_name, kept.content_type) == ("talk.mp4", "video/mp4")
    assert kept.size_bytes == len(data)
    assert kept.sha256 == hashlib.sha256(data).hexdigest()
    assert kept.duration_ms == 2000
    assert kept.expire_time.ToMilliseconds() - kept.create_time.ToMilliseconds() >= 30 * DAY_MS
    described, found = await service.download(kept.media_id)
    assert described == kept
    assert found == data


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, 1, slice(0, 1)), (MIB, 0, slice(MIB, None)), (MIB - 3, 7, slice(MIB - 3, MIB + 4))],
)
async def test_a_part_of_a_file_can_be_read(
    service: MediaService, offset: int, length: int, expected: slice
) -> None:
    data = files.padded(files.film(), 2 * MIB) + os.urandom(100)
    kept = await service.upload(data)
    _, found = await service.download(kept.media_id, offset=offset, length=length)
    assert found == data[expected]


async def test_nothing_is_read_beyond_the_end(service: MediaService) -> None:
    kept = await service.upload(files.wav())
    _, found = await service.download(kept.media_id, offset=kept.size_bytes)
    assert found == b""
    with pytest.raises(errors.InvalidRequest):
        await service.download(kept.media_id, offset=kept.size_bytes + 1)
    with pytest.raises(errors.InvalidRequest):
        await service.download(kept.media_id, offset=-1)


async def test_a_file_of_another_organisation_is_not_there(service: MediaService) -> None:
    kept = await service.upload(files.wav(), by=ALICE)
    with pytest.raises(errors.NotFound):
        await service.download(kept.media_id, by=BOB)
    assert await service.media.delete(BOB.org_id, [kept.media_id]) == []
    await service.download(kept.media_id, by=ALICE)


@pytest.mark.parametrize(
    ("data", "content_type", "duration_ms"),
    [
        (files.wav(2.5), "audio/wav", 2500),
        (files.sound("flac", "flac"), "audio/flac", 1000),
        (files.sound("mp4", "aac"), "audio/mp4", None),
        (files.sound("webm", "libopus"), "audio/webm", None),
        (files.sound("ogg", "libopus"), "audio/ogg", None),
        (files.film("webm", codec="libvpx"), "video/webm", 1000),
        (files.film("matroska"), "video/x-matroska", 1000),
        (files.film("mov"), "video/quicktime", 1000),
        (files.film("avi"), "video/x-msvideo", 1000),
        (files.picture("JPEG"), "image/jpeg", 0),
        (files.picture("PNG"), "image/png", 0),
        (files.picture("WEBP"), "image/webp", 0),
    ],
)
async def test_the_content_type_is_that_of_the_bytes(
    service: MediaService, data: bytes, content_type: str, duration_ms: int | None
) -> None:
    kept = await service.upload(data, file_name="lies.txt")
    assert kept.content_type == content_type
    assert kept.HasField("duration_ms") == (not content_type.startswith("image/"))
    if duration_ms is None:
        assert 990 <= kept.duration_ms <= 1200
    else:
        assert kept.duration_ms == duration_ms


@pytest.mark.parametrize("declared", ["video/mp4", "image/png", "text/html", "nonsense"])
async def test_a_declared_type_that_lies_is_refused(service: MediaService, declared: str) -> None:
    with pytest.raises(errors.UnsupportedMedia) as refused:
        await service.upload(files.wav(), content_type=declared)
    assert refused.value.details["found"] == "audio/wav"
    assert service.files() == []


@pytest.mark.parametrize(
    "declared", ["audio/x-wav", "Audio/WAV; codecs=1", "", "application/octet-stream"]
)
async def test_another_name_of_the_type_is_taken(service: MediaService, declared: str) -> None:
    assert (await service.upload(files.wav(), content_type=declared)).content_type == "audio/wav"


@pytest.mark.parametrize(
    "data",
    [b"#EXTM3U\nfile:///etc/passwd", b"<html>", b"\0" * 1000, b"MZ\x90", b"%PDF-1.7", b"Gxy" * 200],
)
async def test_a_file_of_an_unknown_kind_is_refused(service: MediaService, data: bytes) -> None:
    with pytest.raises(errors.UnsupportedMedia):
        await service.upload(data, file_name="film.mp4")


@pytest.mark.parametrize("data", [files.film()[:-700], b"RIFF\0\0\0\0WAVE", b"fLaC" + b"\0" * 90])
async def test_a_broken_recording_is_refused(service: MediaService, data: bytes) -> None:
    with pytest.raises((errors.InvalidVideo, errors.InvalidAudio)):
        await service.upload(data)
    assert service.files() == []
    assert await rows(service) == []


async def test_zero_bytes_are_refused(service: MediaService) -> None:
    with pytest.raises(errors.InvalidRequest, match="empty"):
        await service.upload(b"")


async def test_a_wrong_checksum_is_refused(service: MediaService) -> None:
    data = files.wav()
    right = hashlib.sha256(data).hexdigest()
    kept = await service.upload(data, sha256=right.upper())
    assert kept.sha256 == right
    for wrong in (hashlib.sha256(b"else").hexdigest(), "zz", right[:-1]):
        with pytest.raises(errors.InvalidRequest) as refused:
            await service.upload(data, sha256=wrong)
        assert refused.value.details["field"] == "sha256"
    assert len(service.files()) == 1


async def test_a_file_over_the_plan_is_cut_off_as_soon_as_it_is_too_large(
    service: MediaService,
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield files.film()
        while True:
            sent += 1
            yield bytes(256 * 1024)

    with pytest.raises(errors.PayloadTooLarge, match="16 MiB"):
        await service.media.receive(FREE, pb.MediaDescription(), endless())
    assert sent * 256 * 1024 < 18 * MIB
    assert service.files() == []
    assert await rows(service) == []


async def test_a_recording_longer_than_the_plan_allows_is_refused(service: MediaService) -> None:
    five_minutes = files.film(seconds=301, rate_hz=1)
    with pytest.raises(errors.PayloadTooLarge, match="5 minutes"):
        await service.upload(five_minutes, by=FREE)
    assert service.files() == []
    assert (await service.upload(five_minutes, by=ALICE)).duration_ms == 301_000


async def test_a_header_that_lies_about_the_playing_time_helps_nobody(
    service: MediaService,
) -> None:
    honest = files.film("avi", seconds=301, rate_hz=1)
    at = honest.index(b"strh") + 8 + 32
    lying = honest[:at] + (3).to_bytes(4, "little") + honest[at + 4 :]
    with pytest.raises(errors.PayloadTooLarge):
        await service.upload(lying, by=FREE)


async def test_an_unknown_plan_is_limited_like_the_least(service: MediaService) -> None:
    with pytest.raises(errors.PayloadTooLarge):
        await service.upload(
            files.padded(files.film(), 17 * MIB), by=Caller(9, "key", "unheard of"), chunk=MIB
        )


async def test_an_upload_must_begin_with_its_description(service: MediaService) -> None:
    current.set(ALICE)
    with pytest.raises(errors.InvalidRequest):
        await service.send(pb.UploadMediaRequest(chunk=files.wav()))
    with pytest.raises(errors.InvalidRequest):
        await service.send()
    described = pb.UploadMediaRequest(description=pb.MediaDescription())
    with pytest.raises(errors.InvalidRequest):
        await service.send(described, pb.UploadMediaRequest(chunk=files.wav()), described)
    with pytest.raises(errors.InvalidRequest):
        await service.send(described, pb.UploadMediaRequest(chunk=bytes(MIB + 1)))
    assert service.files() == []


async def test_an_upload_without_its_end_broke_off(service: MediaService) -> None:
    current.set(ALICE)
    described = pb.UploadMediaRequest(description=pb.MediaDescription())
    chunk = pb.UploadMediaRequest(chunk=files.wav())
    short = pb.UploadMediaRequest(end=pb.MediaEnd(size_bytes=len(files.wav()) - 1))
    for messages in ((described, chunk), (described, chunk, short), (described, short)):
        with pytest.raises(errors.InvalidRequest):
            await service.send(*messages)
    assert service.files() == []
    assert await rows(service) == []


async def test_nobody_uploads_for_nobody(service: MediaService) -> None:
    current.set(None)
    with pytest.raises(errors.Unauthorized):
        await service.send(pb.UploadMediaRequest(description=pb.MediaDescription()))


async def test_an_upload_that_breaks_off_leaves_nothing(service: MediaService) -> None:
    begun = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield files.padded(files.film(), 2 * MIB)
        begun.set()
        await asyncio.sleep(60)

    receiving = asyncio.create_task(service.media.receive(ALICE, pb.MediaDescription(), chunks()))
    await begun.wait()
    assert len(await rows(service)) == 1
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert await rows(service) == []
    assert service.files() == []


async def test_an_upload_whose_service_is_killed_is_swept(tmp_path: Path) -> None:
    killed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.jobs.upload_process", str(tmp_path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert killed.stdout is not None
    async with asyncio.timeout(60):
        while await killed.stdout.readline() not in (b"begun\n", b""):
            pass
    killed.kill()
    await killed.wait()
    async with media_service(tmp_path) as service:
        assert (len(await rows(service)), len(service.files())) == (1, 1)
        assert await service.media.sweep() == 0
        service.clock.ahead_ms = 2 * LONGEST_UPLOAD_S * 1000
        assert await service.media.sweep() == 1
        assert (await rows(service), service.files()) == ([], [])


async def test_many_tiny_chunks_are_one_file(service: MediaService) -> None:
    data = files.wav(0.5)
    kept = await service.upload(data, chunk=3)
    assert (await service.download(kept.media_id))[1] == data


async def test_deleting_twice_deletes_once(service: MediaService) -> None:
    kept = await service.upload(files.wav())
    assert await service.media.delete(ALICE.org_id, [kept.media_id, "med_none"]) == [kept.sha256]
    assert await service.media.delete(ALICE.org_id, [kept.media_id]) == []
    assert service.files() == []
    with pytest.raises(errors.NotFound):
        await service.download(kept.media_id)


async def test_what_expired_is_not_there_and_is_swept(service: MediaService) -> None:
    kept = await service.upload(files.wav())
    later = await service.media.keep(
        ALICE.org_id, "r.json", "application/json", b"{}", service.clock() + 40 * DAY_MS
    )
    assert await service.media.sweep() == 0
    service.clock.ahead_ms = 31 * DAY_MS
    with pytest.raises(errors.NotFound):
        await service.download(kept.media_id)
    assert await service.media.sweep() == 1
    assert [path.name for path in service.files()] == [later.media_id]
    assert (await service.download(later.media_id))[1] == b"{}"


async def test_results_are_kept_as_they_are(service: MediaService, tmp_path: Path) -> None:
    path = tmp_path / "result.csv"
    path.write_bytes(b"a,b\n" * 600_000)
    expire_ms = service.clock() + DAY_MS
    kept = await service.media.keep(ALICE.org_id, "../result.csv", "text/csv", path, expire_ms)
    assert (kept.file_name, kept.content_type) == ("result.csv", "text/csv")
    assert kept.expire_time.ToMilliseconds() == expire_ms
    assert (await service.download(kept.media_id))[1] == path.read_bytes()
    empty = await service.media.keep(ALICE.org_id, "none.csv", "text/csv", b"", expire_ms)
    assert (await service.download(empty.media_id))[1] == b""


async def test_a_full_store_takes_nothing(tmp_path: Path) -> None:
    async with media_service(tmp_path, store_min_free_mb=10**9) as service:
        with pytest.raises(errors.StorageFull):
            await service.upload(files.wav())
        assert await rows(service) == []
