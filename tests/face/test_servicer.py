"""The contract over real gRPC: every option, every bad input, and the service lives on."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import numpy as np
import pytest
from google.protobuf import json_format

from affectmesh.v1 import face_pb2, face_pb2_grpc, types_pb2
from services.common import caller
from services.common.caller import Caller
from services.common.channels import OPTIONS
from services.common.errors import (
    AffectMeshError,
    InvalidImage,
    InvalidRequest,
    InvalidVideo,
    NoFaceDetected,
    NotFound,
    from_rpc,
)
from services.common.server import Service
from services.common.settings import Settings
from services.face import servicer
from services.face.image import Pixels
from services.face.servicer import register
from tests.common.holding import holding
from tests.common.serving import serving
from tests.face.pictures import bomb, drawing, encoded, movie, pan, scene, sound

Stub = face_pb2_grpc.FaceServiceStub


@asynccontextmanager
async def face_service(**settings: Any) -> AsyncIterator[Stub]:
    service = Service("face", Settings(**settings))
    async with (
        serving(lambda server: register(server, service)) as address,
        grpc.aio.insecure_channel(address, options=OPTIONS) as channel,
    ):
        yield face_pb2_grpc.FaceServiceStub(channel)
    for close in reversed(service.closers):
        await close()


@pytest.fixture(scope="session")
async def stub() -> AsyncIterator[Stub]:
    async with face_service() as stub:
        yield stub


async def refused(call: grpc.aio.UnaryUnaryCall[Any, Any]) -> AffectMeshError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return from_rpc(raised.value, "face")


async def test_a_photograph_gets_everything_by_default(stub: Stub, photograph: bytes) -> None:
    answer = await stub.AnalyzeFace(face_pb2.AnalyzeFaceRequest(image=photograph))
    [face] = answer.faces
    assert answer.request_id
    assert (answer.image.width, answer.image.height) == (512, 512)
    assert face.face_id == 0
    assert face.bbox.width > 80
    assert face.emotions.primary.label == "happiness"
    assert face.emotions.all[0] == face.emotions.primary
    assert sum(e.confidence for e in face.emotions.all) == pytest.approx(1, abs=1e-6)
    assert face.dimensions.derived
    assert not face.dimensions.HasField("dominance")
    assert {"AU1", "AU12", "AU26"} <= {unit.au for unit in face.action_units}
    assert all(unit.name and 0 <= unit.intensity <= 1 for unit in face.action_units)
    assert {"AU6", "AU9"} <= set(face.unsupported_action_units)
    assert 0.9 < face.quality.score <= 1
    assert abs(face.pose.yaw) < 20
    assert 100 < face.luminance < 200
    assert 40 < face.interocular_px < face.bbox.width
    assert not face.landmarks
    assert not answer.HasField("annotated_image")
    assert {p.model for p in answer.provenance} == {
        "face_detection",
        "face_landmarks",
        "face_expression",
        "face_blendshapes",
    }
    assert all(len(p.digest) == 64 and p.version for p in answer.provenance)
    [expression] = [p for p in answer.provenance if p.model == "face_expression"]
    assert "FER+" in expression.calibration
    assert "NaN" not in json_format.MessageToJson(answer)


async def test_every_image_option_is_heard(stub: Stub, portrait: Pixels) -> None:
    picture, _ = scene(portrait, [(40, 200, 60), (300, 150, 120), (800, 100, 150)])
    options = face_pb2.FaceOptions(
        return_action_units=False,
        return_dimensions=False,
        return_landmarks=True,
        return_annotated=True,
        min_face_size=80,
        max_faces=1,
    )
    answer = await stub.AnalyzeFace(
        face_pb2.AnalyzeFaceRequest(image=encoded(picture, "JPEG"), options=options)
    )
    [face] = answer.faces
    assert face.bbox.x > 800
    assert not face.HasField("dimensions")
    assert not face.action_units
    assert len(face.landmarks) == 478
    assert answer.annotated_image.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("request_", "kind", "words"),
    [
        ({}, InvalidRequest, "exactly one"),
        ({"image": b"no picture"}, InvalidImage, "not an image"),
        ({"image": bomb()}, InvalidImage, "20000 x 20000"),
        ({"image": encoded(np.zeros((1, 1, 3), np.uint8))}, InvalidImage, "1 x 1"),
        ({"image": drawing()}, NoFaceDetected, "No face"),
        ({"image": drawing(), "options": {"max_faces": 99}}, InvalidRequest, "max_faces"),
        ({"image": drawing(), "options": {"min_face_size": 3}}, InvalidRequest, "min_face_size"),
        ({"image_url": "http://127.0.0.1/face.jpg"}, InvalidRequest, "not public"),
    ],
    ids=["nothing", "text", "bomb", "1x1", "drawing", "max_faces", "min_face_size", "private url"],
)
async def test_bad_images_are_refused_and_the_service_lives_on(
    stub: Stub,
    photograph: bytes,
    request_: dict[str, object],
    kind: type[AffectMeshError],
    words: str,
) -> None:
    error = await refused(stub.AnalyzeFace(face_pb2.AnalyzeFaceRequest(**request_)))  # type: ignore[arg-type]
    assert isinstance(error, kind)
    assert words in error.message
    assert error.details["suggestion"]
    answer = await stub.AnalyzeFace(face_pb2.AnalyzeFaceRequest(image=photograph))
    assert len(answer.faces) == 1


async def test_a_truncated_photograph_is_refused(stub: Stub, photograph: bytes) -> None:
    call = stub.AnalyzeFace(face_pb2.AnalyzeFaceRequest(image=photograph[:20_000]))
    assert isinstance(await refused(call), InvalidImage)


async def test_a_video_is_followed(stub: Stub, portrait: Pixels) -> None:
    frame = pan(portrait)
    request = face_pb2.AnalyzeFaceVideoRequest(
        video=movie([frame(n) for n in range(50)]),
        options=face_pb2.FaceVideoOptions(
            sample_rate=10, start_time_ms=400, end_time_ms=1600, track_faces=True
        ),
    )
    answer = await stub.AnalyzeFaceVideo(request)
    assert (answer.duration_ms, answer.frame_count, answer.analyzed_frames) == (1200, 30, 3)
    assert [moment.timestamp_ms for moment in answer.timeline] == [400, 800, 1200]
    assert all([f.face_id for f in moment.faces] == [0] for moment in answer.timeline)
    assert answer.summary.dominant_emotion == "happiness"
    assert answer.summary.average_valence == pytest.approx(0.8, abs=0.1)
    assert answer.summary.face_count == 1
    assert "face_blendshapes" not in {p.model for p in answer.provenance}


async def followed(
    stub: Stub, *requests: face_pb2.FollowFacesRequest
) -> tuple[list[face_pb2.FaceFrame], face_pb2.AnalyzeFaceVideoResponse]:
    """The frames in the order they came, and the result, which must come last."""
    frames: list[face_pb2.FaceFrame] = []
    result = None
    async for message in stub.FollowFaces(iter(requests)):
        assert result is None
        if message.WhichOneof("message") == "frames":
            frames += message.frames.frames
        else:
            result = message.result
    assert result is not None
    return frames, result


async def test_a_video_in_pieces_gives_what_the_whole_one_gives(
    stub: Stub, portrait: Pixels
) -> None:
    frame = pan(portrait)
    video = movie([frame(n) for n in range(50)])
    options = face_pb2.FaceVideoOptions(sample_rate=5, return_action_units=True)
    whole = await stub.AnalyzeFaceVideo(
        face_pb2.AnalyzeFaceVideoRequest(video=video, options=options)
    )
    asked = face_pb2.AnalyzeFaceVideoRequest(options=options)
    chunks = [video[start : start + 10_000] for start in range(0, len(video), 10_000)]
    frames, result = await followed(
        stub,
        face_pb2.FollowFacesRequest(video=asked),
        *(face_pb2.FollowFacesRequest(chunk=chunk) for chunk in chunks),
    )
    assert frames == list(whole.timeline)
    assert not result.timeline
    assert result.summary == whole.summary
    assert result.analyzed_frames == whole.analyzed_frames == 10


async def test_a_stream_of_frames_has_no_limit_to_their_number(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servicer, "MAX_ANALYSED", 10)
    blank = np.full((32, 32, 3), 90, np.uint8)
    request = face_pb2.AnalyzeFaceVideoRequest(
        video=movie([blank] * 50), options=face_pb2.FaceVideoOptions(sample_rate=1)
    )
    assert "10 frames" in (await refused(stub.AnalyzeFaceVideo(request))).message
    frames, result = await followed(stub, face_pb2.FollowFacesRequest(video=request))
    assert len(frames) == result.analyzed_frames == 50


@pytest.mark.parametrize(
    ("requests", "kind", "field"),
    [
        ([], InvalidRequest, "video"),
        ([{"chunk": b"x"}], InvalidRequest, "video"),
        ([{"video": {}}], InvalidVideo, None),
        ([{"video": {}}, {"chunk": b"no video, of some length"}], InvalidVideo, None),
        ([{"video": {}}, {"chunk": b"x"}, {"video": {}}], InvalidRequest, "video"),
        ([{"video": {"video": b"x", "media_id": "med_1"}}], InvalidRequest, "video_url"),
    ],
    ids=["nothing", "no beginning", "no chunks", "no video", "two beginnings", "two sources"],
)
async def test_bad_pieces_are_refused(
    stub: Stub, requests: list[dict[str, Any]], kind: type[AffectMeshError], field: str | None
) -> None:
    messages = [face_pb2.FollowFacesRequest(**one) for one in requests]
    try:
        await followed(stub, *messages)
    except grpc.aio.AioRpcError as failed:
        error = from_rpc(failed, "face")
    assert isinstance(error, kind)
    assert error.details.get("field") == field


async def test_held_media_is_read(portrait: Pixels, photograph: bytes) -> None:
    media = {"med_image": photograph, "med_video": movie([pan(portrait)(n) for n in range(10)])}
    carried = ((caller.KEY, Caller(1, "key_1", "pro").encode()),)
    foreign = ((caller.KEY, Caller(2, "key_2", "pro").encode()),)
    async with holding(media) as jobs, face_service(addresses={"jobs": jobs}) as stub:
        image = face_pb2.AnalyzeFaceRequest(media_id="med_image")
        assert len((await stub.AnalyzeFace(image, metadata=carried)).faces) == 1
        video = face_pb2.AnalyzeFaceVideoRequest(media_id="med_video")
        answer = await stub.AnalyzeFaceVideo(video, metadata=carried)
        assert answer.frame_count == 10
        call = stub.AnalyzeFaceVideo(video, metadata=foreign)
        assert isinstance(await refused(call), NotFound)


async def test_frames_are_a_video_too(stub: Stub, photograph: bytes) -> None:
    options = face_pb2.FaceVideoOptions(sample_rate=2, frame_rate_hz=4.0, return_action_units=True)
    answer = await stub.AnalyzeFaceVideo(
        face_pb2.AnalyzeFaceVideoRequest(frames=[photograph] * 4, options=options)
    )
    assert [moment.timestamp_ms for moment in answer.timeline] == [0, 500]
    assert answer.duration_ms == 1000
    assert answer.timeline[0].faces[0].action_units


@pytest.mark.parametrize(
    ("request_", "kind", "words"),
    [
        ({}, InvalidRequest, "exactly one"),
        ({"video": b"x", "frames": [b"y"]}, InvalidRequest, "exactly one"),
        ({"video": b"no video"}, InvalidVideo, "not a video"),
        ({"video": sound()}, InvalidVideo, "no video stream"),
        (
            {"frames": [b"z"], "options": {"start_time_ms": 900, "end_time_ms": 100}},
            InvalidRequest,
            "end_time_ms",
        ),
        ({"frames": [b"no picture"]}, InvalidVideo, "Frame 0"),
        ({"frames": [b"z"] * 501}, InvalidVideo, "501"),
    ],
    ids=["nothing", "both", "text", "sound", "end before start", "bad frame", "too many"],
)
async def test_bad_videos_are_refused(
    stub: Stub,
    request_: dict[str, object],
    kind: type[AffectMeshError],
    words: str,
) -> None:
    request = face_pb2.AnalyzeFaceVideoRequest(**request_)  # type: ignore[arg-type]
    error = await refused(stub.AnalyzeFaceVideo(request))
    assert isinstance(error, kind)
    assert words in error.message
    assert error.details["suggestion"]


def live(
    messages: Iterable[face_pb2.VideoFrame | types_pb2.StreamAction.ValueType],
    rate: types_pb2.OutputRate.ValueType = types_pb2.OUTPUT_RATE_PER_FRAME,
) -> list[face_pb2.StreamFaceRequest]:
    config = face_pb2.StreamFaceConfig(
        stream_id="s1",
        output=types_pb2.StreamOutput(rate=rate, include_dimensions=True, include_raw_scores=True),
    )
    return [
        face_pb2.StreamFaceRequest(config=config),
        *(
            face_pb2.StreamFaceRequest(frame=message)
            if isinstance(message, face_pb2.VideoFrame)
            else face_pb2.StreamFaceRequest(action=message)
            for message in messages
        ),
    ]


async def answers(
    stub: Stub, requests: list[face_pb2.StreamFaceRequest]
) -> list[face_pb2.StreamFaceResponse]:
    """Sends each frame once the one before it is answered."""
    call = stub.StreamFace()
    received: list[face_pb2.StreamFaceResponse] = []
    for request in requests:
        await call.write(request)
        while request.HasField("frame"):
            received.append(cast(face_pb2.StreamFaceResponse, await call.read()))
            if not received[-1].HasField("event"):
                break
    await call.done_writing()
    while (response := await call.read()) is not grpc.aio.EOF:
        received.append(cast(face_pb2.StreamFaceResponse, response))
    return received


async def test_live_frames_are_followed_to_a_summary(
    stub: Stub, photograph: bytes, portrait: Pixels
) -> None:
    blank = encoded(portrait[250:400])
    frames = [
        face_pb2.VideoFrame(frame_number=n, timestamp_ms=300 * n, image=image)
        for n, image in enumerate([photograph] * 3 + [blank] * 5)
    ]
    received = await answers(stub, live(frames))
    results = [r.result for r in received if r.HasField("result")]
    events = [r.event for r in received if r.HasField("event")]
    assert [r.frame_number for r in results] == list(range(8))
    assert all(r.stream_id == "s1" for r in results)
    assert [len(r.faces) for r in results] == [1, 1, 1, 0, 0, 0, 0, 0]
    assert {f.face_id for r in results for f in r.faces} == {0}
    assert results[0].faces[0].emotions.all
    assert [(e.type, e.tracking_id) for e in events] == [
        (types_pb2.STREAM_EVENT_TYPE_FACE_DETECTED, 0),
        (types_pb2.STREAM_EVENT_TYPE_FACE_LOST, 0),
    ]
    summary = received[-1].summary
    assert (summary.frames_processed, summary.frames_dropped) == (8, 0)
    assert summary.emotion_distribution["happiness"] == 1
    assert summary.duration_ms == 2100
    assert summary.average_dimensions.valence > 0.5


async def test_frames_that_come_too_fast_are_dropped_and_counted(
    stub: Stub, photograph: bytes
) -> None:
    frames = [
        face_pb2.VideoFrame(frame_number=n, timestamp_ms=n, image=photograph) for n in range(200)
    ]
    call = stub.StreamFace(iter(live(frames)))
    received = [response async for response in call]
    summary = received[-1].summary
    assert summary.frames_dropped > 0
    assert summary.frames_processed + summary.frames_dropped == 200
    last = [r.result.frame_number for r in received if r.HasField("result")][-1]
    assert last == 199
    dropped = [r.event for r in received if r.event.HasField("dropped_count")]
    assert dropped[0].type == types_pb2.STREAM_EVENT_TYPE_INPUT_DROPPED


async def test_a_bad_live_frame_leaves_the_stream_open(stub: Stub, photograph: bytes) -> None:
    frames = [
        face_pb2.VideoFrame(frame_number=n, timestamp_ms=40 * n, image=image)
        for n, image in enumerate([b"noise", photograph])
    ]
    received = await answers(stub, live(frames))
    assert received[0].error.code == "INVALID_FRAME"
    assert received[0].error.recoverable
    assert received[0].error.frame_number == 0
    assert received[1].result.frame_number == 1


async def test_a_steady_emotion_is_answered_once_on_change(stub: Stub, photograph: bytes) -> None:
    frames = [
        face_pb2.VideoFrame(frame_number=n, timestamp_ms=500 * n, image=photograph)
        for n in range(3)
    ]
    requests = live(frames, types_pb2.OUTPUT_RATE_ON_CHANGE)
    received = [response async for response in stub.StreamFace(iter(requests))]
    assert [r.HasField("result") for r in received].count(True) == 1


async def test_a_paused_stream_ignores_frames(stub: Stub, photograph: bytes) -> None:
    frame = face_pb2.VideoFrame(frame_number=0, timestamp_ms=0, image=photograph)
    messages: list[face_pb2.VideoFrame | types_pb2.StreamAction.ValueType] = [
        types_pb2.STREAM_ACTION_PAUSE,
        frame,
        frame,
        types_pb2.STREAM_ACTION_RESUME,
        types_pb2.STREAM_ACTION_CLOSE,
    ]
    received = [r async for r in stub.StreamFace(iter(live(messages)))]
    assert [r.WhichOneof("message") for r in received] == ["summary"]
    assert received[0].summary.frames_processed == 0


@pytest.mark.parametrize("second", [False, True], ids=["no config", "two configs"])
async def test_a_stream_has_one_config_and_first(stub: Stub, second: bool) -> None:
    config = live([])
    wrong = config * 2 if second else live([types_pb2.STREAM_ACTION_CLOSE])[1:]
    call = stub.StreamFace(iter(wrong))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for _ in call:
            pass
    assert isinstance(from_rpc(raised.value, "face"), InvalidRequest)
