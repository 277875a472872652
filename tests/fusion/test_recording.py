"""Recordings over real gRPC, against servers that keep the modalities' contracts."""

import asyncio
import io
import itertools
from functools import cache
from typing import Any

import grpc
import pytest
from aiohttp import web

from affectmesh.v1 import (
    biosignal_pb2,
    face_pb2,
    fusion_pb2,
    fusion_pb2_grpc,
    text_pb2,
    types_pb2,
    voice_pb2,
)
from services.common import caller, errors, results
from services.common.caller import Caller
from services.fusion import footage
from tests.common.holding import holding
from tests.fusion.modality_servers import Script, fusion_over
from tests.fusion.recordings import empty, film, speech

Request = fusion_pb2.AnalyzeRecordingRequest

GONE = errors.Unavailable("The service is not answering.", suggestion="Try again.")


class Faces(Script):
    """Answers with a smiling face in every analysed picture, or with what it is scripted to."""

    async def serve(self, request: Any) -> Any:
        scripted = await super().serve(request)
        return scripted or faces_from(0, footage.read(io.BytesIO(request.video)).pictures_ms)


class Texts(Script):
    """Answers every text with joy."""

    async def serve(self, request: Any) -> Any:
        await super().serve(request)
        sentiment = text_pb2.Sentiment(polarity=0.6, label="positive", confidence=0.9)
        if isinstance(request, text_pb2.AnalyzeTextBatchRequest):
            joy = types_pb2.Emotion(label="happiness", confidence=0.8)
            return text_pb2.AnalyzeTextBatchResponse(
                results=[
                    text_pb2.BatchTextResult(id=one.id, sentiment=sentiment, emotion=joy)
                    for one in request.texts
                ]
            )
        return text_pb2.AnalyzeTextResponse(
            sentiment=sentiment,
            emotions=results.emotions({"gratitude": 0.8, "happiness": 0.7, "surprise": 0.1}),
            dimensions=types_pb2.Dimensions(valence=0.7, arousal=0.2, dominance=0.1),
        )


def faces_from(start_ms: int, end_ms: int) -> face_pb2.AnalyzeFaceVideoResponse:
    face = face_pb2.Face(
        bbox=types_pb2.BoundingBox(x=10, y=10, width=90, height=90),
        emotions=results.emotions({"happiness": 0.9, "neutral": 0.1}),
        dimensions=types_pb2.Dimensions(valence=0.7, arousal=0.4, derived=True),
        quality=face_pb2.FaceQuality(score=0.9),
    )
    times = range(start_ms, end_ms, 500)
    return face_pb2.AnalyzeFaceVideoResponse(
        analyzed_frames=len(times),
        timeline=[face_pb2.FaceFrame(timestamp_ms=at, faces=[face]) for at in times],
        summary=face_pb2.FaceVideoSummary(dominant_emotion="happiness"),
        provenance=[types_pb2.Provenance(model="face_expression", version="1.0.0")],
    )


def no_faces() -> face_pb2.AnalyzeFaceVideoResponse:
    return face_pb2.AnalyzeFaceVideoResponse(
        analyzed_frames=1, timeline=[face_pb2.FaceFrame(timestamp_ms=0)]
    )


def voice_answer() -> voice_pb2.AnalyzeVoiceResponse:
    said = [(0, 1000, "What a day!"), (1500, 2400, "Thank you so much.")]
    return voice_pb2.AnalyzeVoiceResponse(
        duration_ms=3000,
        language_detected="en",
        transcript=" ".join(text for *_, text in said),
        emotions=results.emotions({"happiness": 0.6}),
        segments=[
            voice_pb2.VoiceSegment(
                start_ms=start,
                end_ms=end,
                text=text,
                emotion="happiness",
                confidence=0.6,
                dimensions=types_pb2.Dimensions(valence=0.5, arousal=0.3, derived=True),
            )
            for start, end, text in said
        ],
        words=[
            voice_pb2.Word(text="day", start_ms=at, end_ms=at + 150) for at in range(0, 2400, 200)
        ],
    )


