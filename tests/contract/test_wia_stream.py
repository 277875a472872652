"""The WIA streaming protocol on the running mesh, as chapter 6 of the standard words it."""

import asyncio
import json
import re
from datetime import datetime
from functools import partial

import httpx
import pytest
import soundfile
from websockets.asyncio.client import connect

from services.gateway.streaming.frames import VOICE
from services.mesh.temporary import TemporaryMesh
from tests.contract.conftest import SAMPLES
from tests.gateway.streams import (
    EPOCH_MS,
    FACELESS,
    FACIAL_CONFIG,
    PHOTOGRAPH,
    audio,
    both,
    frame,
    talk,
    until,
)

SPEECH = SAMPLES / "voice" / "austen-0870.flac"

CONFIG = {
    "type": "config",
    "stream_id": "stream_abc123",
    "modalities": ["facial"],
    "facial": {
        "frame_rate": 30,
        "resolution": "720p",
        "encoding": "jpeg",
        "return_action_units": True,
    },
    "output": {"rate": "per_frame", "include_dimensions": True, "include_raw_scores": False},
}


@pytest.mark.parametrize("path", ["/emotion-ai/v1/stream", "/v1/stream"])
async def test_every_message_of_a_facial_stream(mesh: TemporaryMesh, path: str) -> None:
    async with talk(mesh.address, path, mesh.key, CONFIG) as client:
        await client.say(frame(PHOTOGRAPH))
        result = await client.hear("result")
        detected = await client.hear("event")
        await client.say({"type": "ping"})
        pong = await client.hear("pong")
        await client.say(frame(PHOTOGRAPH, at_ms=500))
        second = await client.hear("result")
        await client.say({"type": "close"})
        summary = await client.hear("session_summary")
        assert await client.closed() == 1000

    assert list(result) == [
        *("type", "stream_id", "frame_number", "timestamp", "latency_ms"),
        *("emotions", "dimensions", "action_units", "face"),
    ]
    assert result["stream_id"] == "stream_abc123"
    assert result["frame_number"] == 1
    assert result["timestamp"] == "2025-12-19T10:30:15.123Z"
    assert result["latency_ms"] > 0
    primary = result["emotions"]["primary"]
    assert primary["label"] == "happiness"
    assert 0.5 < primary["confidence"] <= 1
    assert result["emotions"] == {"primary": primary, "change_detected": False}
    assert result["dimensions"].keys() == {"valence", "arousal"}
    units = {unit["au"]: unit["intensity"] for unit in result["action_units"]}
    assert units["AU12"] > 0.5
    assert result["face"]["detected"] is True
    assert re.fullmatch(r"face_\d{3}", result["face"]["tracking_id"])
    assert result["face"]["bbox"].keys() == {"x", "y", "width", "height"}

    assert detected == {
        "type": "event",
        "event_type": "face_detected",
        "stream_id": "stream_abc123",
        "timestamp": "2025-12-19T10:30:15.123Z",
        "tracking_id": result["face"]["tracking_id"],
    }
    assert pong["timestamp"].endswith("Z")
    assert (second["frame_number"], second["timestamp"]) == (2, "2025-12-19T10:30:15.623Z")
    assert summary == {
        "type": "session_summary",
        "stream_id": "stream_abc123",
        "duration_ms": 500,
        "frames_processed": 2,
        "frames_dropped": 0,
        "emotion_distribution": {"happiness": 1.0},
        "average_dimensions": summary["average_dimensions"],
        "events": {"emotion_changes": 0, "high_arousal_moments": 0},
    }
    assert summary["average_dimensions"]["valence"] > 0


async def test_what_was_not_asked_for_is_left_out(mesh: TemporaryMesh) -> None:
    async with talk(mesh.address, "/v1/stream", mesh.key, FACIAL_CONFIG) as client:
        await client.say(frame(PHOTOGRAPH))
        result = await client.hear("result")
    assert result.keys().isdisjoint({"dimensions", "action_units"})
    assert "all" not in result["emotions"]
    assert result["stream_id"].startswith("stream_")


async def test_raw_scores_are_the_whole_distribution(mesh: TemporaryMesh) -> None:
    config = {**FACIAL_CONFIG, "output": {"include_raw_scores": True}}
    async with talk(mesh.address, "/v1/stream", mesh.key, config) as client:
        await client.say(frame(PHOTOGRAPH))
        scores = (await client.hear("result"))["emotions"]["all"]
    assert len(scores) > 5
    assert sum(score["confidence"] for score in scores) == pytest.approx(1, abs=0.01)


