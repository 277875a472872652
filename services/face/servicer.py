"""The face service's contract."""

from collections.abc import Iterable

import grpc

from affectmesh.v1 import face_pb2, face_pb2_grpc, types_pb2
from services.common import results
from services.common.errors import InvalidRequest
from services.common.results import Stopwatch
from services.common.server import Service
from services.face import timeline
from services.face.action_units import UNSUPPORTED
from services.face.analyze import Face, FaceAnalyzer, Options
from services.face.video import DEFAULT_FRAME_RATE, EncodedVideo, Footage, Images, Span

_Context = grpc.aio.ServicerContext[object, object]

IMAGE_LIMIT_BYTES = 32 * 1024 * 1024
VIDEO_LIMIT_BYTES = 512 * 1024 * 1024


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
            limit_bytes=IMAGE_LIMIT_BYTES,
        )
        found = await self._analyzer.image(data, options)
        response = face_pb2.AnalyzeFaceResponse(
            faces=[_face(index, face, options) for index, face in enumerate(found.faces)],
            image=face_pb2.ImageSize(width=found.width, height=found.height),
            annotated_image=found.annotated,
            warnings=_warnings(found.warnings),
            provenance=map(results.provenance, self._analyzer.provenance(options)),
        )
        response.MergeFrom(face_pb2.AnalyzeFaceResponse(**watch.head()))
        return response

    async def AnalyzeFaceVideo(
        self, request: face_pb2.AnalyzeFaceVideoRequest, context: _Context
    ) -> face_pb2.AnalyzeFaceVideoResponse:
        watch = Stopwatch()
        asked = request.options
        options = _video_options(asked)
        track_faces = asked.track_faces if asked.HasField("track_faces") else True
        footage = await self._footage(request)
        found = await timeline.follow(self._analyzer, footage, options, track_faces)
        response = face_pb2.AnalyzeFaceVideoResponse(
            duration_ms=found.duration_ms,
            frame_count=found.frame_count,
            analyzed_frames=len(found.moments),
            timeline=[
                face_pb2.FaceFrame(
                    timestamp_ms=moment.timestamp_ms,
                    faces=[_face(number, face, options) for number, face in moment.faces],
                )
                for moment in found.moments
            ],
            summary=_summary(found.summary),
            warnings=_warnings(found.warnings),
            provenance=map(results.provenance, self._analyzer.provenance(options)),
        )
        response.MergeFrom(face_pb2.AnalyzeFaceVideoResponse(**watch.head()))
        return response

    async def _footage(self, request: face_pb2.AnalyzeFaceVideoRequest) -> Footage:
        span = _span(request.options)
        given = [bool(request.video_url), bool(request.video), bool(request.frames)]
        if sum(given) != 1:
            raise InvalidRequest(
                "Give exactly one of video_url, video_base64 and frames_base64.",
                field="video_url",
                suggestion="Send a public URL, one whole video, or a list of frames.",
            )
        if request.frames:
            asked = request.options
            rate = asked.frame_rate_hz if asked.HasField("frame_rate_hz") else DEFAULT_FRAME_RATE
            return Images(request.frames, span, rate)
        data = await self._service.media.load(
            kind="video",
            url=request.video_url,
            data=request.video,
            limit_bytes=VIDEO_LIMIT_BYTES,
        )
        return EncodedVideo(data, span)


async def register(server: grpc.aio.Server, service: Service) -> str:
    """Adds the face service to a server, its models loaded."""
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
        max_faces=asked.max_faces if asked.HasField("max_faces") else 50,
        annotated=asked.return_annotated,
    )


def _video_options(asked: face_pb2.FaceVideoOptions) -> Options:
    return Options(
        action_units=asked.return_action_units,
        dimensions=asked.return_dimensions if asked.HasField("return_dimensions") else True,
        landmarks=asked.return_landmarks,
        min_face_size=asked.min_face_size if asked.HasField("min_face_size") else 24,
        max_faces=asked.max_faces if asked.HasField("max_faces") else 50,
    )


def _span(asked: face_pb2.FaceVideoOptions) -> Span:
    return Span(
        sample_rate=asked.sample_rate if asked.HasField("sample_rate") else 5,
        start_ms=asked.start_time_ms,
        end_ms=asked.end_time_ms if asked.HasField("end_time_ms") else None,
    )


def _face(number: int, face: Face, options: Options) -> face_pb2.Face:
    x, y, width, height = face.box
    quality = face.quality
    message = face_pb2.Face(
        face_id=number,
        bbox=types_pb2.BoundingBox(x=x, y=y, width=width, height=height),
        detection_confidence=round(face.score, 4),
        emotions=results.emotions(face.emotions),
        pose=face_pb2.HeadPose(
            pitch=round(face.pose.pitch, 1),
            yaw=round(face.pose.yaw, 1),
            roll=round(face.pose.roll, 1),
        ),
        gaze=face_pb2.Gaze(pitch=round(face.gaze.pitch, 1), yaw=round(face.gaze.yaw, 1)),
        quality=face_pb2.FaceQuality(
            score=round(quality.score, 4),
            size=round(quality.size, 4),
            sharpness=round(quality.sharpness, 4),
            exposure=round(quality.exposure, 4),
            visibility=round(quality.visibility, 4),
            frontality=round(quality.frontality, 4),
        ),
        warnings=_warnings(quality.warnings),
    )
    if face.dimensions is not None:
        valence, arousal = face.dimensions
        message.dimensions.CopyFrom(
            types_pb2.Dimensions(valence=valence, arousal=arousal, derived=True)
        )
    if face.action_units is not None:
        message.action_units.extend(
            face_pb2.ActionUnit(au=unit.au, name=unit.name, intensity=round(unit.intensity, 4))
            for unit in face.action_units
        )
        message.unsupported_action_units.extend(UNSUPPORTED)
    if options.landmarks and face.landmarks is not None:
        message.landmarks.extend(
            face_pb2.Landmark(x=round(x, 2), y=round(y, 2), z=round(z, 2))
            for x, y, z in face.landmarks.tolist()
        )
    return message


def _summary(found: timeline.Summary) -> face_pb2.FaceVideoSummary:
    return face_pb2.FaceVideoSummary(
        dominant_emotion=found.dominant_emotion,
        average_valence=_rounded(found.average_valence),
        average_arousal=_rounded(found.average_arousal),
        emotion_transitions=found.emotion_transitions,
        face_count=found.face_count,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _warnings(found: Iterable[tuple[str, str]]) -> list[types_pb2.Warning]:
    return [types_pb2.Warning(code=code, message=message) for code, message in found]