def everyone(**changes: Script) -> dict[str, Script]:
    return {"face": Faces(), "voice": Script(answer=voice_answer()), "text": Texts(), **changes}


@cache
def movie() -> bytes:
    return film(3, empty, speech("0880"))


async def listen(
    stub: fusion_pb2_grpc.FusionServiceStub, request: Request, timeout_s: float = 120
) -> tuple[list[float], fusion_pb2.RecordingAnalysis]:
    """The progress and the result, which must come last."""
    progress: list[float] = []
    result = None
    try:
        async for message in stub.AnalyzeRecording(request, timeout=timeout_s):
            assert result is None
            if message.WhichOneof("message") == "result":
                result = message.result
            else:
                progress.append(message.progress)
    except grpc.aio.AioRpcError as error:
        raise errors.from_rpc(error, "fusion") from error
    assert result is not None
    return progress, result


async def analyse(scripts: dict[str, Script], **fields: Any) -> fusion_pb2.RecordingAnalysis:
    async with fusion_over(scripts) as stub:
        return (await listen(stub, Request(**{"video": movie(), **fields})))[1]


def codes(result: fusion_pb2.RecordingAnalysis) -> list[str]:
    return [warning.code for warning in result.warnings]


async def test_progress_rises_from_0_to_1_and_the_result_comes_last() -> None:
    async with fusion_over(everyone()) as stub:
        progress, _ = await listen(stub, Request(video=movie()))
    assert progress[0] == 0
    assert progress[-1] == 1
    assert len(progress) > 4
    assert all(one < other for one, other in itertools.pairwise(progress))


async def test_everything_is_put_together() -> None:
    result = await analyse(everyone())
    assert result.duration_ms == pytest.approx(3000, abs=80)
    assert result.depth == "basic"
    assert result.timeline_hop_ms == 1000
    assert result.main_face_id == 0
    shares = result.emotion_breakdown
    assert max(shares, key=lambda label: shares[label]) == "happiness"
    assert sum(shares.values()) == pytest.approx(1, abs=1e-6)
    assert list(result.timeline[0].modalities) == ["face", "text", "voice"]
    assert result.timeline[0].emotions.primary.label == "happiness"
    assert result.timeline[0].agreement > 0.5
    assert result.voice == voice_answer()
    assert result.face.summary.dominant_emotion == "happiness"
    assert result.text.emotions.primary.label == "gratitude"
    assert [one.text for one in result.utterances] == ["What a day!", "Thank you so much."]
    assert result.honesty.components.keys() >= {"fluency"}
    assert result.request_id.startswith("req_")
    models = [one.model for one in result.provenance]
    assert models == [
        "face_expression",
        "late_fusion_weighted_average",
        "behavioural_consistency",
    ]


async def test_basic_reads_words_in_short() -> None:
    scripts = everyone()
    result = await analyse(scripts)
    options = scripts["face"].asked[0].options
    assert options.sample_rate == 12
    assert not options.return_landmarks
    assert scripts["voice"].asked[0].options.segment_by == "utterance"
    assert [type(one).__name__ for one in scripts["text"].asked] == [
        "AnalyzeTextRequest",
        "AnalyzeTextBatchRequest",
    ]
    assert result.utterances[0].dimensions == types_pb2.Dimensions(valence=0.6, derived=True)


async def test_advanced_looks_more_often_and_reads_every_sentence_in_full() -> None:
    scripts = everyone()
    result = await analyse(scripts, depth="advanced")
    assert scripts["face"].asked[0].options.sample_rate == 3
    assert scripts["voice"].asked[0].options.segment_by == "sentence"
    assert [type(one).__name__ for one in scripts["text"].asked] == ["AnalyzeTextRequest"] * 3
    assert scripts["text"].asked[0].options.return_aspects
    assert result.timeline_hop_ms == 500
    assert result.utterances[1].dimensions.arousal == 0.2
    assert "gratitude" not in result.emotion_breakdown


