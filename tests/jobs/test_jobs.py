"""Jobs as their owners see them."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import insert, update

from affectmesh.v1 import jobs_pb2 as pb
from affectmesh.v1 import jobs_pb2_grpc
from services.common import caller, errors
from services.common.channels import call
from services.jobs import tables
from services.jobs.records import KEY_LIFE_MS, MAX_ANNOTATIONS
from tests.jobs.running import Running, speech_wav

NO_OP = pb.Job(dialect=pb.DIALECT_NATIVE, kind=pb.JOB_KIND_NO_OP)
OTHER_ORG = 999


def voice_job(**fields: object) -> pb.Job:
    given = {"input": pb.JobInput(url="https://example.com/speech.wav"), **fields}
    return pb.Job(dialect=pb.DIALECT_NATIVE, kind=pb.JOB_KIND_VOICE, **given)  # type: ignore[arg-type]


async def test_a_new_job_is_queued_quoted_and_dated(jobs: Running) -> None:
    asked = voice_job()
    asked.options["segment_by"] = "sentence"
    asked.metadata["case"] = 7
    made = await jobs.create(asked)
    assert made.job_id.startswith("job_")
    assert len(made.job_id) == 20
    assert made.state == pb.JOB_STATE_QUEUED
    assert made.input.url == "https://example.com/speech.wav"
    assert made.quoted_usd == ""
    assert made.charged_usd == ""
    assert made.options["segment_by"] == "sentence"
    assert made.metadata["case"] == 7
    assert made.expire_time.seconds - made.create_time.seconds == 30 * 24 * 3600
    assert await jobs.get(made.job_id) == made


async def test_what_costs_the_same_whatever_it_takes_is_quoted_without_a_duration(
    jobs: Running,
) -> None:
    assert (await jobs.create(NO_OP)).quoted_usd == "0.00"


async def test_a_list_is_newest_first_in_pages(jobs: Running) -> None:
    made = [(await jobs.create(NO_OP)).job_id for _ in range(5)]
    listed, token = [], ""
    for _ in range(3):
        page = await jobs.call("ListJobs", pb.ListJobsRequest(page_size=2, page_token=token))
        listed += [job.job_id for job in page.jobs]
        assert page.total_size == 5
        token = page.next_page_token
    assert listed == made[::-1]
    assert token == ""
    skipped = await jobs.call("ListJobs", pb.ListJobsRequest(page_size=2, skip=3))
    assert [job.job_id for job in skipped.jobs] == made[1::-1]


async def test_a_list_can_be_narrowed_to_a_dialect_and_states(jobs: Running) -> None:
    await jobs.create(NO_OP)
    other = await jobs.create(pb.Job(dialect=pb.DIALECT_AFFECTIVA, kind=pb.JOB_KIND_NO_OP))
    cancelled = await jobs.create(NO_OP)
    await jobs.call("CancelJob", pb.CancelJobRequest(job_id=cancelled.job_id))

    async def ids(**asked: object) -> list[str]:
        page = await jobs.call("ListJobs", pb.ListJobsRequest(**asked))  # type: ignore[arg-type]
        assert page.total_size == len(page.jobs)
        return [job.job_id for job in page.jobs]

    assert await ids(dialect=pb.DIALECT_AFFECTIVA) == [other.job_id]
    assert await ids(states=[pb.JOB_STATE_CANCELLED, pb.JOB_STATE_DONE]) == [cancelled.job_id]
    assert await ids(dialect=pb.DIALECT_AFFECTIVA, states=[pb.JOB_STATE_CANCELLED]) == []
    assert len(await ids(dialect=pb.DIALECT_NATIVE)) == 2


async def test_another_organisation_sees_nothing(jobs: Running) -> None:
    job_id = (await jobs.create(NO_OP)).job_id
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: jobs.get(job_id, OTHER_ORG),
        lambda: jobs.call("CancelJob", pb.CancelJobRequest(job_id=job_id), OTHER_ORG),
        lambda: jobs.call("DeleteJob", pb.DeleteJobRequest(job_id=job_id), OTHER_ORG),
        lambda: jobs.call(
            "CreateAnnotation",
            pb.CreateAnnotationRequest(
                annotation=pb.Annotation(job_id=job_id, entry="result", key="k", value="v")
            ),
            OTHER_ORG,
        ),
        lambda: jobs.call(
            "ListAnnotations", pb.ListAnnotationsRequest(job_id=job_id, entry="input"), OTHER_ORG
        ),
    ]
    for attempt in calls:
        with pytest.raises(errors.NotFound):
            await attempt()
    assert (await jobs.call("ListJobs", pb.ListJobsRequest(), OTHER_ORG)).total_size == 0
    assert (await jobs.get(job_id)).state == pb.JOB_STATE_QUEUED


async def test_the_same_key_gives_the_same_job(jobs: Running) -> None:
    made = await asyncio.gather(*(jobs.create(NO_OP, idempotency_key="order 17") for _ in range(5)))
    assert {job.job_id for job in made} == {made[0].job_id}
    other = await jobs.create(NO_OP, OTHER_ORG, idempotency_key="order 17")
    assert other.job_id != made[0].job_id


async def test_a_key_that_comes_with_another_request_is_refused(jobs: Running) -> None:
    first = await jobs.create(NO_OP, idempotency_key="order 17")
    with pytest.raises(errors.Conflict) as refused:
        await jobs.create(NO_OP, idempotency_key="order 17", priority=1)
    assert refused.value.details["job_id"] == first.job_id


async def test_a_key_is_free_again_after_a_day(jobs: Running) -> None:
    first = await jobs.create(NO_OP, idempotency_key="order 17")
    keys = tables.idempotency_keys
    async with jobs.database() as database, database.write() as connection:
        await connection.execute(update(keys).values(created_ms=keys.c.created_ms - KEY_LIFE_MS))
    again = await jobs.create(NO_OP, idempotency_key="order 17", priority=1)
    assert again.job_id != first.job_id


async def test_a_queued_job_is_cancelled_at_once_and_costs_nothing(jobs: Running) -> None:
    job_id = (await jobs.create(NO_OP)).job_id
    cancelled = await jobs.call("CancelJob", pb.CancelJobRequest(job_id=job_id))
    assert cancelled.state == pb.JOB_STATE_CANCELLED
    assert cancelled.charged_usd == ""
    assert cancelled.HasField("end_time")
    assert await jobs.call("CancelJob", pb.CancelJobRequest(job_id=job_id)) == cancelled


async def test_a_deletion_gives_a_receipt_with_the_digest_of_each_file(jobs: Running) -> None:
    media = await jobs.upload(speech_wav(1))
    job = await jobs.create(voice_job(input=pb.JobInput(media_id=media.media_id)))
    receipt = await jobs.call("DeleteJob", pb.DeleteJobRequest(job_id=job.job_id))
    assert receipt.resource == job.job_id
    assert receipt.receipt_id.startswith("del_")
    assert receipt.sha256 == [media.sha256]
    with pytest.raises(errors.NotFound):
        await jobs.get(job.job_id)
    with pytest.raises(errors.NotFound):
        await jobs.call("DeleteJob", pb.DeleteJobRequest(job_id=job.job_id))
    with pytest.raises(errors.NotFound):
        await jobs.call("GetMedia", pb.GetMediaRequest(media_id=media.media_id))


async def test_media_goes_with_the_last_of_its_jobs(jobs: Running) -> None:
    media = await jobs.upload(speech_wav(1))
    job = voice_job(input=pb.JobInput(media_id=media.media_id))
    first, second = (await jobs.create(job)).job_id, (await jobs.create(job)).job_id
    receipt = await jobs.call("DeleteJob", pb.DeleteJobRequest(job_id=first))
    assert receipt.sha256 == []
    receipt = await jobs.call("DeleteJob", pb.DeleteJobRequest(job_id=second))
    assert receipt.sha256 == [media.sha256]


async def test_a_recording_is_quoted_by_its_length(jobs: Running) -> None:
    media = await jobs.upload(speech_wav(90))
    job = pb.Job(
        dialect=pb.DIALECT_NATIVE,
        kind=pb.JOB_KIND_RECORDING_ADVANCED,
        input=pb.JobInput(media_id=media.media_id),
    )
    assert (await jobs.create(job)).quoted_usd == "0.75"


async def test_a_recording_over_the_plan_is_rejected(jobs: Running) -> None:
    media = await jobs.upload(speech_wav(5 * 60 + 1))
    job = voice_job(input=pb.JobInput(media_id=media.media_id))
    made = await jobs.create(job, plan="free")
    assert made.state == pb.JOB_STATE_REJECTED
    assert made.error.code == "PAYLOAD_TOO_LARGE"
    assert made.error.details["limit"] == "5 minutes"


async def test_notes_are_kept_apart_by_entry_oldest_first(jobs: Running) -> None:
    job_id = (await jobs.create(NO_OP)).job_id

    async def annotate(**fields: str) -> pb.Annotation:
        note = pb.Annotation(**{"job_id": job_id, "entry": "result", **fields})  # type: ignore[arg-type]
        made: pb.Annotation = await jobs.call(
            "CreateAnnotation", pb.CreateAnnotationRequest(annotation=note)
        )
        return made

    first = await annotate(key="quality", value="good", source="Company/Team")
    second = await annotate(key="ä" * 255, value="b" * 255)
    other = await annotate(key="language", value="de", entry="input")
    assert first.author == "key_test"
    assert first.annotation_id.startswith("ann_")

    async def listed(entry: str) -> list[pb.Annotation]:
        request = pb.ListAnnotationsRequest(job_id=job_id, entry=entry)
        return list((await jobs.call("ListAnnotations", request)).annotations)

    assert await listed("result") == [first, second]
    assert await listed("input") == [other]


async def test_notes_on_one_entry_have_an_end(jobs: Running) -> None:
    job_id = (await jobs.create(NO_OP)).job_id
    row = {"job_id": job_id, "entry": "result", "key": "k", "value": "v", "source": ""}
    rows = [
        {**row, "annotation_id": f"ann_{number}", "author": "", "created_ms": 1}
        for number in range(MAX_ANNOTATIONS)
    ]
    async with jobs.database() as database, database.write() as connection:
        await connection.execute(insert(tables.annotations), rows)
    note = pb.Annotation(job_id=job_id, entry="result", key="k", value="v")
    with pytest.raises(errors.InvalidRequest):
        await jobs.call("CreateAnnotation", pb.CreateAnnotationRequest(annotation=note))


BAD_JOBS = (
    (pb.Job(dialect=pb.DIALECT_NATIVE), "kind"),
    (pb.Job(dialect=pb.DIALECT_NATIVE, kind=99), "kind"),  # type: ignore[arg-type]
    (pb.Job(kind=pb.JOB_KIND_NO_OP), "dialect"),
    (pb.Job(dialect=pb.DIALECT_NATIVE, kind=pb.JOB_KIND_VOICE), "input"),
    (voice_job(input=pb.JobInput(url="")), "input.url"),
    (voice_job(input=pb.JobInput(url="file:///etc/passwd")), "input.url"),
    (voice_job(input=pb.JobInput(url="http://")), "input.url"),
    (voice_job(input=pb.JobInput(url="http://[::1")), "input.url"),
    (voice_job(input=pb.JobInput(url="http://a/" + "b" * 3000)), "input.url"),
)


async def test_a_job_that_makes_no_sense_is_refused(jobs: Running) -> None:
    for job, field in BAD_JOBS:
        with pytest.raises(errors.InvalidRequest) as refused:
            await jobs.create(job)
        assert refused.value.details["field"] == field
        assert refused.value.details["suggestion"]


async def test_bad_requests_are_refused(jobs: Running) -> None:
    unknown = voice_job()
    unknown.options["video_url"] = "http://example.com"
    wrong = voice_job()
    wrong.options["window_ms"] = "long"
    large = pb.Job(dialect=pb.DIALECT_NATIVE, kind=pb.JOB_KIND_NO_OP)
    large.metadata["text"] = "x" * 20_000
    for job in (unknown, wrong, large):
        with pytest.raises(errors.InvalidRequest):
            await jobs.create(job)
    for fields in (
        {"priority": 11},
        {"priority": -11},
        {"callback_url": "ftp://example.com"},
        {"idempotency_key": "k" * 256},
        {"idempotency_key": "a\nb"},
    ):
        with pytest.raises(errors.InvalidRequest) as refused:
            await jobs.create(NO_OP, **fields)
        assert refused.value.details["field"] == next(iter(fields))


async def test_media_that_is_not_there_is_not_found(jobs: Running) -> None:
    with pytest.raises(errors.NotFound):
        await jobs.create(voice_job(input=pb.JobInput(media_id="med_aaaaaaaaaaaaaaaa")))


async def test_bad_pages_are_refused(jobs: Running) -> None:
    for fields in (
        {"page_size": -1},
        {"page_size": 101},
        {"page_token": "no token"},
        {"page_token": "bm90IGEgbnVtYmVy"},
        {"skip": -1},
        {"dialect": 42},
        {"states": [42]},
        {"states": [0]},
    ):
        with pytest.raises(errors.InvalidRequest) as refused:
            await jobs.call("ListJobs", pb.ListJobsRequest(**fields))
        assert refused.value.details["field"] == next(iter(fields))


async def test_bad_notes_are_refused(jobs: Running) -> None:
    job_id = (await jobs.create(NO_OP)).job_id
    good = {"job_id": job_id, "entry": "result", "key": "k", "value": "v"}
    for field, value in (
        ("key", "k" * 256),
        ("key", ""),
        ("value", "v" * 256),
        ("value", ""),
        ("source", "s" * 256),
        ("entry", "media"),
        ("entry", ""),
    ):
        note = pb.Annotation(**{**good, field: value})  # type: ignore[arg-type]
        with pytest.raises(errors.InvalidRequest) as refused:
            await jobs.call("CreateAnnotation", pb.CreateAnnotationRequest(annotation=note))
        assert refused.value.details["field"] == field


async def test_without_a_caller_nothing_is_done(jobs: Running) -> None:
    stub = jobs.channels.stub("jobs", jobs_pb2_grpc.JobServiceStub)
    caller.current.set(None)
    with pytest.raises(errors.Unauthorized):
        await call("jobs", stub.GetJob, pb.GetJobRequest(job_id="job_of_nobody"), 10)


async def test_a_watcher_sees_what_changes_until_the_end(jobs: Running) -> None:
    job_id = (await jobs.create(NO_OP)).job_id
    states = []
    async for job in jobs.watch(job_id):
        states.append(job.state)
        if job.state == pb.JOB_STATE_QUEUED:
            await jobs.call("CancelJob", pb.CancelJobRequest(job_id=job_id))
    assert states == [pb.JOB_STATE_QUEUED, pb.JOB_STATE_CANCELLED]


async def test_watching_what_has_ended_gives_it_once(jobs: Running) -> None:
    job_id = (await jobs.create(NO_OP)).job_id
    await jobs.call("CancelJob", pb.CancelJobRequest(job_id=job_id))
    assert [job.state async for job in jobs.watch(job_id)] == [pb.JOB_STATE_CANCELLED]


async def test_many_watch_one_job_and_one_read_serves_them(jobs: Running) -> None:
    job_id = (await jobs.create(NO_OP)).job_id
    started = asyncio.Semaphore(0)

    async def follow() -> list[int]:
        seen: list[int] = []
        async for job in jobs.watch(job_id):
            seen.append(job.state)
            started.release()
        return seen

    watchers = [asyncio.create_task(follow()) for _ in range(50)]
    for _ in watchers:
        await started.acquire()
    await jobs.call("CancelJob", pb.CancelJobRequest(job_id=job_id))
    for seen in await asyncio.gather(*watchers):
        assert seen == [pb.JOB_STATE_QUEUED, pb.JOB_STATE_CANCELLED]
