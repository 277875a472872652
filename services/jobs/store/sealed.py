"""A store whose objects are encrypted: AES-256-GCM in chunks, each object under a key of its own.

An object is the magic, 16 random bytes from which HKDF makes its key, and chunks of CHUNK_BYTES
and a tag each. A chunk's nonce is its number, so that chunks can be read in any order and none
can stand in another's place. Objects without the magic were written before there was a key and are
read as they are.
"""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.common import errors
from services.jobs.store.store import PIECE_BYTES, Store
from services.jobs.threads import in_thread

CHUNK_BYTES = 256 * 1024
MAGIC = b"AMSEAL1\n"

_SALT_BYTES = 16
_TAG_BYTES = 16
_HEAD_BYTES = len(MAGIC) + _SALT_BYTES
_SEALED_BYTES = CHUNK_BYTES + _TAG_BYTES


class SealedStore:
    """Encrypts what goes into another store."""

    def __init__(self, inner: Store, key: bytes) -> None:
        self._inner = inner
        self._key = key

    async def check_room(self) -> None:
        await self._inner.check_room()

    async def put(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        await self._inner.put(key, self._seal(pieces))

    async def read(self, key: str, offset: int, length: int) -> AsyncIterator[bytes]:
        if not length:
            return
        with await in_thread(self.open, key) as file:
            await in_thread(file.seek, offset)
            while length > 0:
                piece = await in_thread(file.read, min(length, PIECE_BYTES))
                if not piece:
                    raise _broken()
                length -= len(piece)
                yield piece

    def open(self, key: str) -> IO[bytes]:
        file = self._inner.open(key)
        head = _read_exactly(file, _HEAD_BYTES)
        if head[: len(MAGIC)] != MAGIC:
            file.seek(0)
            return file
        return io.BufferedReader(
            _SealedFile(file, self._cipher(head[len(MAGIC) :])), buffer_size=CHUNK_BYTES
        )

    async def delete(self, key: str) -> None:
        await self._inner.delete(key)

    async def close(self) -> None:
        await self._inner.close()

    async def _seal(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        salt = os.urandom(_SALT_BYTES)
        cipher = self._cipher(salt)
        sealed = MAGIC + salt
        waiting, number = b"", 0
        async for piece in pieces:
            waiting += piece
            whole = len(waiting) // CHUNK_BYTES * CHUNK_BYTES
            if whole:
                chunks = waiting[:whole]
                yield sealed + await in_thread(_encrypt, cipher, chunks, number)
                waiting, sealed = waiting[whole:], b""
                number += whole // CHUNK_BYTES
        yield sealed + _encrypt(cipher, waiting, number)

    def _cipher(self, salt: bytes) -> AESGCM:
        derived = HKDF(SHA256(), 32, salt, b"affectmesh media at rest").derive(self._key)
        return AESGCM(derived)


class _SealedFile(io.RawIOBase):
    """The plain bytes of a sealed file."""

    def __init__(self, file: IO[bytes], cipher: AESGCM) -> None:
        self._file = file
        self._cipher = cipher
        self._at = 0
        file.seek(0, io.SEEK_END)
        sealed = file.tell() - _HEAD_BYTES
        whole, rest = divmod(sealed, _SEALED_BYTES)
        self._size = whole * CHUNK_BYTES + max(0, rest - _TAG_BYTES)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._size - self._at, PIECE_BYTES)
        if wanted <= 0:
            return 0
        first, skip = divmod(self._at, CHUNK_BYTES)
        last = (self._at + wanted - 1) // CHUNK_BYTES
        self._file.seek(_HEAD_BYTES + first * _SEALED_BYTES)
        sealed = _read_exactly(self._file, (last + 1 - first) * _SEALED_BYTES)
        plain = _decrypt(self._cipher, sealed, first)[skip : skip + wanted]
        buffer[: len(plain)] = plain
        self._at += len(plain)
        return len(plain)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _encrypt(cipher: AESGCM, plain: bytes, number: int) -> bytes:
    view = memoryview(plain)
    return b"".join(
        cipher.encrypt(_nonce(number + index), view[start : start + CHUNK_BYTES], None)
        for index, start in enumerate(range(0, len(view), CHUNK_BYTES))
    )


def _decrypt(cipher: AESGCM, sealed: bytes, number: int) -> bytes:
    view = memoryview(sealed)
    try:
        return b"".join(
            cipher.decrypt(_nonce(number + index), view[start : start + _SEALED_BYTES], None)
            for index, start in enumerate(range(0, len(view), _SEALED_BYTES))
        )
    except InvalidTag:
        raise _broken() from None


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _read_exactly(file: IO[bytes], size: int) -> bytes:
    """So many bytes, or all up to the end; files of object stores give fewer at times."""
    parts = []
    while size > 0 and (part := bytes(file.read(size))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _broken() -> errors.Internal:
    return errors.Internal("The kept file is damaged or was sealed under another key.")
