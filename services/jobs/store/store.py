"""What every store can do."""

from collections.abc import AsyncIterator
from typing import IO, Protocol

PIECE_BYTES = 1024 * 1024
"""Bytes that a store is given, and gives, at once; the last piece may be shorter."""


class Store(Protocol):
    """Objects by key. A key is made of letters, digits, `_` and `/`, and is written once."""

    async def check_room(self) -> None:
        """Raises StorageFull where nothing more may be written."""

    async def put(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        """Writes an object, durably once this returns.

        Raises StorageFull, Unavailable, and whatever the pieces raise; what was written by then
        may stay until `delete`.
        """

    def read(self, key: str, offset: int, length: int) -> AsyncIterator[bytes]:
        """So many bytes from an offset on. Raises NotFound where they are not all there."""
        ...

    def open(self, key: str) -> IO[bytes]:
        """An object as a seekable file, to be read in a thread. Raises NotFound."""
        ...

    async def delete(self, key: str) -> None:
        """Deletes an object, or what an interrupted `put` left; nothing where there is none."""

    async def close(self) -> None:
        """Frees what the store holds open."""
