"""A folder as the store."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO

from services.common import errors
from services.jobs.store.store import PIECE_BYTES
from services.jobs.threads import in_thread

_FULL = (errno.ENOSPC, errno.EDQUOT)


class FolderStore:
    """One file an object, readable by its owner only."""

    def __init__(self, root: Path, least_free_bytes: int) -> None:
        self._root = root.absolute()
        self._least_free_bytes = least_free_bytes

    async def check_room(self) -> None:
        await in_thread(self._check_room)

    async def put(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        path = self._root / key
        async with _opened(self._create, path) as descriptor:
            written = 0
            async for piece in pieces:
                await in_thread(_write, descriptor, piece)
                written += len(piece)
                if written % (64 * PIECE_BYTES) < len(piece):
                    await in_thread(self._check_room)
            await in_thread(_sync, descriptor, path.parent)

    async def read(self, key: str, offset: int, length: int) -> AsyncIterator[bytes]:
        async with _opened(_open, self._root / key) as descriptor:
            while length > 0:
                piece = await in_thread(os.pread, descriptor, min(length, PIECE_BYTES), offset)
                if not piece:
                    raise _lost()
                offset += len(piece)
                length -= len(piece)
                yield piece

    def open(self, key: str) -> IO[bytes]:
        return os.fdopen(_open(self._root / key), "rb")

    async def delete(self, key: str) -> None:
        await in_thread(self._delete, self._root / key)

    async def close(self) -> None:
        return None

    def _check_room(self) -> None:
        with _translated():
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            free = shutil.disk_usage(self._root).free
        if free < self._least_free_bytes:
            raise _full()

    def _create(self, path: Path) -> int:
        with _translated():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def _delete(self, path: Path) -> None:
        with _translated():
            path.unlink(missing_ok=True)


@asynccontextmanager
async def _opened(work: Callable[[Path], int], path: Path) -> AsyncIterator[int]:
    """What is opened in a thread is closed, also when the task is cancelled meanwhile."""
    found: list[int] = []
    try:
        await in_thread(lambda: found.append(work(path)))
        yield found[0]
    finally:
        for descriptor in found:
            os.close(descriptor)


def _write(descriptor: int, piece: bytes) -> None:
    rest = memoryview(piece)
    with _translated():
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def _sync(descriptor: int, folder: Path) -> None:
    with _translated():
        os.fdatasync(descriptor)
        inside = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(inside)
        finally:
            os.close(inside)


def _open(path: Path) -> int:
    with _translated():
        return os.open(path, os.O_RDONLY)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise _lost() from None
    except OSError as error:
        if error.errno in _FULL:
            raise _full() from None
        raise errors.Unavailable(
            "The media store cannot be reached.", suggestion="Try again.", retry_after="5"
        ) from error


def _full() -> errors.StorageFull:
    return errors.StorageFull(
        "The media store is full.", suggestion="Delete recordings, or ask the operator for room."
    )


def _lost() -> errors.NotFound:
    return errors.NotFound("The file is no longer kept.", suggestion="Upload it again.")
