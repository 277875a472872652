"""EmoVision's endpoints, but those of keys and usage, which are among the accounts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from starlette.routing import Route

from affectmesh.v1 import jobs_pb2 as pb
from services.common import errors
from services.common.channels import Channels
from services.common.settings import Settings
from services.gateway.access import Access
from services.gateway.dialects.emovision import reading, views
from services.gateway.dialects.emovision.analysis import Analysis
from services.gateway.dialects.emovision.recordings import Recordings
from services.gateway.dialects.emovision.webhooks import FORM
from services.gateway.dialects.emovision.words import EmoVision, VideoWords
from services.gateway.dialects.verbs import route
from services.gateway.endpoint import Answer, Exchange, Handler
from services.gateway.policy import Policy
from services.gateway.webhooks import Webhooks
from services.jobs.representations import emovision

_MEDIA_TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "emotionml": "application/emotionml+xml",
}


def routes(settings: Settings, channels: Channels, policy: Policy) -> Iterator[Route]:
    """Every route of the dialect."""
    access, recordings = Access(policy), Recordings(channels)
    analysis = Analysis(settings, channels, access, recordings)
    yield route("/api/v1/analyze", VideoWords(), {"POST": analysis})
    kept, webhooks = _Kept(access, recordings), Webhooks(FORM, channels, access)
    for path, handlers in {**kept.handlers(), **webhooks.handlers()}.items():
        yield route(path, EmoVision(), handlers)


class _Kept:
    """The handlers of recordings that are kept."""

    def __init__(self, access: Access, recordings: Recordings) -> None:
        self._access = access
        self._recordings = recordings

    def handlers(self) -> Mapping[str, Mapping[str, Handler]]:
        """By path and method."""
        one = "/api/v1/recordings/{recording_id}"
        return {
            "/api/v1/recordings": {"GET": self._list},
            one: {"GET": self._get, "DELETE": self._delete},
            f"{one}/export": {"GET": self._export},
        }

    async def _list(self, exchange: Exchange) -> Answer:
        await self._access.read(exchange)
        parameters = exchange.connection.query_params
        number, size = reading.page(parameters)
        found = await self._recordings.page(number, size, reading.status(parameters))
        return Answer(
            {
                "recordings": list(map(views.entry, found.jobs)),
                "page": number,
                "per_page": size,
                "total": found.total_size,
                "total_pages": -(-found.total_size // size),
            }
        )

    async def _get(self, exchange: Exchange) -> Answer:
        await self._access.read(exchange)
        job = await self._recordings.get(_recording_id(exchange))
        detail, video = await asyncio.gather(
            self._recordings.detail(job), self._recordings.video(job)
        )
        return Answer(views.recording(job, detail, video))

    async def _delete(self, exchange: Exchange) -> Answer:
        await self._access.change(exchange)
        recording_id = _recording_id(exchange)
        receipt = await self._recordings.delete(recording_id)
        return Answer(views.receipt(recording_id, receipt))

    async def _export(self, exchange: Exchange) -> Answer:
        await self._access.read(exchange)
        form = reading.export_format(exchange.connection.query_params)
        recording_id = _recording_id(exchange)
        job = await self._recordings.get(recording_id)
        if job.state != pb.JOB_STATE_DONE:
            raise errors.Conflict(
                f"The recording is {views.status(job)}; there is no analysis to export.",
                status=views.status(job),
                suggestion="Wait until its status is completed.",
            )
        content = self._recordings.file(job, emovision.EXPORTS[form])
        name = {"content-disposition": f'attachment; filename="{recording_id}.{form}"'}
        return Answer(content, 200, name, _MEDIA_TYPES[form])


def _recording_id(exchange: Exchange) -> str:
    return str(exchange.scope["path_params"]["recording_id"])
