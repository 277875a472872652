"""POST /api/v1/analyze: a video in, its analysis out, at once or later."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.struct_pb2 import Struct

from affectmesh.v1 import jobs_pb2 as pb
from services.billing.plans import PLANS
from services.common import errors
from services.common.channels import Channels
from services.common.settings import Settings
from services.gateway import uploads
from services.gateway.access import Access
from services.gateway.dialects.emovision import prefer, reading, views
from services.gateway.dialects.emovision.prefer import Preference
from services.gateway.dialects.emovision.recordings import Recordings
from services.gateway.endpoint import Answer, Exchange
from services.jobs.representations import emovision

_FORMATS = frozenset({"video/mp4", "video/quicktime", "video/x-msvideo", "video/webm"})
_FIELDS = ("metadata", "depth", "language")
_POLL_S = "2"


class Analysis:
    """The handler."""

    def __init__(
        self, settings: Settings, channels: Channels, access: Access, recordings: Recordings
    ) -> None:
        self._channels = channels
        self._access = access
        self._recordings = recordings
        self._longest_s = settings.request_timeout_s

    async def __call__(self, exchange: Exchange) -> Answer:
        """The analysis where it is done in time, otherwise where it will be found."""
        admission = await self._access.analyse(exchange)
        preference = prefer.read(exchange.scope["headers"], self._longest_s)
        _check_form(exchange)
        plan = PLANS.get(admission.principal.plan, PLANS["free"])
        upload = await uploads.receive(exchange, self._channels, files=("video",), plan=plan)
        try:
            video = _video(upload.files)
            asked = _job(video, upload.fields)
        except errors.AffectMeshError:
            for media in upload.files.values():
                await self._recordings.discard(media.media_id)
            raise
        job = await self._recordings.create(exchange, asked)
        exchange.headers["x-quoted-cost-usd"] = job.quoted_usd
        job = await self._recordings.ended(job, self._wait_s(preference), exchange)
        return _answer(job, preference)

    def _wait_s(self, preference: Preference) -> float:
        if preference.wait_s is not None:
            return preference.wait_s
        return 0 if preference.respond_async else self._longest_s


def _answer(job: pb.Job, preference: Preference) -> Answer:
    """202 only for those who know RFC 7240; the document has no such code."""
    status = views.status(job)
    recording_id = emovision.recording_id(job.job_id)
    if status == "failed":
        raise views.failure(job)
    headers = {"location": f"/api/v1/recordings/{recording_id}"}
    if preference.applied:
        headers |= {"preference-applied": preference.applied, "vary": "prefer"}
    content = views.analysis(job)
    if status == "completed":
        return Answer(content, 200, headers)
    headers["retry-after"] = _POLL_S
    return Answer(content, 202 if preference.applied else 200, headers)


def _check_form(exchange: Exchange) -> None:
    try:
        uploads.boundary(exchange.connection.headers.get("content-type", ""))
    except errors.UnsupportedMedia as error:
        raise errors.InvalidRequest(error.message, **error.details) from None


def _video(files: Mapping[str, pb.Media]) -> pb.Media:
    if "video" not in files:
        raise errors.InvalidRequest(
            "There is no video.",
            field="video",
            suggestion="Send it as the file field video of a multipart form.",
        )
    video = files["video"]
    if video.content_type not in _FORMATS:
        raise errors.UnsupportedMedia(
            f"The file is {video.content_type}, not a video of a supported format.",
            found=video.content_type,
            suggestion="Send MP4, AVI, MOV or WebM.",
        )
    return video


def _job(video: pb.Media, fields: Mapping[str, str]) -> pb.Job:
    for name in fields:
        if name not in _FIELDS:
            raise errors.InvalidRequest(
                f"There is no field {name!r}.",
                field=name,
                suggestion=f"Send video, and of {', '.join(_FIELDS)} what you need.",
            )
    options = Struct()
    if language := reading.language(fields):
        options.update({"language": language})
    return pb.Job(
        kind=views.DEPTHS[reading.depth(fields)],
        input=pb.JobInput(media_id=video.media_id),
        options=options,
        metadata=reading.metadata(fields.get("metadata", "")),
    )
