"""A bucket of S3, or of a server that speaks its language, as the store."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING
from urllib.parse import SplitResult, parse_qs

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import S3Store as Bucket

from services.common import errors
from services.common.settings import refuse
from services.jobs.store.store import PIECE_BYTES

if TYPE_CHECKING:
    from obstore import ReadableFile

log = structlog.get_logger()

_PART_BYTES = 8 * PIECE_BYTES
_PARTS_AT_ONCE = 4
"""What an upload holds in memory at most is so many parts."""

_READ_BYTES = 4 * PIECE_BYTES
_FULL = re.compile(
    r"EntityTooLarge|QuotaExceeded|StorageFull|XMinioStorageFull|InsufficientStorage"
)


class S3Store:
    """Objects under a prefix. Credentials and region come from the standard AWS_… variables."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    @classmethod
    def of_url(cls, url: SplitResult) -> S3Store:
        """Of `s3://BUCKET/PREFIX?endpoint=URL&region=NAME`; the query is for other servers than
        AWS. Without AWS_ACCESS_KEY_ID, credentials are those of the machine's role."""
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if unknown := query.keys() - {"endpoint", "region"}:
            refuse("OBJECT_STORE_URL", f"no such option: {', '.join(unknown)}")
        bucket = Bucket(
            url.netloc,
            prefix=url.path.strip("/") or None,
            endpoint=query.get("endpoint"),
            region=query.get("region"),
            client_options={
                "allow_http": query.get("endpoint", "").startswith("http://"),
                "timeout": "60s",
            },
        )
        return cls(bucket)

    async def check_room(self) -> None:
        return None

    async def put(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        with _translated():
            await obstore.put_async(
                self._bucket,
                key,
                pieces,
                use_multipart=True,
                chunk_size=_PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
            )

    async def read(self, key: str, offset: int, length: int) -> AsyncIterator[bytes]:
        if not length:
            return
        with _translated():
            found = await obstore.get_async(
                self._bucket, key, options={"range": (offset, offset + length)}
            )
            async for piece in found.stream(min_chunk_size=PIECE_BYTES):
                yield bytes(piece)

    def open(self, key: str) -> IO[bytes]:
        with _translated():
            file = obstore.open_reader(self._bucket, key, buffer_size=_READ_BYTES)
        return io.BufferedReader(_BucketFile(file), buffer_size=PIECE_BYTES)

    async def delete(self, key: str) -> None:
        with _translated():
            await obstore.delete_async(self._bucket, key)

    async def close(self) -> None:
        return None


class _BucketFile(io.RawIOBase):
    """An object as Python reads files."""

    def __init__(self, file: ReadableFile) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with _translated():
            found = bytes(self._file.read(len(buffer)))
        buffer[: len(found)] = found
        return len(found)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise errors.NotFound(
            "The file is no longer kept.", suggestion="Upload it again."
        ) from None
    except (BaseError, OSError) as error:
        problem = str(error).partition("\n")[0]
        log.warning("object store failed", problem=problem[:500])
        if _FULL.search(problem):
            raise errors.StorageFull(
                "The media store is full.",
                suggestion="Delete recordings, or ask the operator for room.",
            ) from None
        raise errors.Unavailable(
            "The media store cannot be reached.", suggestion="Try again.", retry_after="5"
        ) from error
