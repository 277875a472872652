"""WIA Emotion AI v1: every method of the contract that has an HTTP annotation.

Routes, request and response are the contract's own; this file adds only the two base paths and the
form of errors.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import grpc
from google.api import annotations_pb2
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from starlette.routing import Route

from affectmesh.v1 import biosignal_pb2, face_pb2, fusion_pb2, text_pb2, voice_pb2
from services.common import errors
from services.common.channels import Channels, call
from services.common.settings import Settings
from services.common.transcoding import parser, renderer
from services.gateway.access import Access
from services.gateway.endpoint import Answer, Dialect, Endpoint, Exchange
from services.gateway.policy import Policy

BASE_PATHS = ("", "/emotion-ai")
"""What may stand before /v1."""

SERVICES: Mapping[str, FileDescriptor] = {
    "face": face_pb2.DESCRIPTOR,
    "voice": voice_pb2.DESCRIPTOR,
    "text": text_pb2.DESCRIPTOR,
    "biosignal": biosignal_pb2.DESCRIPTOR,
    "fusion": fusion_pb2.DESCRIPTOR,
}
"""Which service serves which part of the contract."""


LONG = ("/v1/analyze/face/video", "/v1/analyze/voice", "/v1/analyze/multimodal")
"""Analyses that may take so long that they end when the client goes away; of the others watching
for that would cost more than it saves."""


class Wia(Dialect):
    """The words of WIA Emotion AI v1."""

    def error(self, error: errors.AffectMeshError, request_id: str) -> Mapping[str, Any]:
        """The error envelope of section 5.8."""
        details: dict[str, Any] = dict(error.details)
        details.setdefault("reason", error.message)
        if "retry_after" in details:
            details["retry_after"] = int(details["retry_after"])
        return {
            "error": {"code": error.code, "message": error.message, "details": details},
            "request_id": request_id,
        }


def routes(settings: Settings, channels: Channels, policy: Policy) -> Iterator[Route]:
    """Every route of the dialect."""
    for service, file in SERVICES.items():
        for method in _methods(file):
            path = method.GetOptions().Extensions[annotations_pb2.http].post
            if path:
                handler = _Unary(service, method, path, settings, channels, policy)
                for base in BASE_PATHS:
                    endpoint = Endpoint(path, Wia(), handler)
                    yield Route(base + path, endpoint, methods=["POST"])


def _methods(file: FileDescriptor) -> Iterator[MethodDescriptor]:
    for service in file.services_by_name.values():
        yield from service.methods


class _Unary:
    """Serves one unary method."""

    def __init__(
        self,
        service: str,
        method: MethodDescriptor,
        path: str,
        settings: Settings,
        channels: Channels,
        policy: Policy,
    ) -> None:
        request = GetMessageClass(method.input_type)
        response = GetMessageClass(method.output_type)

        def stub(channel: grpc.aio.Channel) -> Any:
            return channel.unary_unary(
                f"/{method.containing_service.full_name}/{method.name}",
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            )

        self._service = service
        self._call = channels.stub(service, stub)
        self._parse = parser(method.input_type)
        self._render = renderer(method.output_type)
        self._item = path.removeprefix("/v1/").replace("/", ".")
        self._long = path in LONG
        self._limit_bytes = settings.max_body_mb * 1024 * 1024
        self._timeout_s = settings.request_timeout_s
        self._policy = policy
        self._access = Access(policy)

    async def __call__(self, exchange: Exchange) -> Answer:
        admission = await self._access.analyse(exchange)
        request = self._parse(await exchange.json(self._limit_bytes))
        asking = call(self._service, self._call, request, self._timeout_s)
        response = await (exchange.unless_gone(asking) if self._long else asking)
        await self._policy.record(admission, exchange.request_id, self._item)
        return Answer(self._render(response))
