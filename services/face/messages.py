"""What was found, in the words of the contract."""

from collections.abc import Iterable

from affectmesh.v1 import face_pb2, types_pb2
from services.common import live as common
from services.common import results
from services.face import live, timeline
from services.face.action_units import UNSUPPORTED
from services.face.analyze import Face, Options


def face(number: int, found: Face, options: Options) -> face_pb2.Face:
    """One face with the id ``number``."""
    x, y, width, height = found.box
    quality = found.quality
    message = face_pb2.Face(
        face_id=number,
        bbox=types_pb2.BoundingBox(x=x, y=y, width=width, height=height),
        detection_confidence=round(found.score, 4),
        emotions=results.emotions(found.emotions),
        pose=face_pb2.HeadPose(
            pitch=round(found.pose.pitch, 1),
            yaw=round(found.pose.yaw, 1),
            roll=round(found.pose.roll, 1),
        ),
        gaze=face_pb2.Gaze(pitch=round(found.gaze.pitch, 1), yaw=round(found.gaze.yaw, 1)),
        quality=face_pb2.FaceQuality(
            score=round(quality.score, 4),
            size=round(quality.size, 4),
            sharpness=round(quality.sharpness, 4),
            exposure=round(quality.exposure, 4),
            visibility=round(quality.visibility, 4),
            frontality=round(quality.frontality, 4),
        ),
        warnings=warnings(quality.warnings),
        luminance=round(found.luminance, 2),
        interocular_px=round(found.interocular, 2),
    )
    if found.dimensions is not None:
        valence, arousal = found.dimensions
        message.dimensions.CopyFrom(
            types_pb2.Dimensions(valence=valence, arousal=arousal, derived=True)
        )
    if found.action_units is not None:
        message.action_units.extend(
            face_pb2.ActionUnit(au=unit.au, name=unit.name, intensity=round(unit.intensity, 4))
            for unit in found.action_units
        )
        message.unsupported_action_units.extend(UNSUPPORTED)
    if options.landmarks and found.landmarks is not None:
        message.landmarks.extend(
            face_pb2.Landmark(x=round(x, 2), y=round(y, 2), z=round(z, 2))
            for x, y, z in found.landmarks.tolist()
        )
    return message


def moment(found: timeline.Moment, options: Options) -> face_pb2.FaceFrame:
    """The faces of one analysed frame."""
    return face_pb2.FaceFrame(
        timestamp_ms=found.timestamp_ms,
        faces=[face(number, one, options) for number, one in found.faces],
    )


def summary(found: timeline.Summary) -> face_pb2.FaceVideoSummary:
    """A video in short."""
    return face_pb2.FaceVideoSummary(
        dominant_emotion=found.dominant_emotion,
        average_valence=_rounded(found.average_valence),
        average_arousal=_rounded(found.average_arousal),
        emotion_transitions=found.emotion_transitions,
        face_count=found.face_count,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def warnings(found: Iterable[tuple[str, str]]) -> list[types_pb2.Warning]:
    """Warnings from their codes and messages."""
    return [types_pb2.Warning(code=code, message=message) for code, message in found]


def live_response(
    output: live.Output, config: face_pb2.StreamFaceConfig, options: Options
) -> face_pb2.StreamFaceResponse:
    """One message to a live client."""
    match output:
        case live.Result():
            return face_pb2.StreamFaceResponse(result=_live_result(output, config, options))
        case common.Event():
            return face_pb2.StreamFaceResponse(event=common.event(output))
        case common.Problem():
            return face_pb2.StreamFaceResponse(error=common.problem(output))
        case common.Summary():
            return face_pb2.StreamFaceResponse(summary=common.summary(output))


def _live_result(
    result: live.Result, config: face_pb2.StreamFaceConfig, options: Options
) -> face_pb2.StreamFaceResult:
    faces = [face(number, found, options) for number, found in result.faces]
    for one in faces:
        if not config.output.include_dimensions:
            one.ClearField("dimensions")
        if not config.output.include_raw_scores:
            one.emotions.ClearField("all")
    return face_pb2.StreamFaceResult(
        stream_id=config.stream_id,
        frame_number=result.number,
        timestamp_ms=result.timestamp_ms,
        latency_ms=result.latency_ms,
        change_detected=result.change_detected,
        faces=faces,
    )
