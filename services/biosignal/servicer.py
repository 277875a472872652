"""The biosignal service's contract."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

import grpc

from affectmesh.v1 import biosignal_pb2, biosignal_pb2_grpc, types_pb2
from services.biosignal import live, messages
from services.biosignal.analyze import Analysis, Options, analyze, rest_of
from services.biosignal.files.read import read
from services.biosignal.signals import Recording
from services.common import errors
from services.common import live as common
from services.common.media import MediaLoader
from services.common.results import Stopwatch
from services.common.server import Service

RECORDING_LIMIT_BYTES = 64 * 1024 * 1024
IDLE_S = 300.0

_Context = grpc.aio.ServicerContext[Any, Any]


class BiosignalServicer(biosignal_pb2_grpc.BiosignalServiceServicer):
    """Answers for the biosignal analysis."""

    def __init__(
        self, media: MediaLoader, idle_s: float = IDLE_S, longest_s: float = live.LONGEST_S
    ) -> None:
        """A stream ends after idle_s without a message, and once it is longest_s old."""
        self._media = media
        self._idle_s = idle_s
        self._longest_s = longest_s

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
        config = await self._config(request_iterator)
        stream_id = config.stream_id or uuid4().hex
        options = messages.options(config.options)
        rest = None
        if config.HasField("baseline"):
            rest = await asyncio.to_thread(rest_of, messages.recording(config.baseline))
        session = live.LiveSession(
            messages.recording(config.signals), options, rest, self._longest_s
        )
        feeding = asyncio.create_task(self._feed(session, request_iterator))
        try:
            async for output in session.outputs():
                yield messages.live_response(output, stream_id, options)
            await feeding
        finally:
            feeding.cancel()
            with suppress(asyncio.CancelledError):
                await feeding

    async def _config(
        self, requests: AsyncIterator[biosignal_pb2.StreamBiosignalRequest]
    ) -> biosignal_pb2.StreamBiosignalConfig:
        try:
            async with asyncio.timeout(self._idle_s):
                first = await anext(requests, None)
        except TimeoutError:
            raise errors.DeadlineExceeded(
                f"No config came for {self._idle_s:g} s.",
                suggestion="Send config as soon as the stream is open.",
            ) from None
        config: biosignal_pb2.StreamBiosignalConfig = common.config(first, "samples")
        return config

    async def _feed(
        self,
        session: live.LiveSession,
        requests: AsyncIterator[biosignal_pb2.StreamBiosignalRequest],
    ) -> None:
        """Hands a client's messages to the session until it closes, goes, or reaches a limit."""
        try:
            async with asyncio.timeout(self._longest_s):
                await self._hand_over(session, requests)
        except TimeoutError:
            session.expire(f"The stream is {self._longest_s:g} s old, as old as one may be.")
        except BaseException:
            session.fail()
            raise

    async def _hand_over(
        self,
        session: live.LiveSession,
        requests: AsyncIterator[biosignal_pb2.StreamBiosignalRequest],
    ) -> None:
        while not session.closed:
            try:
                async with asyncio.timeout(self._idle_s):
                    request = await anext(requests, None)
            except TimeoutError:
                session.expire(f"No message came for {self._idle_s:g} s.")
                return
            if request is None:
                session.close()
            else:
                _obey(request, session)

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


def _obey(request: biosignal_pb2.StreamBiosignalRequest, session: live.LiveSession) -> None:
    """Does what one message asks."""
    kind = request.WhichOneof("message")
    if kind == "samples":
        session.offer(messages.recording(request.samples))
    elif kind == "action" and request.action == types_pb2.STREAM_ACTION_PAUSE:
        session.pause()
    elif kind == "action" and request.action == types_pb2.STREAM_ACTION_RESUME:
        session.resume()
    elif kind == "action" and request.action == types_pb2.STREAM_ACTION_CLOSE:
        session.close()
    else:
        raise errors.InvalidRequest(
            "A message of the stream is neither samples nor an action.",
            field=kind or "message",
            suggestion="After the config send samples and actions only.",
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
