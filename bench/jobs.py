"""What a job costs beyond its analysis: `python -m bench.jobs [--places N]`.

A mesh of billing, jobs, one worker (with 16 places) and Redis; its jobs do nothing. Prints the time
from the acceptance of a job to its visible end, how fast a queue drains, what CPU a job costs from
its acceptance to its end, and the time of a page of a long list.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sqlalchemy import insert

from affectmesh.v1 import jobs_pb2 as pb
from affectmesh.v1 import jobs_pb2_grpc
from bench.usage import cpu_seconds, difference
from services.common import caller
from services.common.channels import Channels, call, metadata
from services.common.database import Database
from services.common.resources import new_id, now_ms
from services.common.settings import SERVICES
from services.jobs.records import Records
from services.jobs.states import State
from services.jobs.tables import MIGRATIONS, jobs
from services.mesh.temporary import TemporaryMesh

HERE = ("billing", "jobs")
PROCESSES = ("redis", *HERE, "worker-1")
PLACES = 16
SINGLE, QUEUED, LISTED, PAGE = 20, 1000, 100_000, 100
OVERHEAD_MS, DRAINED_PER_S, PAGE_MS = 150.0, 200.0, 30.0
"""Targets."""

_AT_ONCE = 50
_NO_OP = pb.Job(dialect=pb.DIALECT_NATIVE, kind=pb.JOB_KIND_NO_OP)
_ASKING = caller.Caller(1, "key_bench", "enterprise")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.jobs")
    parser.add_argument(
        "--places", type=int, default=PLACES, help="jobs that the worker has at once"
    )
    places = parser.parse_args().places
    elsewhere = {name: "127.0.0.1:1" for name in SERVICES if name not in HERE}
    settings = {
        "AFFECTMESH_ADDRESSES": json.dumps(elsewhere),
        "AFFECTMESH_JOB_CONCURRENCY": str(places),
    }
    with TemporaryMesh(settings) as mesh:
        asyncio.run(_measure(mesh))


async def _measure(mesh: TemporaryMesh) -> None:
    caller.current.set(_ASKING)
    channels = Channels(mesh.settings)
    stub = channels.stub("jobs", jobs_pb2_grpc.JobServiceStub)
    await _overhead(stub)
    await _drain(stub, mesh)
    await channels.close()
    database = await Database.open(mesh.settings.database, MIGRATIONS)
    await _list(database)
    await database.close()


async def _overhead(stub: Any) -> None:
    """From the acceptance of a job that does nothing to its end, seen by a watcher."""
    taken = []
    for _ in range(SINGLE):
        made = await _create(stub)
        began = time.perf_counter()
        async for _job in stub.WatchJob(
            pb.WatchJobRequest(job_id=made.job_id), metadata=metadata()
        ):
            pass
        taken.append((time.perf_counter() - began) * 1000)
    _row("overhead of a job, median", statistics.median(taken), OVERHEAD_MS, "ms", most=True)
    _row("overhead of a job, worst", max(taken), OVERHEAD_MS, "ms", most=True)


async def _drain(stub: Any, mesh: TemporaryMesh) -> None:
    """How fast workers end what is queued, while it is being queued and after."""
    before, cpu = await _done(stub), cpu_seconds(mesh, PROCESSES)
    began = time.perf_counter()
    for _ in range(QUEUED // _AT_ONCE):
        await asyncio.gather(*(_create(stub) for _ in range(_AT_ONCE)))
    queued, start = time.perf_counter(), await _done(stub)
    done = start
    while done < before + QUEUED:
        await asyncio.sleep(0.1)
        done = await _done(stub)
    ended = time.perf_counter()
    used = difference(cpu, cpu_seconds(mesh, PROCESSES))
    _row("jobs accepted", QUEUED / (queued - began), None, "/s")
    _row("queue drained", (done - start) / (ended - queued), DRAINED_PER_S, "/s")
    _row("CPU of a job", 1000 * sum(used.values()) / QUEUED, None, "ms")
    for name, seconds in used.items():
        _row(f"CPU of a job, {name}", 1000 * seconds / QUEUED, None, "ms")


async def _list(database: Database) -> None:
    """A page of a list of many recordings: the first, and one deep in it."""
    org_id, now = 77, now_ms()
    row = {
        "org_id": org_id,
        "principal_id": "key_bench",
        "plan": "enterprise",
        "test_mode": False,
        "consent_reference": "",
        "dialect": pb.DIALECT_EMOVISION,
        "kind": pb.JOB_KIND_RECORDING_BASIC,
        "state": State.DONE,
        "rank": 0,
        "progress": 1.0,
        "options": "{}",
        "metadata": "{}",
        "callback_url": "",
        "quoted_usd": "0.25",
        "charged_usd": "0.25",
        "attempts": 1,
        "not_before_ms": now,
        "created_ms": now,
        "updated_ms": now,
        "ended_ms": now,
        "expires_ms": now + 86_400_000,
    }
    for _ in range(LISTED // 10_000):
        async with database.write() as connection:
            rows = [{**row, "job_id": new_id("job")} for _ in range(10_000)]
            await connection.execute(insert(jobs), rows)
    records = Records(database, now_ms)

    def page(states: Sequence[int], skip: int) -> Callable[[], Awaitable[object]]:
        return lambda: records.page(
            org_id,
            dialect=pb.DIALECT_EMOVISION,
            states=states,
            before=None,
            skip=skip,
            size=PAGE,
        )

    for name, states, skip in (
        ("first", [], 0),
        ("last", [], LISTED - PAGE),
        ("first, by state", [State.DONE], 0),
    ):
        taken = [await _time(page(states, skip)) for _ in range(15)]
        _row(
            f"page of {PAGE} of {LISTED:,} recordings, {name}",
            statistics.median(taken),
            PAGE_MS,
            "ms",
            most=True,
        )


async def _create(stub: Any) -> pb.Job:
    made: pb.Job = await call("jobs", stub.CreateJob, pb.CreateJobRequest(job=_NO_OP), 30)
    return made


async def _done(stub: Any) -> int:
    request = pb.ListJobsRequest(states=[pb.JOB_STATE_DONE], page_size=1)
    return int((await call("jobs", stub.ListJobs, request, 30)).total_size)


async def _time(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1000


def _row(name: str, value: float, target: float | None, unit: str, most: bool = False) -> None:
    verdict = ""
    if target is not None:
        met = value <= target if most else value >= target
        verdict = f"{'≤' if most else '≥'} {target:g} {unit}: {'met' if met else 'MISSED'}"
    print(f"{name:52} {value:9.1f} {unit:4} {verdict}")


if __name__ == "__main__":
    main()
