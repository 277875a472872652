"""The biosignal service's contract."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc

from affectmesh.v1 import biosignal_pb2, biosignal_pb2_grpc
from services.biosignal import messages
from services.biosignal.analyze import Analysis, Options, analyze
from services.biosignal.files.read import read
from services.biosignal.signals import Recording
from services.common import errors
from services.common.media import MediaLoader
from services.common.results import Stopwatch
from services.common.server import Service

RECORDING_LIMIT_BYTES = 64 * 1024 * 1024

_Context = grpc.aio.ServicerContext[Any, Any]


class BiosignalServicer(biosignal_pb2_grpc.BiosignalServiceServicer):
    """Answers for the biosignal analysis."""

    def __init__(self, media: MediaLoader) -> None:
        self._media = media

    async def AnalyzeBiosignal(
        self, request: biosignal_pb2.AnalyzeBiosignalRequest, context: _Context
    ) -> biosignal_pb2.AnalyzeBiosignalResponse:
        watch = Stopwatch()
        options = messages.options(request.options)
        baseline = messages.recording(request.baseline) if request.HasField("baseline") else None
        declared_ms = request.duration_ms if request.HasField("duration_ms") else None
        if request.recording_url or request.recording or request.recording_format:
            data = await self._file(request)
            found = await asyncio.to_thread(
                _analyze_file, data, request.recording_format, options, baseline, declared_ms
            )
        else:
            signals = messages.recording(request.signals)
            found = await asyncio.to_thread(analyze, signals, options, baseline, declared_ms)
        response = messages.response(found, options)
        response.MergeFrom(biosignal_pb2.AnalyzeBiosignalResponse(**watch.head()))
        return response

    async def StreamBiosignal(
        self,
        request_iterator: AsyncIterator[biosignal_pb2.StreamBiosignalRequest],
        context: _Context,
    ) -> AsyncIterator[biosignal_pb2.StreamBiosignalResponse]:
        raise errors.NotBuilt(
            "Live biosignals are not available in this version.",
            reason="StreamBiosignal is not built",
            suggestion="Send recordings of a minute or more to AnalyzeBiosignal.",
        )
        yield biosignal_pb2.StreamBiosignalResponse()

    async def _file(self, request: biosignal_pb2.AnalyzeBiosignalRequest) -> bytes:
        if request.HasField("signals"):
            raise errors.InvalidRequest(
                "Give exactly one of signals, recording_url and recording_base64.",
                field="signals",
                suggestion="Send the samples as signals, or the file they are in, not both.",
            )
        return await self._media.load(
            kind="recording",
            url=request.recording_url,
            data=request.recording,
            limit_bytes=RECORDING_LIMIT_BYTES,
        )


def _analyze_file(
    data: bytes, kind: str, options: Options, baseline: Recording | None, declared_ms: int | None
) -> Analysis:
    signals, left_out = read(data, kind)
    found = analyze(signals, options, baseline, declared_ms, where="recording")
    return replace(found, remarks=[*left_out, *found.remarks])


async def register(server: grpc.aio.Server, service: Service) -> str:
    """Adds the biosignal service to a server."""
    servicer = BiosignalServicer(service.media)
    biosignal_pb2_grpc.add_BiosignalServiceServicer_to_server(servicer, server)
    return str(biosignal_pb2.DESCRIPTOR.services_by_name["BiosignalService"].full_name)
