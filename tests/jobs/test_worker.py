"""Jobs in the hands of a worker."""

import asyncio
from itertools import repeat

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from sqlalchemy import func, select, update

from affectmesh.v1 import jobs_pb2 as pb
from affectmesh.v1 import voice_pb2
from services.common import errors
from services.jobs import tables
from services.jobs.leases import MAX_ATTEMPTS
from services.jobs.working import CANONICAL
from tests.jobs.running import Running, close, speech_wav, until

NO_OP = pb.Job(dialect=pb.DIALECT_NATIVE, kind=pb.JOB_KIND_NO_OP)


async def voice_job(jobs: Running) -> pb.Job:
    media = await jobs.upload(speech_wav(1))
    job = pb.Job(
        dialect=pb.DIALECT_NATIVE,
        kind=pb.JOB_KIND_VOICE,
        input=pb.JobInput(media_id=media.media_id),
    )
    return await jobs.create(job)


async def count(jobs: Running, table: object) -> int:
    async with jobs.database() as database, database.read() as connection:
        query = select(func.count()).select_from(table)  # type: ignore[arg-type]
        return int((await connection.execute(query)).scalar_one())


async def billed(jobs: Running, entries: int) -> None:
    async def enough() -> bool:
        return (await jobs.usage()).total_analyses >= entries

    await until(enough, "usage is not in the ledger")


async def test_a_job_is_worked_on_and_keeps_its_result(jobs: Running) -> None:
    await jobs.work()
    made = await voice_job(jobs)
    done = await jobs.end(made.job_id)
    assert done.state == pb.JOB_STATE_DONE
    assert done.progress == 1
    assert done.attempts == 1
    assert done.quoted_usd == done.charged_usd == "0.00"
    (kept,) = done.representations
    assert kept.content_type == CANONICAL
    assert jobs.speech.asked[0].media_id == made.input.media_id
    assert jobs.speech.callers[0].org_id == jobs.org_id
    data = await jobs.download(kept.media_id)
    assert voice_pb2.AnalyzeVoiceResponse.FromString(data) == jobs.speech.answer


async def test_usage_is_entered_once_by_the_length_of_what_was_analysed(jobs: Running) -> None:
    await jobs.work()
    done = await jobs.end((await voice_job(jobs)).job_id)
    await billed(jobs, 1)
    (line,) = (await jobs.usage()).lines
    assert (line.item, line.quantity, line.count) == ("audio.emotion", "1.5", 1)
    assert done.charged_usd == line.total_usd

    async def sent() -> bool:
        return await count(jobs, tables.usage) == 0

    await until(sent, "usage is still to be sent")


async def test_a_test_key_is_not_charged(jobs: Running) -> None:
    await jobs.work()
    job = await jobs.create(NO_OP, test_mode=True)
    assert (await jobs.end(job.job_id)).charged_usd == "0.00"
    live = await jobs.create(NO_OP)
    await jobs.end(live.job_id)
    await billed(jobs, 1)
    assert (await jobs.usage()).total_analyses == 1


async def test_what_was_deleted_leaves_no_file(jobs: Running) -> None:
    await jobs.work()
    done = await jobs.end((await voice_job(jobs)).job_id)
    receipt = await jobs.call("DeleteJob", pb.DeleteJobRequest(job_id=done.job_id))
    assert len(receipt.sha256) == 2
    assert await count(jobs, tables.media) == 0
    assert await count(jobs, tables.representations) == 0


async def test_an_error_of_the_analysis_ends_the_job_and_costs_nothing(jobs: Running) -> None:
    jobs.speech.errors = repeat(errors.InvalidAudio("There is no sound.", suggestion="Send some."))
    await jobs.work()
    failed = await jobs.end((await voice_job(jobs)).job_id)
    assert failed.state == pb.JOB_STATE_ERROR
    assert failed.error.code == "INVALID_AUDIO"
    assert failed.error.message == "There is no sound."
    assert failed.error.details["suggestion"] == "Send some."
    assert failed.charged_usd == ""
    assert failed.attempts == 1
    assert await count(jobs, tables.usage) == 0


async def test_a_passing_failure_is_tried_again(jobs: Running) -> None:
    jobs.speech.errors = iter([errors.Unavailable("Not now.", suggestion="Try again.")])
    await jobs.work()
    done = await jobs.end((await voice_job(jobs)).job_id)
    assert done.state == pb.JOB_STATE_DONE
    assert done.attempts == 2


async def test_a_failure_that_does_not_pass_ends_after_bounded_tries(jobs: Running) -> None:
    jobs.speech.errors = repeat(errors.Unavailable("Not now.", suggestion="Try again."))
    job = await voice_job(jobs)
    async with jobs.database() as database, database.write() as connection:
        await connection.execute(update(tables.jobs).values(attempts=MAX_ATTEMPTS - 1))
    await jobs.work()
    failed = await jobs.end(job.job_id)
    assert failed.state == pb.JOB_STATE_ERROR
    assert failed.error.code == "SERVICE_UNAVAILABLE"
    assert failed.attempts == MAX_ATTEMPTS


