"""Stores: a folder and a bucket, plain and sealed, all the same to who uses them."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.common import errors
from services.common.settings import Settings
from services.jobs.store import Store, open_store
from services.jobs.store.folder import FolderStore
from services.jobs.store.sealed import CHUNK_BYTES, MAGIC
from tests.jobs.s3_server import ACCESS_KEY, SECRET_KEY, S3Server, s3_server

MIB = 1024 * 1024
KEY = "k" * 32


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


S3 = pytest.mark.slow


@pytest.fixture(
    params=[
        "folder",
        "sealed folder",
        pytest.param("bucket", marks=S3),
        pytest.param("sealed bucket", marks=S3),
    ]
)
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Store]:
    given: dict[str, object] = {"data_dir": tmp_path, "store_min_free_mb": 0}
    if "bucket" in request.param:
        server: S3Server = request.getfixturevalue("bucket")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        given["object_store_url"] = server.url(tmp_path.name)
    if "sealed" in request.param:
        given["media_key"] = KEY
    store = open_store(Settings.model_validate(given))
    yield store
    await store.close()


async def pieces(data: bytes, size: int = MIB) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(store: Store, key: str, offset: int, length: int) -> bytes:
    return b"".join([piece async for piece in store.read(key, offset, length)])


SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 4 * CHUNK_BYTES, 20 * MIB + 7]


@pytest.mark.parametrize("size", SIZES)
async def test_an_object_is_read_as_it_was_written(store: Store, size: int) -> None:
    data = random.Random(size).randbytes(size)
    await store.put("1/med_a", pieces(data))
    assert await read(store, "1/med_a", 0, size) == data
    edges = (0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, size - 1)
    for start in {edge for edge in edges if 0 <= edge < size}:
        for length in {1, min(CHUNK_BYTES + 2, size - start), size - start}:
            assert await read(store, "1/med_a", start, length) == data[start : start + length]


async def test_an_object_is_a_seekable_file(store: Store) -> None:
    data = random.Random(1).randbytes(3 * MIB + 11)
    await store.put("1/med_a", pieces(data, 100_000))

    def look() -> None:
        with store.open("1/med_a") as file:
            assert bytes(file.read(10)) == data[:10]
            assert file.seek(-5, os.SEEK_END) == len(data) - 5
            assert bytes(file.read(100)) == data[-5:]
            assert file.seek(2 * MIB) == 2 * MIB
            assert bytes(file.read(CHUNK_BYTES)) == data[2 * MIB : 2 * MIB + CHUNK_BYTES]
            assert file.tell() == 2 * MIB + CHUNK_BYTES

    await asyncio.to_thread(look)


async def test_what_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(errors.NotFound):
        await read(store, "1/med_none", 0, 5)
    with pytest.raises(errors.NotFound):
        await asyncio.to_thread(store.open, "1/med_none")
    await store.delete("1/med_none")


async def test_a_deleted_object_is_gone(store: Store) -> None:
    await store.put("1/med_a", pieces(b"x" * 100))
    await store.delete("1/med_a")
    await store.delete("1/med_a")
    with pytest.raises(errors.NotFound):
        await read(store, "1/med_a", 0, 100)


async def test_what_the_pieces_raise_comes_through(store: Store) -> None:
    async def failing() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield bytes(MIB)
        raise errors.PayloadTooLarge("too large")

    with pytest.raises(errors.PayloadTooLarge, match="too large"):
        await store.put("1/med_a", failing())
    await store.delete("1/med_a")
    with pytest.raises(errors.NotFound):
        await read(store, "1/med_a", 0, 1)


async def test_many_objects_at_once(store: Store) -> None:
    contents = {f"{n % 3}/med_{n}": random.Random(n).randbytes(n * 30_000) for n in range(20)}
    await asyncio.gather(*(store.put(key, pieces(data)) for key, data in contents.items()))
    found = await asyncio.gather(
        *(read(store, key, 0, len(data)) for key, data in contents.items())
    )
    assert found == list(contents.values())


def _settings(path: Path, **given: object) -> Settings:
    return Settings.model_validate({"data_dir": path, "store_min_free_mb": 0, **given})


async def test_sealed_files_hold_nothing_of_what_is_in_them(tmp_path: Path) -> None:
    store = open_store(_settings(tmp_path, media_key=KEY))
    for name in ("1/a", "1/b"):
        await store.put(name, pieces(b"secret" * 100_000))
    first, second = ((tmp_path / "media" / name).read_bytes() for name in ("1/a", "1/b"))
    assert first.startswith(MAGIC)
    assert b"secret" not in first
    assert first[len(MAGIC) + 16 :] != second[len(MAGIC) + 16 :]


@pytest.mark.parametrize("at", [30, 1000, CHUNK_BYTES + 50, -1])
async def test_a_changed_byte_of_a_sealed_file_is_noticed(tmp_path: Path, at: int) -> None:
    store = open_store(_settings(tmp_path, media_key=KEY))
    await store.put("1/a", pieces(bytes(2 * CHUNK_BYTES)))
    path = tmp_path / "media" / "1" / "a"
    changed = bytearray(path.read_bytes())
    changed[at] ^= 1
    path.write_bytes(changed)
    with pytest.raises(errors.Internal):
        await read(store, "1/a", 0, 2 * CHUNK_BYTES)


async def test_moved_and_missing_chunks_are_noticed(tmp_path: Path) -> None:
    store = open_store(_settings(tmp_path, media_key=KEY))
    await store.put("1/a", pieces(bytes(3 * CHUNK_BYTES)))
    path = tmp_path / "media" / "1" / "a"
    whole = path.read_bytes()
    head, sealed = len(MAGIC) + 16, CHUNK_BYTES + 16
    first, second = whole[head : head + sealed], whole[head + sealed : head + 2 * sealed]
    path.write_bytes(whole[:head] + second + first + whole[head + 2 * sealed :])
    with pytest.raises(errors.Internal):
        await read(store, "1/a", 0, 10)
    path.write_bytes(whole[: head + 2 * sealed])
    with pytest.raises(errors.Internal):
        await read(store, "1/a", 0, 3 * CHUNK_BYTES)


async def test_another_key_opens_nothing(tmp_path: Path) -> None:
    await open_store(_settings(tmp_path, media_key=KEY)).put("1/a", pieces(b"x" * 100))
    with pytest.raises(errors.Internal):
        await read(open_store(_settings(tmp_path, media_key="other" * 8)), "1/a", 0, 100)


async def test_what_was_kept_before_there_was_a_key_stays_readable(tmp_path: Path) -> None:
    await open_store(_settings(tmp_path)).put("1/a", pieces(b"plain" * 1000))
    sealed = open_store(_settings(tmp_path, media_key=KEY))
    assert await read(sealed, "1/a", 5, 5) == b"plain"


async def test_a_folder_may_be_named_by_its_url(tmp_path: Path) -> None:
    url = (tmp_path / "a folder").as_uri()
    store = open_store(_settings(tmp_path, object_store_url=url))
    await store.put("1/a", pieces(b"x"))
    kept = tmp_path / "a folder" / "1" / "a"
    assert kept.read_bytes() == b"x"
    assert kept.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("url", ["ftp://x/y", "media", "s3://b/p?endpoint=http://x&color=red"])
def test_a_url_of_no_store_stops_the_start(tmp_path: Path, url: str) -> None:
    with pytest.raises(SystemExit):
        open_store(_settings(tmp_path, object_store_url=url))


async def test_a_disk_that_fills_up_in_the_middle_is_a_full_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        FolderStore, "_create", lambda _store, _path: os.open("/dev/full", os.O_WRONLY)
    )
    with pytest.raises(errors.StorageFull):
        await open_store(_settings(tmp_path)).put("1/a", pieces(b"x"))


async def test_who_leaves_while_a_file_is_opened_leaves_none_open(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    os.mkfifo(slow)
    store = FolderStore(tmp_path, 0)
    reading = asyncio.create_task(read(store, "slow", 0, 1))
    await asyncio.sleep(0.05)
    reading.cancel()
    writer = await asyncio.to_thread(os.open, slow, os.O_WRONLY)
    try:
        with pytest.raises(asyncio.CancelledError):
            await reading
        with pytest.raises(BrokenPipeError):
            os.write(writer, b"nobody reads")
    finally:
        os.close(writer)


@pytest.mark.slow
async def test_a_bucket_that_is_down_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    url = "s3://media/x?endpoint=http://127.0.0.1:9&region=us-east-1"
    store = open_store(_settings(tmp_path, object_store_url=url))
    with pytest.raises(errors.Unavailable):
        await store.put("1/a", pieces(b"x" * 10 * MIB))


@pytest.mark.slow
async def test_a_bucket_without_the_right_key_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: S3Server
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = open_store(_settings(tmp_path, object_store_url=bucket.url("x")))
    with pytest.raises(errors.Unavailable):
        await store.put("1/a", pieces(b"x"))
