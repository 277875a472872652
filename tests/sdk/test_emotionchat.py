"""The Python client of EmoVision's API, with the running mesh."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

import emotionchat
from emotionchat import AsyncEmotionChat, EmotionChat, Recording
from services.mesh.temporary import TemporaryMesh
from tests.sdk.servers import Scripted


@pytest.fixture(scope="module")
def client(mesh: TemporaryMesh) -> Iterator[EmotionChat]:
    with EmotionChat(api_key=mesh.key, base_url=mesh.address) as client:
        yield client


@pytest.fixture
async def patient(mesh: TemporaryMesh) -> AsyncIterator[AsyncEmotionChat]:
    async with AsyncEmotionChat(api_key=mesh.key, base_url=mesh.address) as client:
        yield client


@pytest.fixture(scope="module")
def analysed(client: EmotionChat, video: Path) -> Recording:
    return client.analyze(str(video), metadata={"candidate": "John Doe"}, depth="basic")


def test_a_video_is_analysed(analysed: Recording) -> None:
    assert analysed.status == "completed"
    assert analysed.honesty_score == analysed.overall_honesty_score
    assert sum(analysed.emotion_breakdown.values()) == pytest.approx(1, abs=0.001)
    assert analysed.duration_minutes == pytest.approx(1 / 60, abs=0.01)
    assert analysed.raw["metadata"] == {"candidate": "John Doe"}


def test_recordings_are_listed_and_read(client: EmotionChat, analysed: Recording) -> None:
    page = client.recordings.list(per_page=100, status="completed")
    assert analysed.recording_id in [one.recording_id for one in page.recordings]
    assert page.total >= 1
    assert analysed.recording_id in [one.recording_id for one in client.recordings.all()]
    again = client.recordings.get(analysed.recording_id)
    assert again.emotion_breakdown == analysed.emotion_breakdown
    assert "timeline" in again.raw


def test_a_recording_is_exported(client: EmotionChat, analysed: Recording) -> None:
    exported = json.loads(client.recordings.export(analysed.recording_id))
    assert exported["format"] == "WIA-EMOTION-AI-v1.0"
    assert client.recordings.export(analysed.recording_id, "csv").count(b"\n") > 1
    assert b"<emotionml" in client.recordings.export(analysed.recording_id, "emotionml")


def test_the_usage_is_told(client: EmotionChat, analysed: Recording) -> None:
    usage = client.usage()
    assert usage.month == time.strftime("%Y-%m", time.gmtime())
    assert usage.rate_limit.limit > 0


async def test_a_video_is_analysed_later_and_deleted(
    patient: AsyncEmotionChat, video: Path
) -> None:
    content = await asyncio.to_thread(video.read_bytes)
    started = await patient.analyze(io.BytesIO(content), wait=False)
    done = await patient.recordings.wait(started.recording_id, timeout_s=120)
    assert done.status == "completed"
    ids = [one.recording_id async for one in patient.recordings.all("completed")]
    assert started.recording_id in ids
    receipt = await patient.recordings.delete(started.recording_id)
    assert receipt.sha256
    with pytest.raises(emotionchat.NotFound):
        await patient.recordings.get(started.recording_id)


async def test_webhooks_are_kept(patient: AsyncEmotionChat) -> None:
    heard: list[tuple[bytes, str, str]] = []

    async def hear(request: web.Request) -> web.Response:
        body = await request.read()
        headers = request.headers
        heard.append((body, headers["X-EmotionChat-Signature"], headers["X-AffectMesh-Signature"]))
        return web.Response()

    async with Scripted(hear) as receiver:
        made = await patient.webhooks.create(receiver.url, events=["analysis.completed"])
        assert made.secret
        assert made.webhook_id in [one.webhook_id for one in await patient.webhooks.list()]
        changed = await patient.webhooks.update(made.webhook_id, events=["usage.threshold"])
        assert changed.events == ["usage.threshold"]
        assert (await patient.webhooks.test(made.webhook_id)).event
        await receiver.heard(1)
        body, signature, timestamped = heard[0]
        assert emotionchat.verify_webhook(body, signature, made.secret)
        assert emotionchat.verify_webhook(body.decode(), signature, made.secret)
        assert not emotionchat.verify_webhook(body + b" ", signature, made.secret)
        assert not emotionchat.verify_webhook(body, signature, "another")
        assert emotionchat.verify_timestamped(body, timestamped, made.secret)
        late = time.time() + 3600
        assert not emotionchat.verify_timestamped(
            body, timestamped, made.secret, clock=lambda: late
        )
        assert not emotionchat.verify_timestamped(body, "nonsense", made.secret)
        sent = await patient.webhooks.deliveries(made.webhook_id)
        await patient.webhooks.redeliver(made.webhook_id, sent[0].delivery_id)
        await receiver.heard(2)
        assert (await patient.webhooks.rotate(made.webhook_id)).secret not in (None, made.secret)
        await patient.webhooks.delete(made.webhook_id)
        with pytest.raises(emotionchat.NotFound):
            await patient.webhooks.test(made.webhook_id)


def test_what_is_refused_is_an_error_of_its_kind(
    mesh: TemporaryMesh, client: EmotionChat, tmp_path: Path
) -> None:
    with pytest.raises(emotionchat.InvalidVideo) as caught:
        client.analyze(b"This is no video." * 100)
    assert caught.value.code == "INVALID_VIDEO_FORMAT"
    assert caught.value.details["supported_formats"] == ["mp4", "avi", "mov", "webm"]
    with pytest.raises(emotionchat.NotFound):
        client.recordings.get("rec_none")
    with pytest.raises(emotionchat.InvalidRequest):
        client.recordings.list(per_page=101)
    with (
        EmotionChat(api_key="ek_live_wrong", base_url=mesh.address) as stranger,
        pytest.raises(emotionchat.AuthenticationError),
    ):
        stranger.usage()
    with pytest.raises(FileNotFoundError):
        client.analyze(tmp_path / "none.mp4")
