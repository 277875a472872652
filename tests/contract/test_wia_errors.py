"""Bad input over REST: each a 4xx in the WIA envelope that says what to do, and life goes on."""

import base64
import io
import json
import math
import struct
import wave
import zlib
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

PIXEL = base64.b64encode(b"not an image at all").decode()


def png(width: int, height: int) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 150)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def bomb() -> str:
    """A PNG whose header claims 20,000 x 20,000 pixels."""
    data = bytearray(base64.b64decode(png(1, 1)))
    data[16:24] = struct.pack(">II", 20_000, 20_000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return base64.b64encode(bytes(data)).decode()


def wav(samples: np.ndarray, rate: int = 16_000) -> str:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return base64.b64encode(buffer.getvalue()).decode()


def ecg(**changes: Any) -> dict[str, Any]:
    signal = {"sample_rate": 256, "data": [0.1] * 256 * 30, "unit": "mV", **changes}
    return {"signals": {"ecg": signal}}


def weights(**given: float) -> dict[str, Any]:
    return {"modalities": {"text": {"text": "I am happy."}}, "fusion": {"weights": given}}


SILENCE = wav(np.zeros(32_000))
FACE, VIDEO, VOICE = "/v1/analyze/face", "/v1/analyze/face/video", "/v1/analyze/voice"
TEXT, BATCH, HEART = "/v1/analyze/text", "/v1/analyze/text/batch", "/v1/analyze/biosignal"
FUSION = "/v1/analyze/multimodal"

CASES: dict[str, tuple[str, Any, int, str]] = {
    "face: neither url nor base64": (FACE, {}, 400, "INVALID_REQUEST"),
    "face: both": (FACE, {"image_url": "https://a.b/c", "image_base64": PIXEL}, 400, "INVALID_R"),
    "face: not an image": (FACE, {"image_base64": PIXEL}, 400, "INVALID_IMAGE"),
    "face: truncated": (FACE, {"image_base64": png(640, 480)[:600]}, 400, "INVALID_IMAGE"),
    "face: bomb": (FACE, {"image_base64": bomb()}, 400, "INVALID_IMAGE"),
    "face: no face": (FACE, {"image_base64": png(320, 240)}, 400, "NO_FACE_DETECTED"),
    "face: unknown option": (FACE, {"options": {"zoom": 1}}, 400, "INVALID_REQUEST"),
    "face: max_faces 0": (
        FACE,
        {"image_base64": png(320, 240), "options": {"max_faces": 0}},
        400,
        "INVALID_REQUEST",
    ),
    "face: not a URL": (FACE, {"image_url": "face.jpg"}, 400, "FETCH_FAILED"),
    "face: file URL": (FACE, {"image_url": "file:///etc/passwd"}, 400, "FETCH_FAILED"),
    "video: neither": (VIDEO, {}, 400, "INVALID_REQUEST"),
    "video: not a video": (VIDEO, {"video_base64": PIXEL}, 400, "INVALID_VIDEO"),
    "video: end before start": (
        VIDEO,
        {"frames_base64": [png(99, 99)], "options": {"start_time_ms": 9, "end_time_ms": 5}},
        400,
        "INVALID_REQUEST",
    ),
    "voice: neither": (VOICE, {}, 400, "INVALID_REQUEST"),
    "voice: not audio": (VOICE, {"audio_base64": PIXEL}, 415, "UNSUPPORTED_MEDIA"),
    "voice: silence": (VOICE, {"audio_base64": SILENCE}, 400, "INVALID_AUDIO"),
    "voice: 20 ms": (VOICE, {"audio_base64": wav(np.zeros(320))}, 400, "INVALID_AUDIO"),
    "voice: segment_by": (
        VOICE,
        {"audio_base64": SILENCE, "options": {"segment_by": "page"}},
        400,
        "INVALID_REQUEST",
    ),
    "text: missing": (TEXT, {}, 400, "INVALID_TEXT"),
    "text: empty": (TEXT, {"text": " \n"}, 400, "INVALID_TEXT"),
    "text: 1 MB": (TEXT, {"text": "a " * 500_000}, 413, "PAYLOAD_TOO_LARGE"),
    "text: a number": (TEXT, {"text": 5}, 400, "INVALID_REQUEST"),
    "text: language": (TEXT, {"text": "Hi", "language": "klingon!"}, 400, "INVALID_"),
    "batch: empty": (BATCH, {"texts": []}, 400, "INVALID_"),
    "batch: same id": (
        BATCH,
        {"texts": [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}]},
        400,
        "INVALID_",
    ),
    "biosignal: nothing": (HEART, {}, 400, "INVALID_"),
    "biosignal: flat": (HEART, ecg(), 400, "INVALID_SIGNAL"),
    "biosignal: too short": (HEART, ecg(data=[0.1, 0.2, 0.3] * 50), 400, "INVALID_SIGNAL"),
    "biosignal: unit": (HEART, ecg(unit="furlong"), 400, "INVALID_SIGNAL"),
    "biosignal: rate": (HEART, ecg(sample_rate=-1), 400, "INVALID_SIGNAL"),
    "biosignal: no numbers": (HEART, ecg(data=["a"]), 400, "INVALID_REQUEST"),
    "biosignal: unknown signal": (HEART, {"signals": {"emg": {}}}, 400, "INVALID_REQUEST"),
    "fusion: nothing": (FUSION, {"modalities": {}}, 400, "INVALID_REQUEST"),
    "fusion: negative weight": (FUSION, weights(text=-1), 400, "INVALID_REQUEST"),
    "fusion: weights sum to 0": (FUSION, weights(text=0), 400, "INVALID_REQUEST"),
    "fusion: unknown modality": (FUSION, weights(smell=1), 400, "INVALID_REQUEST"),
    "fusion: method": (
        FUSION,
        {"modalities": {"text": {"text": "Hi"}}, "fusion": {"method": "magic"}},
        400,
        "INVALID_REQUEST",
    ),
}


