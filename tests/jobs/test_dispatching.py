"""What is handed to the workers, and what is handed to them again; how jobs end together."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from affectmesh.v1 import jobs_pb2 as pb
from services.common.database import Database
from services.jobs.dispatcher import LOST_MS, Dispatcher
from services.jobs.endings import Ending, Endings, Hold
from services.jobs.leases import Claim, Claims, give_back
from services.jobs.states import State
from services.jobs.stream import Sender
from services.jobs.tables import MIGRATIONS, jobs, usage, workers
from services.jobs.usage import Amount
from services.jobs.webhook_outbox import WebhookOutbox

PLACES = 2


@dataclass
class Queue:
    """Three queued jobs and a worker with two places, which takes what the test says."""

    database: Database
    sender: Sender
    now_ms: int = 1_000_000

    def __post_init__(self) -> None:
        self.dispatcher = Dispatcher(self.database, self.sender, lambda: self.now_ms)

    async def take(self, *job_ids: str) -> list[Hold]:
        """The worker takes jobs."""
        async with self.database.write() as connection:
            claims = [Claim(job_id, "wrk_1") for job_id in job_ids]
            rows = await Claims(lambda: self.now_ms).take(connection, claims)
        return [Hold(row["job_id"], "wrk_1", row["attempts"]) for row in rows if row is not None]

    async def put_back(self, hold: Hold, wait_ms: int = 0) -> None:
        """The worker puts a job back."""
        async with self.database.write() as connection:
            await give_back(connection, hold, self.now_ms, wait_ms=wait_ms)

    async def hand(self, after_ms: int = 200) -> int:
        """How many jobs the next pass hands over, later than what ended last makes a difference."""
        self.now_ms += after_ms
        return await self.dispatcher.run()


@pytest.fixture
async def queue(tmp_path: Path, redis_url: str) -> AsyncIterator[Queue]:
    database = await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'jobs.db'}", MIGRATIONS)
    sender = Sender(redis_url)
    running = Queue(database, sender)
    blank: dict[str, object] = {column.name: "" for column in jobs.columns if not column.nullable}
    blank |= dict.fromkeys(("org_id", "dialect", "rank", "attempts", "not_before_ms"), 0)
    blank |= dict.fromkeys(("created_ms", "updated_ms", "expires_ms"), 0)
    blank |= {"test_mode": False, "progress": 0.0, "kind": pb.JOB_KIND_NO_OP, "state": State.QUEUED}
    rows = [{**blank, "sequence": n, "job_id": f"job_{n}", "org_id": 1} for n in (1, 2, 3)]
    async with database.write() as connection:
        await connection.execute(insert(jobs), rows)
        await connection.execute(
            insert(workers), [{"worker_id": "wrk_1", "slots": PLACES, "beats": 0}]
        )
    yield running
    await sender.close()
    await database.close()


async def test_as_many_jobs_are_handed_over_as_there_are_places(queue: Queue) -> None:
    assert [await queue.hand() for _ in range(3)] == [2, 0, 0]
    await queue.take("job_1")
    assert await queue.hand() == 0


async def test_what_nobody_takes_is_handed_over_again(queue: Queue) -> None:
    assert await queue.hand() == 2
    await queue.take("job_1")
    assert await queue.hand(LOST_MS) == 0
    assert await queue.hand() == 1


async def test_nothing_is_taken_for_lost_while_every_place_is_taken(queue: Queue) -> None:
    assert await queue.hand() == 2
    await queue.take("job_2", "job_3")
    assert await queue.hand(10 * LOST_MS) == 0


async def test_a_job_that_was_put_back_is_handed_over_at_once(queue: Queue) -> None:
    assert await queue.hand() == 2
    (hold,) = await queue.take("job_1")
    queue.now_ms += 1
    await queue.put_back(hold)
    assert await queue.hand() == 1


async def test_a_job_that_is_to_wait_leaves_its_place_to_another(queue: Queue) -> None:
    assert await queue.hand() == 2
    (hold,) = await queue.take("job_1")
    await queue.put_back(hold, wait_ms=60_000)
    assert await queue.hand() == 1
    assert {hold.job_id for hold in await queue.take("job_2", "job_3")} == {"job_2", "job_3"}
    assert await queue.hand() == 0


async def test_jobs_that_end_together_end_by_those_who_hold_them(queue: Queue) -> None:
    holds = await queue.take("job_1", "job_2")
    done = Ending(State.DONE)
    asked: list[str | Hold] = [
        holds[0],
        Hold("job_2", "wrk_1", 7),
        Hold("job_2", "wrk_9", 1),
        Hold("job_none", "wrk_1", 1),
        "job_3",
    ]
    endings = Endings(WebhookOutbox(lambda: queue.now_ms), lambda: queue.now_ms)
    async with queue.database.write() as connection:
        ended = await endings.end_all(connection, [(one, done) for one in asked])
    assert [row and row["job_id"] for row in ended] == ["job_1", None, None, None, None]
    async with queue.database.write() as connection:
        again = await endings.end_all(connection, [(holds[0], done), (holds[1], done)])
    assert [row and (row["job_id"], row["state"], row["progress"]) for row in again] == [
        None,
        ("job_2", State.DONE, 1.0),
    ]


async def test_a_job_that_is_ended_twice_at_once_ends_as_the_first_says(queue: Queue) -> None:
    (hold,) = await queue.take("job_1")
    endings = Endings(WebhookOutbox(lambda: queue.now_ms), lambda: queue.now_ms)
    done = Ending(State.DONE, amount=Amount("audio.emotion", "1"))
    asked: list[tuple[str | Hold, Ending]] = [
        (hold, done),
        ("job_1", Ending(State.CANCELLED)),
        (hold, done),
    ]
    async with queue.database.write() as connection:
        ended = await endings.end_all(connection, asked)
        states = await connection.scalars(select(jobs.c.state).where(jobs.c.job_id == "job_1"))
        used = await connection.scalars(select(usage.c.quantity))
    assert [row and row["state"] for row in ended] == [State.DONE, None, None]
    assert (states.all(), used.all()) == ([State.DONE], ["1"])