async def test_the_language_given_goes_to_voice_and_the_one_heard_to_text() -> None:
    scripts = everyone()
    await analyse(scripts, language="en-GB")
    assert scripts["voice"].asked[0].options.language == "en-GB"
    assert {one.language for one in scripts["text"].asked} == {"en"}


async def test_without_faces_the_others_answer_and_it_is_said() -> None:
    result = await analyse(everyone(face=Script(answer=no_faces())))
    assert "NO_FACE" in codes(result)
    assert not result.HasField("main_face_id")
    assert not result.body_language
    assert list(result.timeline[0].modalities) == ["text", "voice"]


async def test_without_sound_the_face_answers_and_it_is_said() -> None:
    scripts = everyone()
    result = await analyse(scripts, video=film(3, empty))
    assert codes(result)[0] == "NO_SOUND"
    assert not result.HasField("voice")
    assert not scripts["voice"].asked
    assert {name for one in result.timeline for name in one.modalities} == {"face"}


async def test_silence_leaves_the_voice_out() -> None:
    silence = errors.InvalidAudio("No speech found in the recording.", suggestion="Speak.")
    result = await analyse(everyone(voice=Script(error=silence)))
    assert codes(result)[0] == "INVALID_AUDIO"
    assert not result.HasField("voice")
    assert not result.HasField("text")
    assert result.emotion_breakdown["happiness"] == pytest.approx(0.9)


@pytest.mark.parametrize("gone", ["face", "voice", "text"])
async def test_a_service_that_is_gone_is_left_out_and_named(gone: str) -> None:
    result = await analyse(everyone(**{gone: Script(error=GONE)}))
    assert "SERVICE_UNAVAILABLE" in codes(result)
    assert not result.HasField(gone)  # type: ignore[arg-type]
    assert result.emotion_breakdown


async def test_without_a_recogniser_the_voice_is_heard_without_words() -> None:
    class Deaf(Script):
        async def serve(self, request: Any) -> Any:
            answer = await super().serve(request)
            if not request.options.HasField("return_transcript"):
                raise GONE
            return answer

    mute = voice_answer()
    mute.ClearField("transcript")
    mute.ClearField("words")
    scripts = everyone(voice=Deaf(answer=mute))
    result = await analyse(scripts)
    assert list(result.timeline[0].modalities) == ["face", "voice"]
    assert not scripts["text"].asked
    assert any("no transcript" in one.message for one in result.warnings)


async def test_nobody_seen_and_nobody_heard_is_an_error() -> None:
    scripts = everyone(face=Script(answer=no_faces()))
    with pytest.raises(errors.InvalidVideo) as refused:
        await analyse(scripts, video=film(1, empty))
    assert refused.value.details["suggestion"]


async def test_when_all_are_gone_that_is_the_error() -> None:
    with pytest.raises(errors.Unavailable):
        await analyse(everyone(face=Script(error=GONE), voice=Script(error=GONE)))


def body_answer() -> biosignal_pb2.AnalyzeBiosignalResponse:
    """Calm for 10 s, excited for the next 10."""
    return biosignal_pb2.AnalyzeBiosignalResponse(
        duration_ms=20_000,
        derived_states=biosignal_pb2.DerivedStates(arousal=0.5, confidence=0.8),
        timeline=[
            biosignal_pb2.BiosignalMoment(time_ms=0, arousal=0.1),
            biosignal_pb2.BiosignalMoment(time_ms=10_000, arousal=0.9),
        ],
        provenance=[types_pb2.Provenance(model="biosignal-states", version="1.0.0")],
    )


SIGNALS = biosignal_pb2.AnalyzeBiosignalRequest(
    signals=biosignal_pb2.Signals(eda=biosignal_pb2.Signal(data=[1.0], unit="uS"))
)