def check_refusal(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    assert set(body) == {"error", "request_id"}
    assert body["request_id"] == response.headers["x-request-id"]
    error: dict[str, Any] = body["error"]
    assert set(error) == {"code", "message", "details"}
    assert error["code"].startswith(code), error
    assert error["message"]
    assert error["details"]["suggestion"]
    return error


@pytest.mark.parametrize("name", CASES)
async def test_bad_input_is_refused_and_the_next_request_works(
    client: httpx.AsyncClient, name: str
) -> None:
    path, body, status, code = CASES[name]
    check_refusal(await client.post(path, json=body), status, code)
    after = await client.post(TEXT, json={"text": "I am happy."})
    assert after.status_code == 200


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"", "application/json", 400, "INVALID_REQUEST"),
        (b"{", "application/json", 400, "INVALID_REQUEST"),
        (b"\xff\xfe", "application/json", 400, "INVALID_REQUEST"),
        (b'{"text": NaN}', "application/json", 400, "INVALID_REQUEST"),
        (b"[" * 100_000, "application/json", 400, "INVALID_REQUEST"),
        (b"[]", "application/json", 400, "INVALID_REQUEST"),
        (b"text=hi", "application/x-www-form-urlencoded", 415, "UNSUPPORTED_MEDIA"),
    ],
)
async def test_a_malformed_body_is_refused(
    client: httpx.AsyncClient, body: bytes, content_type: str, status: int, code: str
) -> None:
    headers = {"content-type": content_type}
    check_refusal(await client.post(TEXT, content=body, headers=headers), status, code)


async def test_numbers_that_are_not_finite_are_refused(client: httpx.AsyncClient) -> None:
    body = json.dumps(ecg(data=[math.nan] * 9000)).encode()
    headers = {"content-type": "application/json"}
    response = await client.post(HEART, content=body, headers=headers)
    check_refusal(response, 400, "INVALID_REQUEST")


async def test_a_body_over_the_limit_is_refused(client: httpx.AsyncClient) -> None:
    body = b'{"image_base64": "' + b"A" * (65 * 1024 * 1024) + b'"}'
    headers = {"content-type": "application/json"}
    response = await client.post(FACE, content=body, headers=headers)
    check_refusal(response, 413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(
    ("path", "code", "says"),
    [
        ("/missing", "FETCH_FAILED", "404"),
        ("/loop", "FETCH_FAILED", "redirects"),
        ("/endless", "PAYLOAD_TOO_LARGE", "larger"),
        ("/slow", "FETCH_FAILED", "within"),
        ("/empty", "", ""),
    ],
)
async def test_a_url_that_misbehaves_is_refused(
    client: httpx.AsyncClient, files: str, path: str, code: str, says: str
) -> None:
    response = await client.post(FACE, json={"image_url": files + path})
    status = 413 if code == "PAYLOAD_TOO_LARGE" else response.status_code
    assert 400 <= status < 500
    error = check_refusal(response, status, code)
    assert says in error["message"]


@pytest.mark.parametrize("key", [None, "", "sk_live_wrong", "x" * 10_000])
async def test_without_a_valid_key_nothing_is_answered(
    client: httpx.AsyncClient, key: str | None
) -> None:
    async with httpx.AsyncClient(base_url=client.base_url, timeout=60) as stranger:
        headers = {} if key is None else {"x-wia-api-key": key}
        response = await stranger.post(TEXT, json={"text": "Hi"}, headers=headers)
    check_refusal(response, 401, "UNAUTHORIZED")


async def test_unknown_paths_and_wrong_verbs_use_the_envelope(client: httpx.AsyncClient) -> None:
    check_refusal(await client.get("/v1/analyze/smell"), 404, "NOT_FOUND")
    response = await client.get(TEXT)
    check_refusal(response, 405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "POST"


async def test_a_request_id_of_the_client_is_kept_when_it_is_safe(
    client: httpx.AsyncClient,
) -> None:
    for sent, kept in (("my-id.1", True), ("bad id", False), ("x" * 65, False)):
        response = await client.post(TEXT, json={"text": "Hi."}, headers={"x-request-id": sent})
        assert (response.headers["x-request-id"] == sent) is kept
        assert response.json()["request_id"] == response.headers["x-request-id"]
