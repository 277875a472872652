"""The face service's contract."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import grpc

from affectmesh.v1 import face_pb2, face_pb2_grpc, types_pb2
from services.common import live as common
from services.common import results
from services.common.errors import InvalidRequest
from services.common.live import Rate
from services.common.media import spool
from services.common.results import Stopwatch
from services.common.server import Service
from services.face import live, messages
from services.face.analyze import MAX_FACES, MODELS, FaceAnalyzer, Options
from services.face.timeline import Following, Moment, VideoAnalysis
from services.face.video import (
    DEFAULT_FRAME_RATE,
    MAX_ANALYSED,
    EncodedVideo,
    Footage,
    Images,
    Span,
)

_Context = grpc.aio.ServicerContext[Any, Any]

IMAGE_LIMIT_BYTES = 32 * 1024 * 1024
VIDEO_LIMIT_BYTES = 512 * 1024 * 1024
HELD_LIMIT_BYTES = 4 * 1024 * 1024 * 1024
"""Of a video that the job service holds or another service sends; what plans allow was checked."""
FRAMES_A_MESSAGE = 8


class FaceServicer(face_pb2_grpc.FaceServiceServicer):
    """Answers for the face analyzer."""

    def __init__(self, analyzer: FaceAnalyzer, service: Service) -> None:
        self._analyzer = analyzer
        self._service = service

    async def AnalyzeFace(
        self, request: face_pb2.AnalyzeFaceRequest, context: _Context
    ) -> face_pb2.AnalyzeFaceResponse:
        watch = Stopwatch()
        options = _image_options(request.options)
        data = await self._service.media.load(
            kind="image",
            url=request.image_url,
            data=request.image,
            media_id=request.media_id,
            limit_bytes=IMAGE_LIMIT_BYTES,
        )
        found = await self._analyzer.image(data, options)
        response = face_pb2.AnalyzeFaceResponse(
            faces=[messages.face(index, face, options) for index, face in enumerate(found.faces)],
            image=face_pb2.ImageSize(width=found.width, height=found.height),
            annotated_image=found.annotated,
            warnings=messages.warnings(found.warnings),
            provenance=map(results.provenance, self._analyzer.provenance(options)),
        )
        response.MergeFrom(face_pb2.AnalyzeFaceResponse(**watch.head()))
        return response

    async def AnalyzeFaceVideo(
        self, request: face_pb2.AnalyzeFaceVideoRequest, context: _Context
    ) -> face_pb2.AnalyzeFaceVideoResponse:
        watch = Stopwatch()
        options = _video_options(request.options)
        async with self._footage(request) as footage:
            following = self._following(request, footage, options)
            async with aclosing(following.moments()) as moments:
                timeline = [messages.moment(one, options) async for one in moments]
        response = self._result(following.result(), options, watch)
        response.timeline.extend(timeline)
        return response

    async def FollowFaces(
        self, request_iterator: AsyncIterator[face_pb2.FollowFacesRequest], context: _Context
    ) -> AsyncIterator[face_pb2.FollowFacesResponse]:
        watch = Stopwatch()
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("message") != "video":
            raise InvalidRequest(
                "The first message must say what to analyse, as video.",
                field="video",
                suggestion="Send video once, then chunks where it names no video.",
            )
        request = first.video
        options = _video_options(request.options)
        async with self._footage(request, _chunks(request_iterator)) as footage:
            following = self._following(request, footage, options)
            async with aclosing(following.moments()) as moments:
                async for frames in _grouped(moments):
                    rendered = [messages.moment(one, options) for one in frames]
                    yield face_pb2.FollowFacesResponse(frames=face_pb2.FaceFrames(frames=rendered))
        result = self._result(following.result(), options, watch)
        yield face_pb2.FollowFacesResponse(result=result)

    async def StreamFace(
        self, request_iterator: AsyncIterator[face_pb2.StreamFaceRequest], context: _Context
    ) -> AsyncIterator[face_pb2.StreamFaceResponse]:
        config: face_pb2.StreamFaceConfig = common.config(
            await anext(request_iterator, None), "frames"
        )
        options = _image_options(config.options)
        session = live.LiveSession(
            self._analyzer,
            options,
            common.rate(config.output, Rate.PER_FRAME),
            config.output.threshold,
        )
        feeding = asyncio.create_task(_feed(session, request_iterator))
        try:
            async for output in session.outputs():
                yield messages.live_response(output, config, options)
            await feeding
        finally:
            feeding.cancel()
            with suppress(asyncio.CancelledError):
                await feeding

    @asynccontextmanager
    async def _footage(
        self,
        request: face_pb2.AnalyzeFaceVideoRequest,
        chunks: AsyncIterator[bytes] | None = None,
    ) -> AsyncIterator[Footage]:
        """The frames of a request. With `chunks` there is no limit to them, and the chunks are the
        video where the request names none."""
        span = _span(request.options)
        sources = (request.video_url, request.video, request.frames, request.media_id)
        given = sum(map(bool, sources))
        most = MAX_ANALYSED if chunks is None else None
        if chunks is not None and not given:
            async with spool(chunks, "video", HELD_LIMIT_BYTES) as file:
                yield EncodedVideo(file, span, most)
            return
        if given != 1:
            raise InvalidRequest(
                "Give exactly one of video_url, video_base64, frames_base64 and media_id.",
                field="video_url",
                suggestion="Send a public URL, one whole video, or a list of frames.",
            )
        if request.frames:
            asked = request.options
            rate = asked.frame_rate_hz if asked.HasField("frame_rate_hz") else DEFAULT_FRAME_RATE
            yield Images(request.frames, span, rate)
            return
        async with self._service.media.open(
            kind="video",
            url=request.video_url,
            data=request.video,
            media_id=request.media_id,
            limit_bytes=HELD_LIMIT_BYTES if request.media_id else VIDEO_LIMIT_BYTES,
        ) as file:
            request.ClearField("video")
            yield EncodedVideo(file, span, most)

    def _following(
        self, request: face_pb2.AnalyzeFaceVideoRequest, footage: Footage, options: Options
    ) -> Following:
        asked = request.options
        track_faces = asked.track_faces if asked.HasField("track_faces") else True
        return Following(self._analyzer, footage, options, track_faces)

    def _result(
        self, found: VideoAnalysis, options: Options, watch: Stopwatch
    ) -> face_pb2.AnalyzeFaceVideoResponse:
        """Everything but the timeline."""
        return face_pb2.AnalyzeFaceVideoResponse(
            **watch.head(),
            duration_ms=found.duration_ms,
            frame_count=found.frame_count,
            analyzed_frames=found.analyzed_frames,
            summary=messages.summary(found.summary),
            warnings=messages.warnings(found.warnings),
            provenance=map(results.provenance, self._analyzer.provenance(options)),
        )


async def register(server: grpc.aio.Server, service: Service) -> str:
    """Adds the face service to a server, its models loaded."""
    await service.inference.load(*MODELS)
    analyzer = FaceAnalyzer(service.inference)
    await analyzer.warm_up()
    face_pb2_grpc.add_FaceServiceServicer_to_server(FaceServicer(analyzer, service), server)
    return str(face_pb2.DESCRIPTOR.services_by_name["FaceService"].full_name)


def _image_options(asked: face_pb2.FaceOptions) -> Options:
    return Options(
        action_units=asked.return_action_units if asked.HasField("return_action_units") else True,
        dimensions=asked.return_dimensions if asked.HasField("return_dimensions") else True,
        landmarks=asked.return_landmarks,
        min_face_size=asked.min_face_size if asked.HasField("min_face_size") else 24,
        max_faces=asked.max_faces if asked.HasField("max_faces") else MAX_FACES,
        annotated=asked.return_annotated,
    )


def _video_options(asked: face_pb2.FaceVideoOptions) -> Options:
    return Options(
        action_units=asked.return_action_units,
        dimensions=asked.return_dimensions if asked.HasField("return_dimensions") else True,
        landmarks=asked.return_landmarks,
        min_face_size=asked.min_face_size if asked.HasField("min_face_size") else 24,
        max_faces=asked.max_faces if asked.HasField("max_faces") else MAX_FACES,
    )


def _span(asked: face_pb2.FaceVideoOptions) -> Span:
    return Span(
        sample_rate=asked.sample_rate if asked.HasField("sample_rate") else 5,
        start_ms=asked.start_time_ms,
        end_ms=asked.end_time_ms if asked.HasField("end_time_ms") else None,
    )


async def _chunks(requests: AsyncIterator[face_pb2.FollowFacesRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.WhichOneof("message") != "chunk":
            raise InvalidRequest(
                "A message after the first is no chunk.",
                field="video",
                suggestion="Send video once, then chunks only.",
            )
        yield request.chunk


async def _grouped(moments: AsyncIterator[Moment]) -> AsyncIterator[list[Moment]]:
    """Moments in small lists, so that a message is worth its cost."""
    group: list[Moment] = []
    async for moment in moments:
        group.append(moment)
        if len(group) == FRAMES_A_MESSAGE:
            yield group
            group = []
    if group:
        yield group


async def _feed(
    session: live.LiveSession, requests: AsyncIterator[face_pb2.StreamFaceRequest]
) -> None:
    """Hands a client's messages to the session until it closes or goes."""
    try:
        async for request in requests:
            kind = request.WhichOneof("message")
            if kind == "frame":
                frame = request.frame
                session.offer(live.LiveFrame(frame.frame_number, frame.timestamp_ms, frame.image))
            elif kind == "action" and request.action == types_pb2.STREAM_ACTION_PAUSE:
                session.pause()
            elif kind == "action" and request.action == types_pb2.STREAM_ACTION_RESUME:
                session.resume()
            elif kind == "action" and request.action == types_pb2.STREAM_ACTION_CLOSE:
                return
            else:
                raise InvalidRequest(
                    "A message of the stream is neither a frame nor an action.",
                    field=kind or "message",
                    suggestion="After the config send frames and actions only.",
                )
    finally:
        session.close()