async def test_signals_of_the_body_join_the_timeline_where_they_were_taken() -> None:
    body = Script(answer=body_answer())
    result = await analyse(everyone(biosignal=body), biosignal=SIGNALS, biosignal_start_ms=-8000)
    alone = await analyse(everyone())
    assert [one.signals.eda.unit for one in body.asked] == ["uS"]
    assert all("biosignal" in one.modalities for one in result.timeline)
    moved = [
        with_body.dimensions.arousal - without.dimensions.arousal
        for with_body, without in zip(result.timeline, alone.timeline, strict=True)
    ]
    assert moved[0] < 0
    assert moved[1] < 0 < moved[2]
    assert result.biosignal.duration_ms == 20_000
    assert "biosignal-states" in {one.model for one in result.provenance}
    assert result.emotion_breakdown == alone.emotion_breakdown
    assert result.honesty == alone.honesty
    assert result.key_moments == alone.key_moments


async def test_signals_that_end_early_speak_only_while_they_last() -> None:
    body = Script(answer=body_answer())
    result = await analyse(everyone(biosignal=body), biosignal=SIGNALS, biosignal_start_ms=-18_000)
    spoken = ["biosignal" in one.modalities for one in result.timeline]
    assert spoken[:2] == [True, True]
    assert not any(spoken[2:])


async def test_signals_that_cannot_be_analysed_are_left_out_and_named() -> None:
    flat = errors.InvalidSignal("eda is flat.", reason="Flat signal", suggestion="Check it.")
    result = await analyse(everyone(biosignal=Script(error=flat)), biosignal=SIGNALS)
    assert codes(result)[0] == "INVALID_SIGNAL"
    assert not result.HasField("biosignal")
    assert result.emotion_breakdown


async def test_signals_alone_are_an_answer() -> None:
    silent = film(3, empty)
    scripts = everyone(face=Script(answer=no_faces()), biosignal=Script(answer=body_answer()))
    result = await analyse(scripts, video=silent, biosignal=SIGNALS)
    assert {"NO_SOUND", "NO_FACE"} <= set(codes(result))
    assert all(list(one.modalities) == ["biosignal"] for one in result.timeline)
    assert all(one.dimensions.arousal == pytest.approx(-0.8) for one in result.timeline)
    assert not result.emotion_breakdown


async def test_a_stretch_without_pictures_is_named_and_the_others_count() -> None:
    answer = faces_from(0, 20_000)
    answer.timeline.extend(faces_from(40_000, 60_000).timeline)
    long = film(60, empty, frame_rate=2)
    result = await analyse(everyone(face=Script(answer=answer)), video=long)
    [missing] = [one.message for one in result.warnings if one.code == "PICTURES_MISSING"]
    assert missing.startswith("Faces from 19.5 s to 40.0 s are missing")
    spoken = [bool(one.modalities) for one in result.timeline]
    assert spoken == [True] * 20 + [False] * 20 + [True] * 20


async def test_faces_that_came_before_a_failure_count() -> None:
    scripts = everyone(face=Script(answer=faces_from(0, 2000), failure=GONE))
    result = await analyse(scripts)
    [missing] = [one.message for one in result.warnings if one.code == "SERVICE_UNAVAILABLE"]
    assert missing.startswith("Faces from 1.5 s to 3.")
    assert len(result.face.timeline) == 4
    assert "face" in result.timeline[0].modalities


async def test_the_recording_is_sent_to_the_faces_once_and_whole() -> None:
    scripts = everyone()
    await analyse(scripts)
    assert [one.video for one in scripts["face"].asked] == [movie()]


async def test_a_held_recording_is_analysed() -> None:
    scripts = everyone()
    carried = ((caller.KEY, Caller(1, "key_1", "pro").encode()),)
    async with (
        holding({"med_1": movie()}) as jobs,
        fusion_over(scripts, also={"jobs": jobs}) as stub,
    ):
        call = stub.AnalyzeRecording(Request(media_id="med_1"), metadata=carried)
        messages = [message async for message in call]
    assert messages[-1].result.emotion_breakdown
    assert [one.video for one in scripts["face"].asked] == [movie()]


