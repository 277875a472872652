"""The database under what a queue does to it: work that is cancelled, writes that come at once."""

import asyncio
import random
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.database import Database
from services.jobs.batches import Batches
from services.jobs.tables import MIGRATIONS, workers


async def open_database(folder: Path) -> Database:
    return await Database.open(f"sqlite+aiosqlite:///{folder / 'jobs.db'}", MIGRATIONS)


def worker(name: str) -> dict[str, object]:
    return {"worker_id": name, "slots": 1, "beats": 0}


async def count(database: Database) -> int:
    async with database.read() as connection:
        found = await connection.execute(select(func.count()).select_from(workers))
        return int(found.scalar_one())


async def test_transactions_that_are_cancelled_leave_no_lock(tmp_path: Path) -> None:
    database = await open_database(tmp_path)
    chance = random.Random(7)

    async def write(name: str) -> None:
        async with database.write() as connection:
            await connection.execute(insert(workers).values(worker(name)))
            await connection.execute(select(workers))

    for number in range(100):
        tasks = [asyncio.create_task(write(f"cut {number}")), asyncio.create_task(count(database))]
        await asyncio.sleep(chance.random() * 0.006)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if number % 10 == 9:
            await write(f"whole {number}")
    assert await count(database) >= 10
    await database.close()


async def test_writes_at_the_same_time_share_transactions(tmp_path: Path) -> None:
    database = await open_database(tmp_path)
    batches = Batches(database)
    transactions = set()

    async def write(connection: AsyncConnection, name: str) -> str:
        transactions.add(id(connection))
        await connection.execute(insert(workers).values(worker(name)))
        return name

    names = [f"worker {number}" for number in range(50)]
    written = await asyncio.gather(*(batches.write(partial(write, name=name)) for name in names))
    assert written == names
    assert await count(database) == 50
    assert len(transactions) < 10
    await batches.close()
    await database.close()


async def test_a_write_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    database = await open_database(tmp_path)
    batches = Batches(database)

    async def write(connection: AsyncConnection, name: str) -> None:
        await connection.execute(insert(workers).values(worker(name)))
        if name == "bad":
            raise ValueError(name)

    names = ["first", "bad", "second"]
    results = await asyncio.gather(
        *(batches.write(partial(write, name=name)) for name in names),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), ValueError, type(None)]
    assert await count(database) == 2
    await batches.close()
    await database.close()


async def test_a_write_that_nobody_waits_for_is_written(tmp_path: Path) -> None:
    database = await open_database(tmp_path)
    batches = Batches(database)

    async def write(connection: AsyncConnection) -> None:
        await connection.execute(insert(workers).values(worker("given up")))

    waiting = asyncio.create_task(batches.write(write))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await batches.close()
    assert await count(database) == 1
    await database.close()