async def faces_read(mesh: TemporaryMesh) -> int:
    """How many faces the face service has read so far, by its own metrics."""
    async with httpx.AsyncClient(timeout=60) as client:
        url = f"http://{mesh.settings.host}:{mesh.settings.metrics_port('face')}/metrics"
        page = (await client.get(url)).text
    return int(sum(map(float, re.findall(r"^affectmesh_results_total{.*} (\S+)$", page, re.M))))


@pytest.mark.parametrize(
    ("output", "numbers"),
    [
        ({"rate": "per_frame"}, [1, 2, 3, 4]),
        ({"rate": "per_second"}, [1, 4]),
        ({"rate": "on_change"}, [1]),
        ({"rate": "threshold", "threshold": 0.2}, [1, 2, 3, 4]),
        ({"rate": "threshold", "threshold": 1.0}, None),
    ],
)
async def test_the_output_rate_decides_which_results_come(
    mesh: TemporaryMesh, output: dict[str, object], numbers: list[int] | None
) -> None:
    config = {**FACIAL_CONFIG, "output": output}
    before = await faces_read(mesh)

    async def read(frames: int) -> bool:
        return await faces_read(mesh) == before + frames

    async with talk(mesh.address, "/v1/stream", mesh.key, config) as client:
        for number in range(4):
            await client.say(frame(PHOTOGRAPH, at_ms=400 * number))
            await until(partial(read, number + 1))
        await client.say({"type": "close"})
        summary = await client.hear("session_summary")
    assert summary["frames_processed"] == 4
    results = client.kinds("result")
    if numbers is None:
        assert all(result["emotions"]["primary"]["confidence"] == 1 for result in results)
    else:
        assert [result["frame_number"] for result in results] == numbers


async def test_a_missing_face_is_said_once_until_it_is_back(mesh: TemporaryMesh) -> None:
    async with talk(mesh.address, "/v1/stream", mesh.key, FACIAL_CONFIG) as client:
        for at_ms, image in ((0, FACELESS), (100, FACELESS), (200, PHOTOGRAPH), (300, FACELESS)):
            await client.say(frame(image, at_ms=at_ms))
            await client.hear("result")
        error = await client.hear("error")
        await client.say(frame(FACELESS, at_ms=1600))
        lost = await client.hear("event", event_type="face_lost")
    assert [message["frame_number"] for message in client.kinds("error")] == [1, 4]
    assert error == {
        "type": "error",
        "code": "FACE_NOT_DETECTED",
        "message": "No face detected in frame 4",
        "frame_number": 4,
        "recoverable": True,
    }
    assert client.kinds("result")[0]["face"] == {"detected": False}
    assert client.kinds("result")[0]["emotions"]["primary"] is None
    assert lost["timestamp"] == "2025-12-19T10:30:16.723Z"


async def test_paused_frames_are_numbered_but_not_analysed(mesh: TemporaryMesh) -> None:
    async with talk(mesh.address, "/v1/stream", mesh.key, FACIAL_CONFIG) as client:
        await client.say({"type": "pause"}, frame(PHOTOGRAPH), {"type": "resume"})
        await client.say(frame(PHOTOGRAPH, at_ms=40))
        assert (await client.hear("result"))["frame_number"] == 2
        await client.say({"type": "close"})
        assert (await client.hear("session_summary"))["frames_processed"] == 1


async def test_a_dropped_stream_goes_on_under_its_id(mesh: TemporaryMesh) -> None:
    config = {**FACIAL_CONFIG, "stream_id": "walk-1", "output": {"include_dimensions": True}}
    async with talk(mesh.address, "/v1/stream", mesh.key, config) as client:
        await client.say(frame(PHOTOGRAPH), frame(b"broken"))
        await client.hear("error", code="INVALID_FRAME")
        client.socket.transport.abort()
    resume = {"type": "resume", "stream_id": "walk-1", "last_frame_number": 1}
    async with asyncio.timeout(60):
        while True:
            async with talk(mesh.address, "/v1/stream", mesh.key, resume) as client:
                if "NOT_FOUND" in str(await client.socket.recv()):
                    continue
                await client.say(frame(PHOTOGRAPH, at_ms=5000))
                message = await client.hear("result")
                break
    assert message["frame_number"] == 3
    assert message["stream_id"] == "walk-1"
    assert "dimensions" in message


