"""Voice and biosignals over WebSocket: services of the test's own that keep the contract."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from affectmesh.v1 import biosignal_pb2, types_pb2, voice_pb2
from services.gateway.streaming.limits import Limits
from services.mesh.temporary import TemporaryMesh
from tests.common.serving import serving
from tests.gateway.streams import (
    PHOTOGRAPH,
    Script,
    audio,
    both,
    frame,
    stream_gateway,
    talk,
    until,
)

VOICE = "/v1/analyze/voice/stream"
BIOSIGNAL = "/v1/analyze/biosignal/stream"
VOICE_CONFIG = {
    "type": "config",
    "sample_rate": 16000,
    "encoding": "LINEAR16",
    "language": "en-US",
}


FACELESS_CONFIG = {"type": "config", "modalities": ["voice"]}


DOUBT = types_pb2.Warning(code="LANGUAGE_NOT_TRAINED", message="Speech is in another language.")
MODEL = types_pb2.Provenance(model="voice_emotion_open", version="1.0.0", digest="ab")
READY = voice_pb2.StreamVoiceReady(warnings=[DOUBT], provenance=[MODEL])


def speak(request: voice_pb2.StreamVoiceRequest) -> Iterator[voice_pb2.StreamVoiceResponse]:
    """What is ready, a partial for every chunk; a final and a summary at the end."""
    happy = types_pb2.Emotion(label="happiness", confidence=0.82)
    if request.WhichOneof("message") == "config":
        yield voice_pb2.StreamVoiceResponse(ready=READY)
    if request.WhichOneof("message") == "audio":
        yield voice_pb2.StreamVoiceResponse(
            partial=voice_pb2.StreamVoicePartial(
                timestamp_ms=100,
                emotion=types_pb2.Emotion(label="neutral", confidence=0.7),
                dimensions=types_pb2.Dimensions(valence=0.1, arousal=-0.2),
                transcript="Hello",
            )
        )
    if request.action == types_pb2.STREAM_ACTION_CLOSE:
        yield voice_pb2.StreamVoiceResponse(
            final=voice_pb2.StreamVoiceFinal(
                segment=voice_pb2.StreamVoiceSegment(
                    start_ms=0, end_ms=100, text="Hello, how are you?", emotion=happy
                )
            )
        )
        yield voice_pb2.StreamVoiceResponse(
            summary=types_pb2.SessionSummary(
                duration_ms=100,
                frames_processed=1,
                emotion_distribution={"happiness": 1.0},
                warnings=[DOUBT],
                provenance=[MODEL],
            )
        )


async def resumed(url: str, key: str, config: dict[str, Any], chunks: int) -> list[dict[str, Any]]:
    """The times of a connection that sends so many chunks of 100 ms, and then is gone."""
    async with talk(url, VOICE, key, config) as client:
        await client.hear("ready")
        for _ in range(chunks):
            await client.say(bytes(3200))
            await client.hear("partial")
        await client.running()
        client.socket.transport.abort()
    return [one for one in client.heard if one["type"] in ("ready", "partial")]


async def test_the_clock_of_live_audio_goes_on_though_its_session_is_gone(
    voice: tuple[str, Script], mesh: TemporaryMesh
) -> None:
    url, script = voice
    config = {**VOICE_CONFIG, "stream_id": "call-9"}
    times = []
    for chunks in (3, 2, 1):
        found = await resumed(url, mesh.key, config, chunks)
        times.append([one["timestamp_ms"] for one in found])
        await until(lambda: script.open == 0)
    assert times == [[0, 100, 100, 100], [300, 400, 400], [500, 600]]


async def test_the_clock_begins_anew_with_another_config_or_id(
    voice: tuple[str, Script], mesh: TemporaryMesh
) -> None:
    url, script = voice
    config = {**VOICE_CONFIG, "stream_id": "call-10"}
    await resumed(url, mesh.key, config, 3)
    await until(lambda: script.open == 0)
    for other in ({**config, "language": "de"}, {**config, "stream_id": "call-11"}, VOICE_CONFIG):
        first, *_ = await resumed(url, mesh.key, other, 0)
        assert first["timestamp_ms"] == 0


def beat(
    request: biosignal_pb2.StreamBiosignalRequest,
) -> Iterator[biosignal_pb2.StreamBiosignalResponse]:
    """A result for every message of samples."""
    if request.WhichOneof("message") == "samples":
        yield biosignal_pb2.StreamBiosignalResponse(
            result=biosignal_pb2.StreamBiosignalResult(
                timestamp_ms=1000, heart_rate=biosignal_pb2.HeartRate(mean_bpm=61.5)
            )
        )


@pytest.fixture
async def voice(mesh: TemporaryMesh, tmp_path: Path) -> AsyncIterator[tuple[str, Script]]:
    """A gateway before the scripted voice service."""
    script = Script(speak)
    settings = mesh.settings.model_copy(update={"data_dir": tmp_path})
    limits = Limits(audio_chunks_waiting=4)
    async with (
        serving(script.add_voice) as address,
        stream_gateway(settings, limits, voice=address) as (url, _),
    ):
        yield url, script


async def test_live_audio_is_answered_as_the_document_shows(
    voice: tuple[str, Script], mesh: TemporaryMesh
) -> None:
    url, script = voice
    async with talk(url, VOICE, mesh.key, VOICE_CONFIG, bytes(3200)) as client:
        ready = await client.hear("ready")
        partial = await client.hear("partial")
        await client.say({"type": "close"})
        final = await client.hear("final")
        summary = await client.hear("session_summary")
        assert await client.closed() == 1000
    assert partial == {
        "type": "partial",
        "timestamp_ms": 100,
        "emotion": {"label": "neutral", "confidence": 0.7},
    }
    assert final == {
        "type": "final",
        "segment": {
            "start_ms": 0,
            "end_ms": 100,
            "text": "Hello, how are you?",
            "emotion": {"label": "happiness", "confidence": 0.82},
        },
    }
    doubts = [{"code": "LANGUAGE_NOT_TRAINED", "message": "Speech is in another language."}]
    models = [{"model": "voice_emotion_open", "version": "1.0.0", "digest": "ab"}]
    assert (ready["warnings"], ready["provenance"]) == (doubts, models)
    assert (summary["warnings"], summary["provenance"]) == (doubts, models)
    assert summary["stream_id"] == ready["stream_id"]
    assert ready["timestamp_ms"] == 0
    assert summary["emotion_distribution"] == {"happiness": 1.0}
    config = script.asked[0].config
    assert (config.sample_rate_hz, config.encoding, config.language) == (16000, "LINEAR16", "en-US")
    assert config.return_transcript
    assert script.asked[1].audio == bytes(3200)


async def test_more_is_sent_of_live_audio_where_asked(
    voice: tuple[str, Script], mesh: TemporaryMesh
) -> None:
    url, _ = voice
    config = {**VOICE_CONFIG, "return_transcript": True, "include_dimensions": True}
    async with talk(url, VOICE, mesh.key, config, bytes(3200)) as client:
        partial = await client.hear("partial")
    assert partial["transcript"] == "Hello"
    assert partial["dimensions"] == {"valence": 0.1, "arousal": -0.2}


async def test_bad_audio_is_told_of_and_skipped(
    voice: tuple[str, Script], mesh: TemporaryMesh
) -> None:
    url, _ = voice
    async with talk(url, VOICE, mesh.key, VOICE_CONFIG, "PCM") as client:
        assert (await client.hear("error"))["code"] == "INVALID_REQUEST"
        for chunk in (b"", bytes(300_000)):
            await client.say(chunk)
            assert (await client.hear("error"))["code"] == "INVALID_FRAME"
        await client.say(bytes(3200))
        await client.hear("partial")


async def test_a_vanished_speaker_leaves_no_call_behind(
    voice: tuple[str, Script], mesh: TemporaryMesh
) -> None:
    url, script = voice
    async with talk(url, VOICE, mesh.key, VOICE_CONFIG, bytes(3200)) as client:
        await client.hear("partial")
        assert script.open == 1
        client.socket.transport.abort()
        await until(lambda: script.open == 0)


async def test_a_slow_service_makes_the_speaker_wait_and_loses_nothing(
    voice: tuple[str, Script], mesh: TemporaryMesh
) -> None:
    url, script = voice
    script.resume.clear()
    chunks = 120
    async with talk(url, VOICE, mesh.key, VOICE_CONFIG) as client:

        async def pour() -> None:
            for number in range(chunks):
                await client.say(number.to_bytes(2, "big") * 100_000)

        pouring = asyncio.create_task(pour())
        done, _ = await asyncio.wait([pouring], timeout=1)
        assert not done
        script.resume.set()
        await pouring
        await client.say({"type": "close"})
        await client.hear("session_summary")
    heard = [request.audio[:2] for request in script.asked if request.audio]
    assert heard == [number.to_bytes(2, "big") for number in range(chunks)]


async def test_a_pause_reaches_a_slow_service_in_its_place_and_a_thousand_fill_no_queue(
    voice: tuple[str, Script], mesh: TemporaryMesh
) -> None:
    url, script = voice
    script.resume.clear()
    pause, resume = types_pb2.STREAM_ACTION_PAUSE, types_pb2.STREAM_ACTION_RESUME
    async with talk(url, "/v1/stream", mesh.key, FACELESS_CONFIG) as client:
        await client.say(audio(0.1), {"type": "pause"}, audio(0.1), {"type": "resume"}, audio(0.2))
        for _ in range(1000):
            await client.say({"type": "pause"}, {"type": "resume"})
        await client.running()
        script.resume.set()
        await client.say({"type": "close"})
        await client.hear("session_summary")
    got = [request.action or len(request.audio) for request in script.asked[1:]]
    assert [one for one in got if one > 100] == [3200, 6400]
    assert got[-2:] == [resume, types_pb2.STREAM_ACTION_CLOSE]
    assert len(got) < 1000
    assert got.count(pause) == got.count(resume)


async def test_voice_results_carry_the_time_of_the_client(
    voice: tuple[str, Script], mesh: TemporaryMesh
) -> None:
    url, _ = voice
    config: dict[str, Any] = {
        "type": "config",
        "stream_id": "two",
        "modalities": ["voice", "facial"],
        "output": {"include_dimensions": True},
    }
    async with talk(url, "/v1/stream", mesh.key, config) as client:
        await client.say(both(PHOTOGRAPH, bytes(3200)))
        results = [await client.hear("result"), await client.hear("result")]
        await client.say({"type": "close"})
        final = await client.hear("result")
        summary = await client.hear("session_summary")
    (voiced,) = [result for result in results if "voice" in result]
    (faced,) = [result for result in results if "face" in result]
    assert voiced["frame_number"] == faced["frame_number"] == 1
    assert faced["timestamp"] == "2025-12-19T10:30:15.123Z"
    assert voiced["timestamp"] == "2025-12-19T10:30:15.223Z"
    assert voiced["emotions"]["primary"] == {"label": "neutral", "confidence": 0.7}
    assert voiced["dimensions"] == {"valence": 0.1, "arousal": -0.2}
    assert final["voice"] == {"final": True, "start": "2025-12-19T10:30:15.123Z"}
    assert summary["frames_processed"] == 2
    assert summary["emotion_distribution"] == {"happiness": 1.0}


async def test_audio_that_a_slow_service_cannot_take_is_dropped_and_counted(
    voice: tuple[str, Script], mesh: TemporaryMesh
) -> None:
    url, script = voice
    config = {"type": "config", "modalities": ["facial", "voice"]}
    script.resume.clear()
    big = bytes(200_000)
    async with talk(url, "/v1/stream", mesh.key, config) as client:
        for number in range(60):
            await client.say(frame(big, 2, 6250 * number))
        error = await client.hear("error", code="RATE_EXCEEDED")
        await client.say(frame(PHOTOGRAPH, at_ms=1000))
        await client.hear("result")
        assert error["recoverable"] is True
        script.resume.set()
        await client.say({"type": "close"})
        summary = await client.hear("session_summary")
    taken = sum(request.WhichOneof("message") == "audio" for request in script.asked)
    assert 0 < summary["frames_dropped"] == 60 - taken


async def test_a_changed_emotion_is_told_with_the_confidence_of_both(
    mesh: TemporaryMesh, tmp_path: Path
) -> None:
    def change(request: voice_pb2.StreamVoiceRequest) -> Iterator[voice_pb2.StreamVoiceResponse]:
        if request.WhichOneof("message") != "audio":
            return
        for label, confidence, at_ms in (("neutral", 0.75, 40), ("happiness", 0.82, 80)):
            emotion = types_pb2.Emotion(label=label, confidence=confidence)
            partial = voice_pb2.StreamVoicePartial(timestamp_ms=at_ms, emotion=emotion)
            yield voice_pb2.StreamVoiceResponse(partial=partial)
        event = types_pb2.StreamEvent(
            type=types_pb2.STREAM_EVENT_TYPE_EMOTION_CHANGE,
            timestamp_ms=80,
            previous_emotion="neutral",
            current_emotion="happiness",
            transition_duration_ms=450,
            trigger="gradual",
        )
        yield voice_pb2.StreamVoiceResponse(event=event)

    script = Script(change)
    settings = mesh.settings.model_copy(update={"data_dir": tmp_path})
    config = {"type": "config", "stream_id": "mood", "modalities": ["voice"]}
    async with (
        serving(script.add_voice) as address,
        stream_gateway(settings, Limits(), voice=address) as (url, _),
        talk(url, "/v1/stream", mesh.key, config, audio(0.1)) as client,
    ):
        event = await client.hear("event")
    assert event == {
        "type": "event",
        "event_type": "emotion_change",
        "stream_id": "mood",
        "timestamp": "2025-12-19T10:30:15.203Z",
        "previous_emotion": {"label": "neutral", "confidence": 0.75},
        "current_emotion": {"label": "happiness", "confidence": 0.82},
        "transition_duration_ms": 450,
        "trigger": "gradual",
    }
    changed = [result["emotions"]["change_detected"] for result in client.kinds("result")]
    assert changed == [False, True]


async def test_a_service_that_ends_the_stream_ends_it_with_its_own_error(
    mesh: TemporaryMesh, tmp_path: Path
) -> None:
    def refuse(request: Any) -> Iterator[voice_pb2.StreamVoiceResponse | None]:
        if request.WhichOneof("message") == "audio":
            error = types_pb2.StreamError(code="STREAM_LIMIT", message="Long enough.")
            yield voice_pb2.StreamVoiceResponse(error=error)
            yield None

    script = Script(refuse)
    settings = mesh.settings.model_copy(update={"data_dir": tmp_path})
    async with (
        serving(script.add_voice) as address,
        stream_gateway(settings, Limits(), voice=address) as (url, _),
        talk(url, VOICE, mesh.key, VOICE_CONFIG, bytes(3200)) as client,
    ):
        assert await client.closed() == 4429
    (error,) = client.kinds("error")
    assert (error["code"], error["recoverable"]) == ("STREAM_LIMIT", False)


async def _nothing(_server: grpc.aio.Server) -> None:
    """A service that does not have the method."""


@pytest.mark.parametrize(
    ("gone", "words"), [(True, "is not answering"), (False, "has no such method")]
)
async def test_a_voice_service_that_does_not_stream_leaves_the_faces(
    mesh: TemporaryMesh, tmp_path: Path, gone: bool, words: str
) -> None:
    settings = mesh.settings.model_copy(update={"data_dir": tmp_path})
    config = {"type": "config", "modalities": ["facial", "voice"]}
    async with (
        serving(_nothing) as other,
        stream_gateway(settings, Limits(), voice="127.0.0.1:9" if gone else other) as (url, _),
        talk(url, "/v1/stream", mesh.key, config) as client,
    ):
        error = await client.hear("error")
        await client.say(audio(0.1), frame(PHOTOGRAPH))
        assert (await client.hear("result"))["frame_number"] == 2
    assert (error["code"], error["modality"]) == ("SERVER_ERROR", "voice")
    assert error["recoverable"] is True
    assert words in error["message"]


async def test_a_stream_without_any_service_ends_saying_so(
    mesh: TemporaryMesh, tmp_path: Path
) -> None:
    settings = mesh.settings.model_copy(update={"data_dir": tmp_path})
    async with (
        stream_gateway(settings, Limits(), voice="127.0.0.1:9") as (url, _),
        talk(url, VOICE, mesh.key, VOICE_CONFIG) as client,
    ):
        error = await client.hear("error")
        assert await client.closed() == 1013
    assert (error["code"], error["recoverable"]) == ("SERVER_ERROR", False)


async def test_live_biosignals_are_the_contracts_messages(
    mesh: TemporaryMesh, tmp_path: Path
) -> None:
    script = Script(beat)
    settings = mesh.settings.model_copy(update={"data_dir": tmp_path})
    config = {"type": "config", "signals": {"ecg": {"sample_rate": 250, "unit": "mV"}}}
    samples = {"type": "samples", "signals": {"ecg": {"data": [0.1, 0.2]}}}
    async with (
        serving(script.add_biosignal) as address,
        stream_gateway(settings, Limits(), biosignal=address) as (url, _),
        talk(url, BIOSIGNAL, mesh.key, config, samples) as client,
    ):
        result = await client.hear("result")
        for bad in (b"\1\2", {"type": "samples"}, {"type": "samples", "signals": {"eeg": {}}}):
            await client.say(bad)
            error = await client.hear("error")
            assert error["recoverable"] is True
        assert "samples.eeg" in error["message"]
        await client.say({"type": "close"})
        assert await client.closed() == 1000
    assert result["heart_rate"]["mean_bpm"] == 61.5
    assert result["timestamp_ms"] == 1000
    assert script.asked[0].config.signals.ecg.sample_rate_hz == 250
    assert list(script.asked[1].samples.ecg.data) == [0.1, 0.2]
    assert script.asked[-1].action == types_pb2.STREAM_ACTION_CLOSE
