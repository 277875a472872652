"""What a worker does with a job that was handed to it, from taking it to its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from google.protobuf.message import Message
from sqlalchemy import RowMapping, update
from sqlalchemy.ext.asyncio import AsyncConnection

from affectmesh.v1 import jobs_pb2 as pb
from services.common import caller, errors, telemetry, tracing
from services.common.caller import Caller
from services.jobs import leases, messages
from services.jobs.batches import Batches
from services.jobs.endings import Ending, Endings, Hold, held
from services.jobs.execution import Execution, Work
from services.jobs.fetching import Fetching, OverPlan
from services.jobs.leases import Claim, Claims
from services.jobs.media import MediaStore
from services.jobs.messages import Row
from services.jobs.notices import Notices
from services.jobs.representations import RENDERERS, SUMMARIES, File, events
from services.jobs.states import State
from services.jobs.tables import jobs
from services.jobs.threads import in_thread
from services.jobs.usage import NOTHING, Quotes, amount

log = structlog.get_logger()

CANONICAL = "application/x-protobuf"
"""Type of the first form of every result: the message that the analysis gave."""

_AGAIN_AFTER_MS = (2_000, 10_000)
"""Pause after the first and the second try that failed for a passing reason."""


@dataclass
class _Held:
    """A job in hand."""

    task: asyncio.Task[None]
    share: float = 0.0


class Worker:
    """Works on jobs; `slots` says how many it is given at once."""

    def __init__(
        self,
        worker_id: str,
        slots: int,
        batches: Batches,
        endings: Endings,
        execution: Execution,
        fetching: Fetching,
        media: MediaStore,
        quotes: Quotes,
        notices: Notices,
        now_ms: Callable[[], int],
    ) -> None:
        self._id = worker_id
        self._slots = slots
        self._batches = batches
        self._endings = endings
        self._execution = execution
        self._fetching = fetching
        self._media = media
        self._quotes = quotes
        self._notices = notices
        self._now_ms = now_ms
        self._claims = Claims(now_ms)
        self._held: dict[Hold, _Held] = {}

    async def work(self, job_id: str) -> None:
        """Takes a job and sees it to its end; does nothing where it is not to be taken."""
        row = await self._batches.join(self._claims.take, Claim(job_id, self._id))
        if row is None:
            return
        self._notices.changed(job_id)
        hold = Hold(job_id, self._id, row["attempts"])
        task = asyncio.create_task(self._see_through(row, hold))
        self._held[hold] = _Held(task)
        try:
            await asyncio.wait([task])
        finally:
            self._held.pop(hold, None)

    async def beat(self) -> None:
        """Says that this worker lives, and stops work on what is no longer its own."""
        shares = {hold: held.share for hold, held in self._held.items()}
        gone = await self._batches.write(
            lambda connection: leases.beat(
                connection, self._id, self._slots, shares, self._now_ms()
            )
        )
        self._notices.changed(*(hold.job_id for hold in shares))
        for hold in gone:
            if hold in self._held:
                self._held[hold].task.cancel()

    async def give_up(self) -> None:
        """Puts what is in hand back in the queue, as not tried, and signs off."""
        for hold, one in list(self._held.items()):
            one.task.cancel()
            await self._give_back(hold, wait_ms=0, counts=False)
        await self._batches.write(lambda connection: leases.leave(connection, self._id))

    async def _see_through(self, row: RowMapping, hold: Hold) -> None:
        telemetry.request_id.set(hold.job_id)
        caller.current.set(_caller(row))
        kind = events.word(pb.Job(kind=row["kind"]), "kind")
        span = tracing.begin(f"job {kind}", (), hold.job_id)
        code, failed = "CANCELLED", False
        try:
            await self._finish(row, hold, await self._input(row, hold))
            code = "OK"
        except OverPlan as error:
            code = error.problem.code
            await self._end(hold, Ending(State.REJECTED, error.problem))
        except errors.AffectMeshError as error:
            code, failed = error.code, error.http_status >= 500
            await self._fail(hold, error, again=error.retriable)
        except Exception:
            code, failed = errors.Internal.code, True
            log.exception("job failed", job_id=hold.job_id)
            await self._fail(hold, errors.Internal(), again=True)
        finally:
            tracing.finish(span, code, failed)

    async def _finish(self, row: RowMapping, hold: Hold, media: pb.Media | None) -> None:
        work = Work(row["org_id"], row["kind"], json.loads(row["options"]), media)

        def report(share: float) -> None:
            if hold in self._held:
                self._held[hold].share = share

        done = await self._execution.do(work, report)
        used = amount(row["kind"], done.duration_ms)
        charged = NOTHING if row["test_mode"] or used is None else await self._quotes.usd(used)
        forms = await in_thread(_forms, messages.job(row), done.result) if done.result else []
        files = await self._keep(row, forms)
        short = SUMMARIES.get(row["dialect"])
        summary = short(done.result) if short and done.result else None
        ending = Ending(State.DONE, None, used, charged, files, done.result, summary, forms[1:])
        ended = await self._end(hold, ending)
        if ended is None:
            await self._media.delete(row["org_id"], [file.media_id for file in files])

    async def _input(self, row: RowMapping, hold: Hold) -> pb.Media | None:
        if row["kind"] == pb.JOB_KIND_NO_OP:
            return None
        if row["media_id"]:
            return await self._media.get(row["org_id"], row["media_id"])
        fetched = await self._fetching.fetch(row["url"])

        async def note(connection: AsyncConnection) -> bool:
            query = update(jobs).where(*held(hold)).values(media_id=fetched.media_id)
            return (await connection.execute(query)).rowcount > 0

        if not await self._batches.write(note):
            await self._media.delete(row["org_id"], [fetched.media_id])
        return fetched

    async def _keep(self, row: RowMapping, forms: Sequence[File]) -> list[pb.Representation]:
        kept = []
        for form in forms:
            media = await self._media.keep(
                row["org_id"], form.file_name, form.content_type, form.data, row["expires_ms"]
            )
            kept.append(
                pb.Representation(
                    content_type=form.content_type,
                    file_name=form.file_name,
                    media_id=media.media_id,
                )
            )
        return kept

    async def _fail(self, hold: Hold, error: errors.AffectMeshError, again: bool) -> None:
        if again and hold.attempt < leases.MAX_ATTEMPTS:
            log.warning("job tried in vain", job_id=hold.job_id, problem=error.message)
            await self._give_back(hold, _AGAIN_AFTER_MS[hold.attempt - 1], counts=True)
        else:
            await self._end(hold, Ending(State.ERROR, error))

    async def _end(self, hold: Hold, ending: Ending) -> Row | None:
        row = await self._batches.join(self._endings.end_all, (hold, ending))
        self._notices.changed(hold.job_id)
        return row

    async def _give_back(self, hold: Hold, wait_ms: int, counts: bool) -> None:
        await self._batches.write(
            lambda connection: leases.give_back(
                connection, hold, self._now_ms(), wait_ms=wait_ms, counts=counts
            )
        )
        self._notices.changed(hold.job_id)


def _caller(row: RowMapping) -> Caller:
    return Caller(
        row["org_id"],
        row["principal_id"],
        row["plan"],
        row["test_mode"],
        row["consent_reference"],
    )


def _forms(job: pb.Job, result: Message) -> list[File]:
    canonical = File(CANONICAL, "result.binpb", result.SerializeToString())
    render = RENDERERS.get(job.dialect)
    return [canonical, *(render(job, result) if render else ())]