async def test_a_voice_goes_on_where_it_was_when_its_stream_is_resumed(
    mesh: TemporaryMesh,
) -> None:
    frames = [frame(one, VOICE, 100 * number) for number, one in enumerate(chunks(spoken()))]
    config = {"type": "config", "stream_id": "talk-1", "modalities": ["voice"]}
    middle = len(frames) // 2
    async with talk(mesh.address, "/v1/stream", mesh.key, config) as client:
        ready = await client.hear("ready")
        assert {one["model"] for one in ready["provenance"]} >= {"voice_emotion_open"}
        for one in frames[:middle]:
            await client.say(one)
            await asyncio.sleep(0.02)
        await client.hear("result")
        await client.running()
        client.socket.transport.abort()
    resume = {"type": "resume", "stream_id": "talk-1"}
    async with asyncio.timeout(60):
        while True:
            async with talk(mesh.address, "/v1/stream", mesh.key, resume) as client:
                if "NOT_FOUND" in str(await client.socket.recv()):
                    continue
                for one in frames[middle:]:
                    await client.say(one)
                    await asyncio.sleep(0.02)
                await client.say({"type": "close"})
                await client.closed()
                break
    (summary,) = client.kinds("session_summary")
    finals = [one for one in client.kinds("result") if one["voice"]["final"]]
    first = datetime.fromisoformat(finals[0]["voice"]["start"]).timestamp() * 1000 - EPOCH_MS
    assert -200 < first < 1500
    assert len(frames) - middle + 10 < summary["frames_processed"] <= len(frames)
    assert summary["duration_ms"] == 100 * (len(frames) - 1)


async def test_an_unknown_stream_cannot_be_resumed(mesh: TemporaryMesh) -> None:
    resume = {"type": "resume", "stream_id": "nobody", "last_frame_number": 1}
    async with talk(mesh.address, "/v1/stream", mesh.key, resume) as client:
        assert (await client.hear("error"))["code"] == "NOT_FOUND"
        assert await client.closed() == 4404


async def test_faces_and_voice_share_a_stream_and_its_clock(mesh: TemporaryMesh) -> None:
    config = {"type": "config", "modalities": ["facial", "voice"], "voice": {"sample_rate": 16000}}
    async with talk(mesh.address, "/v1/stream", mesh.key, config) as client:
        await client.say(audio(0.1), both(PHOTOGRAPH, bytes(3200), 100), frame(PHOTOGRAPH, 1, 200))
        while (await client.hear("result")).get("face") is None:
            pass
        assert client.heard[-1]["timestamp"] in (
            "2025-12-19T10:30:15.223Z",
            "2025-12-19T10:30:15.323Z",
        )
        await client.say({"type": "close"})
        summary = await client.hear("session_summary")
    assert summary["duration_ms"] == 200
    assert summary["frames_processed"] >= 1


VOICE_CONFIG = {
    "type": "config",
    "sample_rate": 16000,
    "encoding": "LINEAR16",
    "language": "en-US",
}


def spoken() -> bytes:
    """A sentence of the samples as 16 kHz LINEAR16."""
    samples, rate = soundfile.read(SPEECH, dtype="int16")
    assert rate == 16000
    return bytes(samples.tobytes())


def chunks(sound: bytes, ms: int = 100) -> list[bytes]:
    """The audio in pieces."""
    size = 32 * ms
    return [sound[start : start + size] for start in range(0, len(sound), size)]


@pytest.mark.parametrize(
    "path", ["/v1/analyze/voice/stream", "/emotion-ai/v1/analyze/voice/stream"]
)
async def test_live_audio_is_answered_as_the_document_shows(mesh: TemporaryMesh, path: str) -> None:
    async with talk(mesh.address, path, mesh.key, VOICE_CONFIG) as client:
        await client.say(*chunks(spoken()), {"type": "close"})
        summary = await client.hear("session_summary")
        assert await client.closed() == 1000
    partial, final = client.kinds("partial")[0], client.kinds("final")[0]
    assert partial.keys() == {"type", "timestamp_ms", "emotion"}
    assert final.keys() == {"type", "segment"}
    segment = final["segment"]
    assert segment.keys() == {"start_ms", "end_ms", "text", "emotion"}
    assert len(segment["text"].split()) > 3
    for emotion in (partial["emotion"], segment["emotion"]):
        assert emotion.keys() <= {"label", "confidence", "derived"}
        assert 0 < emotion["confidence"] <= 1
    assert 0 <= segment["start_ms"] < segment["end_ms"] <= summary["duration_ms"] + 100


