"""Media over REST: upload, describe, download, delete."""

from __future__ import annotations

from collections.abc import Iterator

from starlette.routing import Route

from affectmesh.v1 import jobs_pb2 as pb
from affectmesh.v1 import jobs_pb2_grpc
from services.billing.plans import PLANS, Plan
from services.common import errors, transcoding
from services.common.channels import Channels, call
from services.common.settings import Settings
from services.gateway import downloads, reading, uploads
from services.gateway.access import Access
from services.gateway.dialects.wia import BASE_PATHS, Wia
from services.gateway.endpoint import Answer, Endpoint, Exchange, Handler
from services.gateway.policy import Policy

_TIMEOUT_S = 10.0
_DELETE_TIMEOUT_S = 60.0

_render = transcoding.renderer(pb.Media.DESCRIPTOR)
_render_receipt = transcoding.renderer(pb.DeletionReceipt.DESCRIPTOR)


def routes(_settings: Settings, channels: Channels, policy: Policy) -> Iterator[Route]:
    """Every route of this file, under each base path."""
    media = _Media(channels, policy)
    for base in BASE_PATHS:
        for path, method, handler in media.handlers():
            yield Route(base + path, Endpoint(path, Wia(), handler), methods=[method])


class _Media:
    """The handlers."""

    def __init__(self, channels: Channels, policy: Policy) -> None:
        self._channels = channels
        self._access = Access(policy)
        self._jobs = channels.stub("jobs", jobs_pb2_grpc.JobServiceStub)

    def handlers(self) -> Iterator[tuple[str, str, Handler]]:
        """Path, method and handler of each."""
        yield "/v1/media", "POST", self._upload
        yield "/v1/media/{media_id}", "GET", self._get
        yield "/v1/media/{media_id}", "DELETE", self._delete
        yield "/v1/media/{media_id}/content", "GET", self._content

    async def _upload(self, exchange: Exchange) -> Answer:
        admission = await self._access.analyse(exchange)
        plan = PLANS.get(admission.principal.plan, PLANS["free"])
        content_type = exchange.connection.headers.get("content-type", "")
        if content_type.lower().startswith("multipart/"):
            media = await self._form(exchange, plan)
        else:
            media = await uploads.store(
                self._channels,
                reading.parameter(exchange, "file_name"),
                content_type,
                uploads.chunks(exchange, plan),
                sha256=reading.parameter(exchange, "sha256"),
            )
        return Answer(_render(media), 201, {"location": f"/v1/media/{media.media_id}"})

    async def _form(self, exchange: Exchange, plan: Plan) -> pb.Media:
        form = await uploads.receive(exchange, self._channels, files=("file",), plan=plan)
        if form.fields or not form.files:
            raise errors.InvalidRequest(
                "The form must hold one file, and nothing else.",
                field="file",
                suggestion="Send the file as the field `file`.",
            )
        return form.files["file"]

    async def _get(self, exchange: Exchange) -> Answer:
        await self._access.read(exchange)
        request = pb.GetMediaRequest(media_id=_media_id(exchange))
        return Answer(_render(await call("jobs", self._jobs.GetMedia, request, _TIMEOUT_S)))

    async def _content(self, exchange: Exchange) -> Answer:
        await self._access.read(exchange)
        return await downloads.content(exchange, self._channels, _media_id(exchange), Wia())

    async def _delete(self, exchange: Exchange) -> Answer:
        await self._access.change(exchange)
        request = pb.DeleteMediaRequest(media_id=_media_id(exchange))
        receipt = await call("jobs", self._jobs.DeleteMedia, request, _DELETE_TIMEOUT_S)
        return Answer(_render_receipt(receipt))


def _media_id(exchange: Exchange) -> str:
    return str(exchange.scope["path_params"]["media_id"])
