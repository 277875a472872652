"""One job at the service that can do it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from affectmesh.v1 import (
    face_pb2,
    face_pb2_grpc,
    fusion_pb2,
    fusion_pb2_grpc,
    voice_pb2,
    voice_pb2_grpc,
)
from affectmesh.v1 import jobs_pb2 as pb
from services.common import errors
from services.common.channels import Channels, call, metadata
from services.jobs.media import MediaStore

Report = Callable[[float], None]
"""Told the share done, in [0, 1]."""


@dataclass(frozen=True)
class Work:
    """What a job is to do: `media` is its input, None for a job without one."""

    org_id: int
    kind: int
    options: Mapping[str, Any]
    media: pb.Media | None


@dataclass(frozen=True)
class Done:
    """What came of it: the message, and the length of what was analysed, where it has one."""

    result: Message | None
    duration_ms: int | None = None


def options(kind: int, given: Mapping[str, Any]) -> Any:
    """The options of a kind of job, in a message of its service. Raises InvalidRequest."""
    make, names = _OPTIONS[kind]
    try:
        if unknown := sorted(given.keys() - names):
            raise ParseError(f"There is no option {', '.join(unknown)[:200]}.")
        return ParseDict(dict(given), make())
    except ParseError as error:
        raise errors.InvalidRequest(
            "The options do not fit this kind of job.",
            field="options",
            reason=str(error),
            suggestion=f"Its options are: {', '.join(sorted(names)) or 'none'}.",
        ) from None


class Execution:
    """Does jobs, in the name of the current caller."""

    def __init__(self, channels: Channels, media: MediaStore, timeout_s: float) -> None:
        self._fusion = channels.stub("fusion", fusion_pb2_grpc.FusionServiceStub)
        self._voice = channels.stub("voice", voice_pb2_grpc.VoiceServiceStub)
        self._face = channels.stub("face", face_pb2_grpc.FaceServiceStub)
        self._media = media
        self._timeout_s = timeout_s
        self._ways: Mapping[int, Callable[[Work, Report], Awaitable[Done]]] = {
            pb.JOB_KIND_RECORDING_BASIC: self._recording,
            pb.JOB_KIND_RECORDING_ADVANCED: self._recording,
            pb.JOB_KIND_VOICE: self._speech,
            pb.JOB_KIND_FACE_MULTI: self._faces,
            pb.JOB_KIND_FACE_SINGLE: self._faces,
            pb.JOB_KIND_NO_OP: self._nothing,
        }

    async def do(self, work: Work, report: Report) -> Done:
        """Does a job. Raises what its service raises."""
        return await self._ways[work.kind](work, report)

    async def _recording(self, work: Work, report: Report) -> Done:
        request = options(work.kind, work.options)
        request.media_id = _given(work).media_id
        advanced = work.kind == pb.JOB_KIND_RECORDING_ADVANCED
        request.depth = "advanced" if advanced else "basic"
        try:
            stream = self._fusion.AnalyzeRecording(
                request, timeout=self._timeout_s, metadata=metadata()
            )
            async for message in stream:
                if message.WhichOneof("message") == "result":
                    return Done(message.result, message.result.duration_ms)
                report(message.progress)
        except grpc.aio.AioRpcError as error:
            raise errors.from_rpc(error, "fusion") from error
        raise errors.Unavailable("The fusion service ended without a result.")

    async def _speech(self, work: Work, _report: Report) -> Done:
        chosen = options(work.kind, work.options)
        request = voice_pb2.AnalyzeVoiceRequest(media_id=_given(work).media_id, options=chosen)
        result = await call("voice", self._voice.AnalyzeVoice, request, self._timeout_s)
        return Done(result, result.duration_ms)

    async def _faces(self, work: Work, report: Report) -> Done:
        chosen = options(work.kind, work.options)
        if work.kind == pb.JOB_KIND_FACE_SINGLE:
            chosen.max_faces = 1
        media = _given(work)
        request = face_pb2.AnalyzeFaceVideoRequest(options=chosen)
        if not media.content_type.startswith("image/"):
            request.media_id = media.media_id
            return await self._follow(request, media, report)
        pieces = [piece async for piece in self._media.read(work.org_id, media.media_id)]
        request.frames.append(b"".join(pieces))
        result = await call("face", self._face.AnalyzeFaceVideo, request, self._timeout_s)
        return Done(result, result.duration_ms)

    async def _follow(
        self, request: face_pb2.AnalyzeFaceVideoRequest, media: pb.Media, report: Report
    ) -> Done:
        frames: list[face_pb2.FaceFrame] = []
        asked = face_pb2.FollowFacesRequest(video=request)
        try:
            stream = self._face.FollowFaces(
                iter((asked,)), timeout=self._timeout_s, metadata=metadata()
            )
            async for message in stream:
                if message.WhichOneof("message") == "result":
                    message.result.timeline.extend(frames)
                    return Done(message.result, message.result.duration_ms)
                frames.extend(message.frames.frames)
                report(min(1.0, frames[-1].timestamp_ms / max(1, media.duration_ms)))
        except grpc.aio.AioRpcError as error:
            raise errors.from_rpc(error, "face") from error
        raise errors.Unavailable("The face service ended without a result.")

    async def _nothing(self, _work: Work, _report: Report) -> Done:
        return Done(None)


def _given(work: Work) -> pb.Media:
    if work.media is None:
        raise errors.InvalidRequest("The job has no input.", suggestion="Give it one.")
    return work.media


def _all_of(make: Callable[[], Message]) -> tuple[Callable[[], Message], frozenset[str]]:
    return make, frozenset(field.name for field in make().DESCRIPTOR.fields)


_OF_RECORDINGS = (
    fusion_pb2.AnalyzeRecordingRequest,
    frozenset({"language", "biosignal", "biosignal_start_ms"}),
)

_OPTIONS: Mapping[int, tuple[Callable[[], Message], frozenset[str]]] = {
    pb.JOB_KIND_RECORDING_BASIC: _OF_RECORDINGS,
    pb.JOB_KIND_RECORDING_ADVANCED: _OF_RECORDINGS,
    pb.JOB_KIND_VOICE: _all_of(voice_pb2.VoiceOptions),
    pb.JOB_KIND_FACE_MULTI: _all_of(face_pb2.FaceVideoOptions),
    pb.JOB_KIND_FACE_SINGLE: _all_of(face_pb2.FaceVideoOptions),
    pb.JOB_KIND_NO_OP: (pb.JobInput, frozenset()),
}
"""Of each kind, the message that takes its options, and their names."""
