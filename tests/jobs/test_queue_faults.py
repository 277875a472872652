"""Processes that are killed mid-job: nothing is lost, and nothing is billed twice."""

import asyncio
import json
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
import pytest
from redis.asyncio import Redis

from affectmesh.v1 import jobs_pb2 as pb
from affectmesh.v1 import voice_pb2, voice_pb2_grpc
from services.common import errors
from services.common.channels import Channels
from services.common.settings import SERVICES
from services.mesh.temporary import TemporaryMesh
from tests.common.serving import serving
from tests.contract.receiving import receiving
from tests.jobs.running import Running, Speech, speech_wav, until

HERE = ("billing", "jobs")
WORKERS = ("worker-1", "worker-2")
NO_OP = pb.Job(dialect=pb.DIALECT_NATIVE, kind=pb.JOB_KIND_NO_OP)
BOOTSTRAP_ORG = 1


class Faulty(Running):
    """Jobs in processes of their own, which a test may kill."""

    mesh: TemporaryMesh

    async def kill(self, *names: str) -> None:
        """Kills processes of the mesh."""
        for name in names:
            os.kill(self.mesh.pid(name), signal.SIGKILL)

    async def restart(self, name: str) -> None:
        """Kills a process and waits until its successor serves."""
        killed = self.mesh.pid(name)
        os.kill(killed, signal.SIGKILL)

        async def back() -> bool:
            return self.mesh.pid(name) != killed and self.mesh.state(name) == "serving"

        await until(back, f"{name} does not come back")

        async def answers() -> bool:
            try:
                await self.count(pb.JOB_STATE_QUEUED)
            except errors.Unavailable:
                return False
            return True

        await until(answers, "the job service does not answer")

    async def count(self, state: int) -> int:
        """How many jobs are in a state."""
        request = pb.ListJobsRequest(states=[state], page_size=1)  # type: ignore[list-item]
        return int((await self.call("ListJobs", request)).total_size)

    async def all_done(self, jobs: int) -> None:
        """Waits until so many jobs are done and in the ledger."""

        async def done() -> bool:
            return await self.count(pb.JOB_STATE_DONE) == jobs

        await until(done, "some jobs did not end")

        async def entered() -> bool:
            return (await self.usage()).total_analyses >= jobs

        await until(entered, "some jobs are not in the ledger")
        assert (await self.usage()).total_analyses == jobs

    async def speak(self) -> pb.Job:
        """A job that is held up by the voice service."""
        media = await self.upload(speech_wav(1))
        job = pb.Job(
            dialect=pb.DIALECT_NATIVE,
            kind=pb.JOB_KIND_VOICE,
            input=pb.JobInput(media_id=media.media_id),
        )
        return await self.create(job)


@pytest.fixture
async def faulty() -> AsyncIterator[Faulty]:
    """Billing, jobs, two workers and Redis as processes; the voice service is the test's own."""
    speech = Speech(voice_pb2.AnalyzeVoiceResponse(duration_ms=1000))  # type: ignore[abstract]

    async def add(server: grpc.aio.Server) -> None:
        voice_pb2_grpc.add_VoiceServiceServicer_to_server(speech, server)

    async with AsyncExitStack() as stack:
        addresses = {name: "127.0.0.1:1" for name in SERVICES if name not in HERE}
        addresses["voice"] = await stack.enter_async_context(serving(add))
        settings = {
            "AFFECTMESH_ADDRESSES": json.dumps(addresses),
            "AFFECTMESH_JOB_WORKERS": str(len(WORKERS)),
            "AFFECTMESH_FETCH_ALLOW_PRIVATE": "true",
        }
        mesh = await asyncio.to_thread(lambda: stack.enter_context(TemporaryMesh(settings)))
        channels = Channels(mesh.settings)
        stack.push_async_callback(channels.close)
        service = Faulty(mesh.settings, channels, speech, stack, BOOTSTRAP_ORG)
        service.mesh = mesh
        yield service