async def test_a_cut_off_recording_is_analysed_as_far_as_it_goes() -> None:
    whole = film(6, empty, speech("0870"), options={"movflags": "faststart"})
    result = await analyse(everyone(), video=whole[: len(whole) * 6 // 10])
    assert "VIDEO_DAMAGED" in codes(result)
    assert 1500 < result.duration_ms < 5000


async def test_of_several_people_the_main_speaker_is_named() -> None:
    answer = faces_from(0, 3000)
    for frame in answer.timeline:
        other = frame.faces.add()
        other.CopyFrom(frame.faces[0])
        other.face_id = 1
        other.bbox.x, other.bbox.width = 300, 40
    result = await analyse(everyone(face=Script(answer=answer)))
    assert {"SEVERAL_FACES", "VOICES_NOT_TOLD_APART"} <= set(codes(result))
    assert result.main_face_id == 0
    assert result.face.summary.face_count == 2


@pytest.mark.parametrize(
    ("fields", "kind", "field"),
    [
        ({"depth": "deepest"}, errors.InvalidRequest, "depth"),
        ({"video": b""}, errors.InvalidRequest, "video_url"),
        ({"video_url": "http://198.51.100.1/a.mp4"}, errors.InvalidRequest, "video_url"),
        ({"media_id": "med_1"}, errors.InvalidRequest, "video_url"),
        ({"video": b"", "media_id": "med_1"}, errors.Unavailable, None),
        ({"video": b"not a video"}, errors.UnsupportedMedia, None),
        ({"video": b"", "video_url": "ftp://example.com/a.mp4"}, errors.FetchFailed, None),
    ],
)
async def test_a_senseless_request_is_refused_before_anyone_is_asked(
    fields: dict[str, Any], kind: type[errors.AffectMeshError], field: str | None
) -> None:
    scripts = everyone()
    with pytest.raises(kind) as refused:
        await analyse(scripts, **fields)
    assert refused.value.details.get("field") == field
    assert refused.value.details["suggestion"]
    assert not any(script.asked for script in scripts.values())


async def test_a_language_nobody_knows_is_the_clients_error() -> None:
    unknown = errors.InvalidRequest(
        "No such language.", field="options.language", suggestion="Send a BCP 47 tag."
    )
    with pytest.raises(errors.InvalidRequest) as refused:
        await analyse(everyone(voice=Script(error=unknown)), language="xx")
    assert refused.value.details["field"] == "language"


async def test_a_service_that_is_too_slow_does_not_hold_up_the_others(
    half_of_the_time: None,
) -> None:
    scripts = everyone(face=Faces(pause_s=60))
    async with fusion_over(scripts) as stub:
        _, result = await listen(stub, Request(video=movie()), timeout_s=8)
    assert "DEADLINE_EXCEEDED" in codes(result)
    assert list(result.timeline[0].modalities) == ["text", "voice"]


async def test_a_client_that_leaves_ends_the_work() -> None:
    scripts = everyone(face=Faces(pause_s=60))
    async with fusion_over(scripts) as stub:
        call = stub.AnalyzeRecording(Request(video=movie()))
        await asyncio.wait_for(scripts["face"].began.wait(), 60)
        call.cancel()
        await asyncio.wait_for(scripts["face"].cancelled.wait(), 60)


async def test_a_recording_is_fetched_from_its_address() -> None:
    async def send(_: web.Request) -> web.Response:
        return web.Response(body=movie())

    app = web.Application()
    app.router.add_get("/a.mp4", send)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        async with fusion_over(everyone(), fetch_allow_private=True) as stub:
            _, result = await listen(stub, Request(video_url=f"http://{host}:{port}/a.mp4"))
    finally:
        await runner.cleanup()
    assert result.emotion_breakdown