async def test_voice_in_the_wia_stream_is_on_the_clients_clock(mesh: TemporaryMesh) -> None:
    config = {
        "type": "config",
        "modalities": ["facial", "voice"],
        "output": {"include_dimensions": True},
    }
    async with talk(mesh.address, "/v1/stream", mesh.key, config) as client:
        await client.say(frame(PHOTOGRAPH))
        for number, chunk in enumerate(chunks(spoken())):
            await client.say(frame(chunk, VOICE, 100 * number))
            await asyncio.sleep(0.02)
        await client.say({"type": "close"})
        summary = await client.hear("session_summary")
    assert {error["code"] for error in client.kinds("error")} <= {"RATE_EXCEEDED"}
    voiced = [result for result in client.kinds("result") if "voice" in result]
    times = [result["timestamp"] for result in voiced]
    assert "2025-12-19T10:30:15.123Z" < times[0] < times[-1] < "2025-12-19T10:30:45.123Z"
    assert voiced[0]["voice"] == {"final": False}
    assert any(result["voice"]["final"] for result in voiced)
    assert all(result["dimensions"].keys() >= {"valence", "arousal"} for result in voiced)
    assert {"speech_started", "face_detected"} <= {
        event["event_type"] for event in client.kinds("event")
    }
    assert summary["frames_processed"] > 1


async def test_a_dropped_session_of_live_audio_goes_on_under_its_id(mesh: TemporaryMesh) -> None:
    path, config = "/v1/analyze/voice/stream", {**VOICE_CONFIG, "stream_id": "call-7"}
    sound = chunks(spoken())
    half = len(sound) // 2
    async with talk(mesh.address, path, mesh.key, config) as client:
        await client.say(*sound[:half])
        await client.hear("partial")
        client.socket.transport.abort()
    async with talk(mesh.address, path, mesh.key, config) as client:
        await client.say(*sound[half:], {"type": "close"})
        summary = await client.hear("session_summary")
    assert summary["stream_id"] == "call-7"
    assert summary["duration_ms"] > 100 * (len(sound) - half) + 1000


async def test_live_biosignals_are_answered_once_a_second(mesh: TemporaryMesh) -> None:
    rest = json.loads((SAMPLES / "biosignal" / "rest.json").read_text())["signals"]["ecg"]
    rate, data = rest["sample_rate"], rest.pop("data")
    config = {"type": "config", "stream_id": "rest", "signals": {"ecg": rest}}
    path = "/v1/analyze/biosignal/stream"
    async with talk(mesh.address, path, mesh.key, config) as client:
        for start in range(0, 20 * rate, rate):
            part = {"ecg": {"data": data[start : start + rate]}}
            await client.say({"type": "samples", "signals": part})
        await client.say({"type": "close"})
        summary = await client.hear("session_summary")
        assert await client.closed() == 1000
    results = client.kinds("result")
    assert 40 < results[-1]["heart_rate"]["mean_bpm"] < 120
    assert results[-1]["stream_id"] == summary["stream_id"] == "rest"
    assert [result["timestamp_ms"] for result in results] == sorted(
        {result["timestamp_ms"] for result in results}
    )


async def test_frames_over_the_configured_rate_are_dropped_and_counted(
    mesh: TemporaryMesh,
) -> None:
    config = {**FACIAL_CONFIG, "facial": {"frame_rate": 1}}
    async with talk(mesh.address, "/v1/stream", mesh.key, config) as client:
        await client.say(*(frame(PHOTOGRAPH, at_ms=number) for number in range(20)))
        error = await client.hear("error", code="RATE_EXCEEDED")
        await client.hear("result")
        await client.say({"type": "close"})
        summary = await client.hear("session_summary")
    assert error["recoverable"] is True
    assert summary["frames_processed"] < 10
    assert summary["frames_processed"] + summary["frames_dropped"] == 20


async def test_a_token_in_the_address_is_a_credential(mesh: TemporaryMesh) -> None:
    url = mesh.address.replace("http", "ws", 1) + f"/v1/stream?token={mesh.key}"
    async with connect(url) as socket:
        assert socket.response is not None
        assert int(socket.response.headers["x-ratelimit-limit"]) > 0
        assert socket.response.headers["x-request-id"].startswith("req_")
    assert mesh.key not in mesh.log("gateway")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_plain_request_is_told_to_upgrade(client: httpx.AsyncClient, method: str) -> None:
    answer = await client.request(method, "/v1/analyze/voice/stream")
    assert answer.status_code == 400
    assert "WebSocket" in answer.json()["error"]["details"]["suggestion"]


async def test_a_stream_is_metered_by_the_minute(
    mesh: TemporaryMesh, client: httpx.AsyncClient
) -> None:
    async def streams() -> float:
        usage = (await client.get("/v1/usage")).json()
        return float(
            sum(float(item["quantity"]) for item in usage["items"] if item["item"] == "stream")
        )

    before = await streams()
    async with talk(mesh.address, "/v1/stream", mesh.key, FACIAL_CONFIG) as talking:
        await talking.running()
        await talking.say({"type": "close"})
        await talking.closed()

    async def metered() -> bool:
        return await streams() > before

    await until(metered)