async def test_a_worker_killed_in_the_middle_of_a_job_loses_nothing(faulty: Faulty) -> None:
    faulty.speech.pause_s = 3600
    job = await faulty.speak()
    async with asyncio.timeout(60):
        await faulty.speech.began.wait()
    faulty.speech.pause_s = 0
    await faulty.kill(*WORKERS)
    done = await faulty.end(job.job_id)
    assert done.state == pb.JOB_STATE_DONE
    assert done.attempts == 2
    assert len(done.representations) == 1
    await faulty.all_done(1)


@pytest.mark.slow
async def test_the_job_service_killed_in_the_middle_of_a_job_loses_nothing(faulty: Faulty) -> None:
    faulty.speech.pause_s = 5
    job = await faulty.speak()
    async with asyncio.timeout(60):
        await faulty.speech.began.wait()
    await faulty.restart("jobs")
    others = [await faulty.create(NO_OP) for _ in range(10)]
    done = await faulty.end(job.job_id)
    assert done.state == pb.JOB_STATE_DONE
    assert done.attempts == 1
    await faulty.all_done(1 + len(others))


@pytest.mark.slow
async def test_redis_killed_and_then_emptied_loses_nothing(faulty: Faulty) -> None:
    faulty.speech.pause_s = 3
    slow = [await faulty.speak() for _ in range(12)]
    async with asyncio.timeout(60):
        await faulty.speech.began.wait()
    await faulty.restart("redis")
    quick = [await faulty.create(NO_OP) for _ in range(20)]
    async with Redis.from_url(f"unix://{faulty.mesh.data_dir / 'redis.sock'}") as redis:
        await redis.flushall()
    await faulty.all_done(len(slow) + len(quick))
    assert {(await faulty.get(job.job_id)).attempts for job in (*slow, *quick)} == {1}


@pytest.mark.slow
async def test_a_job_that_kills_its_workers_ends_in_an_error(faulty: Faulty) -> None:
    faulty.speech.pause_s = 3600
    job = await faulty.speak()
    for attempt in range(1, 4):

        async def taken(attempt: int = attempt) -> bool:
            return len(faulty.speech.asked) == attempt

        await until(taken, "nobody takes the job")
        await asyncio.gather(*map(faulty.restart, WORKERS))
    failed = await faulty.end(job.job_id)
    assert failed.state == pb.JOB_STATE_ERROR
    assert failed.error.code == "WORKER_LOST"
    assert failed.attempts == 3
    assert (await faulty.usage()).total_analyses == 0


@pytest.mark.slow
async def test_workers_killed_at_random_under_two_hundred_jobs(faulty: Faulty) -> None:
    chance = random.Random(11)
    faulty.speech.pause_s = 0.4
    async with receiving() as receiver:
        webhook = pb.Webhook(url=f"{receiver.address}/told", events=["job.completed"])
        made = await faulty.call("CreateWebhook", pb.CreateWebhookRequest(webhook=webhook))
        media = await faulty.upload(speech_wav(1))
        job = pb.Job(
            dialect=pb.DIALECT_NATIVE,
            kind=pb.JOB_KIND_VOICE,
            input=pb.JobInput(media_id=media.media_id),
        )
        jobs = [await faulty.create(job) for _ in range(200)]
        for _ in range(6):
            await asyncio.sleep(chance.uniform(0.2, 1.5))
            await faulty.restart(chance.choice(WORKERS))
        await faulty.all_done(len(jobs))
        told = [json.loads((await receiver.next("/told")).body) for _ in jobs]
        request = pb.ListWebhookDeliveriesRequest(webhook_id=made.webhook_id, page_size=100)
        deliveries: list[pb.WebhookDelivery] = []
        while True:
            page = await faulty.call("ListWebhookDeliveries", request)
            deliveries += page.deliveries
            request.page_token = page.next_page_token
            if not request.page_token:
                break
    assert {one["data"]["job_id"] for one in told} == {job.job_id for job in jobs}
    assert len(deliveries) == len(jobs)
    ended = [await faulty.get(job.job_id) for job in jobs]
    assert {len(job.representations) for job in ended} == {1}
    assert max(job.attempts for job in ended) > 1
