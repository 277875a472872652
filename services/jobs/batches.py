"""Writes that happen at the same time, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.database import Database

R = TypeVar("R")

Write = Callable[[AsyncConnection], Awaitable[R]]

MOST_AT_ONCE = 64


class Batches:
    """Gathers the writes that come while one transaction runs into the next.

    A transaction costs a sync of the disk whatever it holds: many small ones at once cost one.
    Whoever gives up waiting cancels nothing: a write that was asked for is written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[Write[Any], asyncio.Future[Any]]] = []
        self._runner: asyncio.Task[None] | None = None

    async def write(self, write: Write[R]) -> R:
        """What `write` gives once its transaction is written; raises what it raises."""
        result: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((write, result))
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        return await result

    async def close(self) -> None:
        """Waits until all is written."""
        if self._runner is not None:
            await self._runner

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            try:
                results = await self._together([write for write, _ in batch])
            except Exception:
                await self._apart(batch)
            else:
                for (_, result), value in zip(batch, results, strict=True):
                    if not result.cancelled():
                        result.set_result(value)
        self._runner = None

    async def _together(self, writes: list[Write[Any]]) -> list[Any]:
        async with self._database.write() as connection:
            return [await write(connection) for write in writes]

    async def _apart(self, batch: list[tuple[Write[Any], asyncio.Future[Any]]]) -> None:
        for write, result in batch:
            try:
                (value,) = await self._together([write])
            except Exception as error:
                if not result.cancelled():
                    result.set_exception(error)
            else:
                if not result.cancelled():
                    result.set_result(value)
