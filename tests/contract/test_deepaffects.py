"""Every request that the DeepAffects document shows, and the shape of every answer."""

import base64
import io
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from services.mesh.temporary import TemporaryMesh
from tests.contract.receiving import Receiver, receiving
from tests.contract.tenants import tenant

SPEECH = Path(__file__).parents[2] / "samples" / "voice" / "austen-0870.flac"
SYNC = "/audio/generic/api/v2/sync/recognise_emotion"
ASYNC = "/audio/generic/api/v2/async/recognise_emotion"
WORDS = {"anger", "excited", "frustration", "happy", "sad", "neutral"}


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


CONTENT = base64_of(SPEECH.read_bytes())
SHELL = {"content": CONTENT, "sampleRate": 8000, "encoding": "FLAC", "languageCode": "en-US"}
PYTHON = {"encoding": "Wave", "languageCode": "en-US", "content": CONTENT}


def recording(seconds: float, kind: str = "WAV", **options: Any) -> bytes:
    """Speech, again and again."""
    samples, rate = soundfile.read(SPEECH, dtype="float32")
    count = round(seconds * rate)
    buffer = io.BytesIO()
    repeated = np.tile(samples, -(-count // samples.size))[:count]
    soundfile.write(buffer, repeated, rate, format=kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
async def stranger(mesh: TemporaryMesh) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose only credential is what it puts in the query."""
    async with httpx.AsyncClient(base_url=mesh.address, timeout=120) as client:
        yield client


@pytest.fixture(scope="module")
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def check_segments(found: Any) -> None:
    assert found
    for one in found:
        assert set(one) == {"emotion", "start", "end"}
        assert one["emotion"] in WORDS
        assert isinstance(one["start"], float)
        assert isinstance(one["end"], float)
        assert one["start"] < one["end"]


@pytest.mark.parametrize("body", [SHELL, PYTHON])
async def test_sync_as_the_document_shows_it(
    stranger: httpx.AsyncClient, mesh: TemporaryMesh, body: dict[str, Any]
) -> None:
    response = await stranger.post(SYNC, params={"apikey": mesh.key}, json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert int(response.headers["x-ratelimit-limit"]) > 0
    check_segments(response.json())
    assert [(one["start"], one["end"]) for one in response.json()] == [
        (0.0, 3.0),
        (3.0, 6.0),
        (6.0, 7.1),
    ]


async def test_sync_reads_headerless_audio(
    stranger: httpx.AsyncClient, mesh: TemporaryMesh
) -> None:
    raw = recording(5, "RAW", subtype="PCM_16", endian="LITTLE")
    body = {"content": base64_of(raw), "encoding": "LINEAR16", "sampleRate": 16000}
    response = await stranger.post(SYNC, params={"apikey": mesh.key}, json=body)
    assert response.status_code == 200, response.text
    check_segments(response.json())
    whole = {"content": base64_of(recording(5))}
    again = await stranger.post(SYNC, params={"apikey": mesh.key}, json=whole)
    assert again.json() == response.json()


@pytest.mark.slow
async def test_sync_takes_a_minute_and_no_more(
    stranger: httpx.AsyncClient, mesh: TemporaryMesh
) -> None:
    for seconds, status in ((60, 200), (62, 413)):
        body = {"content": base64_of(recording(seconds, "FLAC"))}
        response = await stranger.post(SYNC, params={"apikey": mesh.key}, json=body)
        assert response.status_code == status, response.text
    assert response.json()["error"]["code"] == "PAYLOAD_TOO_LARGE"


async def usage(client: httpx.AsyncClient) -> float:
    lines = (await client.get("/v1/usage")).json()["items"]
    return sum(float(line["quantity"]) for line in lines if line["item"] == "audio.emotion")


async def test_the_key_in_the_query_is_logged_nowhere(
    stranger: httpx.AsyncClient, mesh: TemporaryMesh
) -> None:
    query = {"apikey": mesh.key, "webhook": "https://user:hush@example.com/?token=hush-hush"}
    await stranger.post(SYNC, params=query, json={})
    await stranger.post(ASYNC, params={**query, "apiKey": mesh.key}, json={})
    logs = "".join(path.read_text() for path in mesh.data_dir.glob("logs/*.log"))
    assert SYNC in logs
    assert mesh.key not in logs
    assert "hush" not in logs


BOTH = {"content": CONTENT, "url": "https://publicly-facing-url.flac"}
BAD: dict[str, tuple[Any, int, str, str]] = {
    "both": (BOTH, 400, "INVALID_REQUEST", "content"),
    "neither": ({"encoding": "FLAC"}, 400, "INVALID_REQUEST", "content"),
    "nulls": ({"content": None, "url": None}, 400, "INVALID_REQUEST", "content"),
    "no base64": ({"content": "%%%"}, 400, "INVALID_REQUEST", "content"),
    "empty": ({"content": "data:audio/wav;base64,"}, 400, "INVALID_REQUEST", "content"),
    "content is a number": ({"content": 5}, 400, "INVALID_REQUEST", "content"),
    "encoding is a number": (
        {"content": CONTENT, "encoding": 5},
        400,
        "INVALID_REQUEST",
        "encoding",
    ),
    "rate is a word": (
        {"content": CONTENT, "sampleRate": "8k"},
        400,
        "INVALID_REQUEST",
        "sampleRate",
    ),
    "rate is negative": (
        {"content": CONTENT, "sampleRate": -1},
        400,
        "INVALID_REQUEST",
        "sampleRate",
    ),
    "rate is true": (
        {"content": CONTENT, "sampleRate": True},
        400,
        "INVALID_REQUEST",
        "sampleRate",
    ),
    "language": (
        {"content": CONTENT, "languageCode": "klingon!"},
        400,
        "INVALID_REQUEST",
        "languageCode",
    ),
    "headerless without a rate": (
        {"content": base64_of(b"\1\0" * 9000), "encoding": "LINEAR16"},
        400,
        "INVALID_REQUEST",
        "sampleRate",
    ),
    "no audio": (
        {"content": base64_of(b"hello" * 99), "encoding": "FLAC"},
        415,
        "UNSUPPORTED_MEDIA",
        "",
    ),
    "truncated": (
        {"content": base64_of(SPEECH.read_bytes()[:60])},
        400,
        "INVALID_AUDIO",
        "",
    ),
    "a list": ([], 400, "INVALID_REQUEST", ""),
}


def check_refusal(response: httpx.Response, status: int, code: str, field: str = "") -> None:
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"request_id", "error"}
    assert body["request_id"] == response.headers["x-request-id"]
    error = body["error"]
    assert set(error) == {"code", "message", "details"}
    assert error["code"] == code, error
    assert error["message"]
    assert error["details"]["suggestion"]
    if field:
        assert error["details"]["field"] == field


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("path", [SYNC, ASYNC])
async def test_bad_audio_is_refused(
    stranger: httpx.AsyncClient, mesh: TemporaryMesh, path: str, name: str
) -> None:
    body, status, code, field = BAD[name]
    query = {"apikey": mesh.key, "webhook": "https://example.com/hook"}
    response = await stranger.post(path, params=query, json=body)
    check_refusal(response, status, code, field)


async def test_a_minute_is_billed_by_its_length_and_a_refusal_not_at_all(
    mesh: TemporaryMesh,
) -> None:
    organization = await tenant(mesh, "enterprise")
    async with await organization.client() as client:
        response = await client.post(SYNC, json=SHELL)
        assert response.status_code == 200
        for body, status, *_ in BAD.values():
            refused = await client.post(SYNC, json=body)
            assert refused.status_code == status
        assert await usage(client) == pytest.approx(7.1 / 60, abs=1e-5)


async def test_sync_takes_no_url(stranger: httpx.AsyncClient, mesh: TemporaryMesh) -> None:
    body = {"url": "https://publicly-facing-url.flac", "encoding": "FLAC"}
    response = await stranger.post(SYNC, params={"apikey": mesh.key}, json=body)
    check_refusal(response, 400, "INVALID_REQUEST", "url")


@pytest.mark.parametrize("path", [SYNC, ASYNC])
async def test_other_requests_are_refused_in_the_same_form(
    stranger: httpx.AsyncClient, mesh: TemporaryMesh, path: str
) -> None:
    query = {"apikey": mesh.key, "webhook": "https://example.com/hook"}
    check_refusal(await stranger.post(path, json=SHELL), 401, "UNAUTHORIZED")
    wrong = {"apikey": "sk_live_" + "0" * 32}
    check_refusal(await stranger.post(path, params=wrong, json=SHELL), 401, "UNAUTHORIZED")
    response = await stranger.get(path, params=query)
    check_refusal(response, 405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "POST"
    form = await stranger.post(path, params=query, data={"content": "x"})
    check_refusal(form, 415, "UNSUPPORTED_MEDIA")
    headers = {"content-type": "application/json"}
    broken = await stranger.post(path, params=query, content=b"{", headers=headers)
    check_refusal(broken, 400, "INVALID_REQUEST")


async def test_async_by_content_tells_the_webhook(
    stranger: httpx.AsyncClient, mesh: TemporaryMesh, receiver: Receiver
) -> None:
    given = str(uuid.uuid4())
    query = {"apikey": mesh.key, "webhook": f"{receiver.address}/content", "request_id": given}
    response = await stranger.post(ASYNC, params=query, json=SHELL)
    assert response.status_code == 200, response.text
    assert response.json() == {"request_id": given, "api": "recognise_emotion"}
    told = await receiver.next("/content")
    assert told.headers["content-type"] == "application/json"
    body = json.loads(told.body)
    assert set(body) == {"request_id", "response"}
    assert body["request_id"] == given
    check_segments(body["response"])
    sync = await stranger.post(SYNC, params={"apikey": mesh.key}, json=SHELL)
    assert body["response"] == sync.json()


async def test_async_by_url_makes_a_request_id(
    stranger: httpx.AsyncClient, mesh: TemporaryMesh, receiver: Receiver, files: str
) -> None:
    body = {
        "url": f"{files}/audio.wav",
        "encoding": "FLAC",
        "languageCode": "en-US",
        "sampleRate": 8000,
        "metrics": ["all"],
    }
    query = {"apikey": mesh.key, "webhook": f"{receiver.address}/url"}
    response = await stranger.post(ASYNC, params=query, json=body)
    assert response.status_code == 200, response.text
    given = response.json()["request_id"]
    assert str(uuid.UUID(given)) == given
    told = json.loads((await receiver.next("/url")).body)
    assert told["request_id"] == given
    check_segments(told["response"])


@pytest.mark.parametrize("seconds", [5, pytest.param(63, marks=pytest.mark.slow)])
async def test_async_reads_headerless_audio_of_any_length(
    stranger: httpx.AsyncClient, mesh: TemporaryMesh, receiver: Receiver, seconds: int
) -> None:
    raw = recording(seconds, "RAW", subtype="ULAW", endian="FILE")
    body = {"content": base64_of(raw), "encoding": "MULAW", "sampleRate": 16000}
    query = {"apikey": mesh.key, "webhook": f"{receiver.address}/raw"}
    response = await stranger.post(ASYNC, params=query, json=body)
    assert response.status_code == 200, response.text
    told = json.loads((await receiver.next("/raw")).body)
    check_segments(told["response"])
    assert told["response"][-1]["end"] == float(seconds)


async def test_async_tells_the_webhook_of_a_failure_and_bills_nothing(
    mesh: TemporaryMesh, receiver: Receiver, files: str
) -> None:
    organization = await tenant(mesh)
    async with await organization.client() as client:
        query = {"webhook": f"{receiver.address}/failure", "request_id": "mine"}
        response = await client.post(ASYNC, params=query, json={"url": f"{files}/no-face.png"})
        assert response.status_code == 200, response.text
        told = json.loads((await receiver.next("/failure")).body)
        assert set(told) == {"request_id", "error"}
        assert told["request_id"] == "mine"
        assert set(told["error"]) == {"code", "message"}
        [job] = (await client.get("/v1/jobs")).json()["jobs"]
        assert (job["state"], job["charged_usd"]) == ("error", "")
        assert await usage(client) == 0


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "webhook"),
        ({"webhook": ""}, "webhook"),
        ({"webhook": "ftp://example.com/"}, "webhook"),
        ({"webhook": "javascript:alert(1)"}, "webhook"),
        ({"webhook": "https://"}, "webhook"),
        ({"webhook": "https://[::1"}, "webhook"),
        ({"webhook": "https://user:password@example.com/"}, "webhook"),
        ({"webhook": "https://example.com/" + "x" * 2048}, "webhook"),
        ({"webhook": "https://example.com/", "request_id": "x" * 129}, "request_id"),
        ({"webhook": "https://example.com/", "request_id": "a\nb"}, "request_id"),
    ],
)
async def test_async_checks_its_query(
    stranger: httpx.AsyncClient, mesh: TemporaryMesh, query: dict[str, str], field: str
) -> None:
    response = await stranger.post(ASYNC, params={"apikey": mesh.key, **query}, json=SHELL)
    check_refusal(response, 400, "INVALID_REQUEST", field)


@pytest.mark.parametrize("url", ["ftp://example.com/a.flac", "file:///etc/passwd", "a.flac"])
async def test_async_takes_web_addresses_only(
    stranger: httpx.AsyncClient, mesh: TemporaryMesh, url: str
) -> None:
    query = {"apikey": mesh.key, "webhook": "https://example.com/hook"}
    response = await stranger.post(ASYNC, params=query, json={"url": url})
    check_refusal(response, 400, "INVALID_REQUEST", "url")