async def test_work_on_a_cancelled_job_stops(jobs: Running) -> None:
    jobs.speech.pause_s = 3600
    await jobs.work()
    job = await voice_job(jobs)
    async with asyncio.timeout(60):
        await jobs.speech.began.wait()
        await jobs.call("CancelJob", pb.CancelJobRequest(job_id=job.job_id))
        await jobs.speech.stopped.wait()
    found = await jobs.get(job.job_id)
    assert found.state == pb.JOB_STATE_CANCELLED
    assert found.charged_usd == ""
    assert await count(jobs, tables.usage) == 0


async def test_a_deleted_job_stops_and_is_gone(jobs: Running) -> None:
    jobs.speech.pause_s = 3600
    await jobs.work()
    job = await voice_job(jobs)
    async with asyncio.timeout(60):
        await jobs.speech.began.wait()
        await jobs.call("DeleteJob", pb.DeleteJobRequest(job_id=job.job_id))
        await jobs.speech.stopped.wait()
    with pytest.raises(errors.NotFound):
        await jobs.get(job.job_id)


async def test_a_worker_that_stops_gives_its_jobs_back_untried(jobs: Running) -> None:
    jobs.settings = jobs.settings.model_copy(update={"stop_grace_s": 0.1})
    jobs.speech.pause_s = 3600
    worker = await jobs.work()
    job = await voice_job(jobs)
    async with asyncio.timeout(60):
        await jobs.speech.began.wait()
        await close(worker)
    found = await jobs.get(job.job_id)
    assert found.state == pb.JOB_STATE_QUEUED
    assert found.attempts == 0
    jobs.speech.pause_s = 0
    await jobs.work()
    assert (await jobs.end(job.job_id)).state == pb.JOB_STATE_DONE


async def test_a_url_is_fetched_by_the_rules_of_uploads(jobs: Running) -> None:
    await jobs.work()
    job = pb.Job(
        dialect=pb.DIALECT_NATIVE,
        kind=pb.JOB_KIND_VOICE,
        input=pb.JobInput(url="http://127.0.0.1:9/speech.wav"),
    )
    failed = await jobs.end((await jobs.create(job)).job_id)
    assert failed.state == pb.JOB_STATE_ERROR
    assert failed.error.code == "FETCH_FAILED"


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        pytest.param(speech_wav(5 * 60 + 1), "5 minutes", id="long"),
        pytest.param(speech_wav(1) + bytes(16 * 1024 * 1024), "16 MiB", id="large"),
    ],
)
async def test_a_url_of_more_than_the_plan_allows_is_rejected(
    jobs: Running, body: bytes, limit: str
) -> None:
    async def give(_request: web.Request) -> web.Response:
        return web.Response(body=body)

    await jobs.work()
    app = web.Application()
    app.router.add_get("/speech.wav", give)
    async with TestServer(app) as server:
        job = pb.Job(
            dialect=pb.DIALECT_NATIVE,
            kind=pb.JOB_KIND_VOICE,
            input=pb.JobInput(url=str(server.make_url("/speech.wav"))),
        )
        rejected = await jobs.end((await jobs.create(job, plan="free")).job_id)
    assert rejected.state == pb.JOB_STATE_REJECTED
    assert rejected.error.code == "PAYLOAD_TOO_LARGE"
    assert (rejected.error.details["limit"], rejected.error.details["plan"]) == (limit, "free")
    assert rejected.charged_usd == ""
    assert await count(jobs, tables.usage) == 0
    assert await count(jobs, tables.media) == 0


async def test_higher_priority_comes_first_within_an_organisation(jobs: Running) -> None:
    last = await jobs.create(NO_OP, priority=-10)
    middle = await jobs.create(NO_OP)
    first = await jobs.create(NO_OP, priority=10)
    jobs.settings = jobs.settings.model_copy(update={"job_concurrency": 1})
    await jobs.work()
    ended = [await jobs.end(job.job_id) for job in (last, middle, first)]
    order = sorted(ended, key=lambda job: job.end_time.ToNanoseconds())
    assert [job.job_id for job in order] == [first.job_id, middle.job_id, last.job_id]


async def test_a_queue_of_one_organisation_does_not_hold_up_another(jobs: Running) -> None:
    many = [await jobs.create(NO_OP) for _ in range(30)]
    one = await jobs.create(NO_OP, 77)
    jobs.settings = jobs.settings.model_copy(update={"job_concurrency": 1})
    await jobs.work()
    ended = [await jobs.end(job.job_id) for job in many]
    other = await jobs.end(one.job_id, 77)
    before = [job for job in ended if job.end_time.ToNanoseconds() < other.end_time.ToNanoseconds()]
    assert len(before) <= 4


async def test_many_jobs_each_end_once(jobs: Running) -> None:
    await jobs.work()
    made = await asyncio.gather(*(jobs.create(NO_OP) for _ in range(60)))

    async def all_done() -> bool:
        request = pb.ListJobsRequest(states=[pb.JOB_STATE_DONE], page_size=1)
        return bool((await jobs.call("ListJobs", request)).total_size == len(made))

    await until(all_done, "some jobs did not end")
    await billed(jobs, len(made))
    assert (await jobs.usage()).total_analyses == len(made)
    assert {(await jobs.get(job.job_id)).attempts for job in made} == {1}
