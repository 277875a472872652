"""How many jobs wait is known to whoever watches the job service."""

from pathlib import Path

from prometheus_client import REGISTRY
from sqlalchemy import insert

from affectmesh.v1 import jobs_pb2 as pb
from services.common.database import Database
from services.jobs.gauges import Gauges
from services.jobs.states import State
from services.jobs.tables import MIGRATIONS, jobs, workers

NOW = 1_000_000


def job(number: int, state: State, not_before_ms: int) -> dict[str, object]:
    row = {column.name: "" for column in jobs.columns if not column.nullable}
    return row | {
        "sequence": number,
        "job_id": f"job_{number}",
        "org_id": 1,
        "test_mode": False,
        "dialect": 1,
        "kind": pb.JOB_KIND_NO_OP,
        "state": state,
        "rank": 0,
        "progress": 0.0,
        "attempts": 0,
        "not_before_ms": not_before_ms,
        "created_ms": 1,
        "updated_ms": 1,
        "expires_ms": 1,
    }


async def test_jobs_are_counted_by_state_and_the_oldest_is_timed(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'records.db'}"
    database = await Database.open(url, MIGRATIONS)
    rows = [
        job(1, State.QUEUED, NOW - 90_000),
        job(2, State.QUEUED, NOW + 90_000),
        job(3, State.WORKING, 1),
        job(4, State.DONE, 1),
    ]
    async with database.write() as connection:
        await connection.execute(insert(jobs), rows)
        row = {column.name: 4 for column in workers.columns} | {"worker_id": "wrk_1"}
        await connection.execute(insert(workers), [row])
    await Gauges(database, lambda: NOW).read()
    await database.close()
    assert REGISTRY.get_sample_value("affectmesh_jobs", {"state": "queued"}) == 2
    assert REGISTRY.get_sample_value("affectmesh_jobs", {"state": "working"}) == 1
    assert REGISTRY.get_sample_value("affectmesh_jobs_oldest_seconds") == 90
    assert REGISTRY.get_sample_value("affectmesh_job_places") == 4
