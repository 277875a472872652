"""Writes that happen at the same time, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.database import Database

T = TypeVar("T")
R = TypeVar("R")

Write = Callable[[AsyncConnection], Awaitable[R]]

Many = Callable[[AsyncConnection, list[T]], Awaitable[list[R]]]
"""Writes many things of one kind at once; gives the result of each."""

MOST_AT_ONCE = 64


class Batches:
    """Gathers the writes that come while one transaction runs into the next.

    A transaction costs a sync of the disk whatever it holds: many small ones at once cost one.
    Whoever gives up waiting cancels nothing: a write that was asked for is written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Waiting] = []
        self._runner: asyncio.Task[None] | None = None

    async def write(self, write: Write[R]) -> R:
        """What `write` gives once its transaction is written; raises what it raises."""
        return await self.join(_one_by_one, write)

    async def join(self, many: Many[T, R], item: T) -> R:
        """The same for one of many items that are written at once."""
        result: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(many, item, result))
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
            if not await self._try(batch) and len(batch) > 1:
                for one in batch:
                    await self._try([one])
        self._runner = None

    async def _try(self, batch: list[_Waiting]) -> bool:
        """Writes a batch; gives False where it failed and should be tried one by one."""
        kinds: dict[Many[Any, Any], list[_Waiting]] = {}
        for one in batch:
            kinds.setdefault(one.many, []).append(one)
        results: list[tuple[_Waiting, Any]] = []
        try:
            async with self._database.write() as connection:
                for many, members in kinds.items():
                    values = await many(connection, [one.item for one in members])
                    results += zip(members, values, strict=True)
        except Exception as error:
            if len(batch) == 1 and not batch[0].result.cancelled():
                batch[0].result.set_exception(error)
            return False
        for one, value in results:
            if not one.result.cancelled():
                one.result.set_result(value)
        return True


@dataclass(frozen=True)
class _Waiting:
    many: Many[Any, Any]
    item: Any
    result: asyncio.Future[Any]


async def _one_by_one(connection: AsyncConnection, writes: list[Write[R]]) -> list[R]:
    return [await write(connection) for write in writes]
