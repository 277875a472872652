"""The request that the Phonexia document describes, with every parameter, answer and error."""

import asyncio
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

from affectmesh.v1 import jobs_pb2 as pb
from services.common import errors
from services.common.resources import new_id
from services.gateway.dialects.phonexia import words
from services.gateway.dialects.phonexia.routes import STATES
from services.gateway.dialects.phonexia.task_ids import job_id, task_id
from services.mesh.temporary import TemporaryMesh
from tests.contract.following import followed
from tests.contract.tenants import tenant

SAMPLES = Path(__file__).parents[2] / "samples"
SPEECH = (SAMPLES / "voice" / "austen-0870.flac").read_bytes()
PHOTOGRAPH = (SAMPLES / "face" / "astronaut.jpg").read_bytes()
PATH = "/api/technology/emotion-recognition"


def sound(*channels: np.ndarray, kind: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack(channels, axis=1), 16_000, format=kind)
    return buffer.getvalue()


VOICE, _ = soundfile.read(io.BytesIO(SPEECH), dtype="float32")
SILENCE = np.zeros_like(VOICE)


@pytest.fixture(scope="module")
async def user(mesh: TemporaryMesh) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {mesh.key}"}
    async with httpx.AsyncClient(base_url=mesh.address, headers=headers, timeout=60) as client:
        yield client


async def start(
    user: httpx.AsyncClient, media: bytes = SPEECH, name: str = "speech", **query: Any
) -> httpx.Response:
    return await user.post(PATH, files={"file": (name, media)}, params=query)


async def finished(user: httpx.AsyncClient, response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 202, response.text
    return await followed(
        user,
        response.headers["location"],
        lambda now: now["task"]["state"] not in ("pending", "running"),
    )


async def channels(
    user: httpx.AsyncClient, media: bytes = SPEECH, **query: Any
) -> list[dict[str, Any]]:
    done = await finished(user, await start(user, media, **query))
    assert done["task"]["state"] == "done", done
    found: list[dict[str, Any]] = done["result"]["channels"]
    return found


async def test_a_task_is_started_and_polled(user: httpx.AsyncClient) -> None:
    response = await start(user)
    assert response.status_code == 202, response.text
    assert set(response.json()) == {"task"}
    task = response.json()["task"]
    assert set(task) == {"task_id", "state"}
    assert task["state"] == "pending"
    assert str(uuid.UUID(task["task_id"])) == task["task_id"]
    assert response.headers["location"] == f"{PATH}/{task['task_id']}"
    assert response.headers["x-location"] == response.headers["location"]
    assert int(response.headers["x-ratelimit-limit"]) > 0
    done = await finished(user, response)
    assert set(done) == {"task", "result"}
    assert done["task"] == {"task_id": task["task_id"], "state": "done"}
    [channel] = done["result"]["channels"]
    assert set(channel) == {"channel_number", "speech_length", "scores"}
    assert channel["channel_number"] == 0
    assert 5 < channel["speech_length"] < 7.2
    assert {"happy", "neutral", "sad", "angry"} <= {one["emotion"] for one in channel["scores"]}
    for score in channel["scores"]:
        assert set(score) == {"emotion", "probability"}
        assert 0 <= score["probability"] <= 1
    assert sum(one["probability"] for one in channel["scores"]) == pytest.approx(1, abs=0.01)


async def test_channels_are_split_by_default(user: httpx.AsyncClient) -> None:
    stereo = sound(SILENCE, VOICE)
    first, second = await channels(user, stereo)
    assert first == {"channel_number": 0, "speech_length": 0.0, "scores": []}
    assert second["channel_number"] == 1
    assert second["scores"]
    [only] = await channels(user, stereo, channels="1")
    assert only == second
    [mixed] = await channels(user, stereo, channel_mode="mix")
    assert mixed["channel_number"] == 0
    assert mixed["scores"]
    [all_of_it] = await channels(user, stereo, channel_mode="mix", channels="0,1")
    assert all_of_it == mixed


async def test_ranges_and_speech_are_bounded(user: httpx.AsyncClient) -> None:
    [whole] = await channels(user)
    [end] = await channels(user, range_from="3.5")
    [middle] = await channels(user, range_from=1, range_to=3)
    [little] = await channels(user, max_speech_length=1.5)
    assert 0 < end["speech_length"] < whole["speech_length"]
    assert 0 < middle["speech_length"] <= 2
    assert little["speech_length"] == 1.5
    [less] = await channels(user, range_from=1, range_to=3, max_speech_length=0.5)
    assert less["speech_length"] == 0.5
    [all_of_it] = await channels(user, max_speech_length=100_000)
    assert all_of_it == whole


async def test_ids_are_echoed_or_made(user: httpx.AsyncClient) -> None:
    sent = {"x-correlation-id": "a-b.c:1", "x-request-id": "mine-1"}
    response = await user.get(f"{PATH}/{uuid.uuid4()}", headers=sent)
    assert {name: response.headers[name] for name in sent} == sent
    response = await user.post(PATH, headers=sent)
    assert {name: response.headers[name] for name in sent} == sent
    for headers in ({}, {"x-correlation-id": "a b", "x-request-id": "x" * 65}):
        response = await user.post(PATH, headers=headers)
        assert str(uuid.UUID(response.headers["x-correlation-id"]))
        assert response.headers["x-request-id"] not in ("", "x" * 65)


def check_refusal(
    response: httpx.Response, status: int, kind: str, location: list[str] | None = None
) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    check_body(body, kind)
    if location is not None:
        assert body["detail"][0]["location"] == location
    assert response.headers["x-correlation-id"]
    assert response.headers["x-request-id"]
    return body


def check_body(body: dict[str, Any], kind: str) -> None:
    assert set(body) == {"type", "message", "detail"}
    assert body["type"] == kind
    assert body["message"]
    for detail in body["detail"]:
        assert set(detail) == {"location", "message", "type", "context"}
        assert all(isinstance(step, str | int) for step in detail["location"])
        assert detail["message"]
        assert detail["type"]
        assert isinstance(detail["context"], dict)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("channel_mode", "stereo"),
        ("channel_mode", "SPLIT"),
        ("channels", "a"),
        ("channels", "0, 1"),
        ("channels", "0,"),
        ("channels", "-1"),
        ("range_from", "-1"),
        ("range_from", "nan"),
        ("range_from", "inf"),
        ("range_from", "1_0"),
        ("range_from", ""),
        ("range_from", "1e9"),
        ("range_to", "0"),
        ("range_to", "soon"),
        ("max_speech_length", "0"),
        ("max_speech_length", "-3"),
    ],
)
async def test_a_wrong_parameter_is_named(user: httpx.AsyncClient, name: str, value: str) -> None:
    query: dict[str, Any] = {name: value}
    response = await start(user, **query)
    check_refusal(response, 422, "request.validation-error", ["query", name])


async def test_a_range_that_ends_before_it_starts_is_refused(user: httpx.AsyncClient) -> None:
    response = await start(user, range_from=3, range_to=2)
    check_refusal(response, 422, "request.validation-error", ["query", "range_to"])
    response = await user.post(f"{PATH}?channels=0&channels=1", files={"file": ("a.flac", SPEECH)})
    check_refusal(response, 422, "request.validation-error", ["query", "channels"])


async def test_a_body_that_is_no_form_is_invalid(user: httpx.AsyncClient) -> None:
    check_refusal(await user.post(PATH, json={}), 400, "request.invalid")
    check_refusal(await user.post(PATH), 400, "request.invalid")
    broken = {"content-type": "multipart/form-data; boundary=x"}
    check_refusal(
        await user.post(PATH, content=b"--x\r\nnonsense", headers=broken), 400, "request.invalid"
    )


@pytest.mark.parametrize(
    "files",
    [
        {"other": (None, "text")},
        {"file": (None, "text")},
        {"media": ("a.flac", SPEECH)},
        {"file": ("a.flac", b"nothing that is heard" * 99)},
        {"file": ("a.jpg", PHOTOGRAPH)},
        {"file": ("a.flac", SPEECH[:60])},
        {"file": ("a.wav", SPEECH, "audio/mpeg")},
    ],
)
async def test_a_form_without_media_is_refused(
    user: httpx.AsyncClient, files: dict[str, Any]
) -> None:
    response = await user.post(PATH, files=files)
    body = check_refusal(response, 422, "request.validation-error")
    assert body["detail"][0]["location"][0] == "body"


async def test_an_empty_file_is_refused(user: httpx.AsyncClient) -> None:
    response = await start(user, b"")
    check_refusal(response, 400, "request.invalid")


async def test_a_file_over_the_limit_is_refused(mesh: TemporaryMesh) -> None:
    size = 2 * 1024 * 1024 * 1024
    host, port = mesh.address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {mesh.key}\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {size}\r\n"
        'Connection: close\r\n\r\n--x\r\nContent-Disposition: form-data; name="file"; '
        'filename="a.wav"\r\n\r\n'.encode()
    )
    async with asyncio.timeout(60):
        head, _, content = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 413 ")
    body = json.loads(content)
    check_body(body, "request.size-limit-exceeded")
    assert body["message"] == "Request size limit exceeded."
    [detail] = body["detail"]
    assert detail["location"] == ["body", "file"]
    assert detail["type"] == "media.too-large"
    assert detail["context"]["file_size"] == size
    assert detail["context"]["max_file_size"] == 1024 * 1024 * 1024
    assert detail["context"]["size_unit"] == "bytes"


@pytest.mark.parametrize("key", ["", "sk_live_" + "0" * 32])
async def test_who_is_not_known_is_forbidden(mesh: TemporaryMesh, key: str) -> None:
    headers = {"x-api-key": key} if key else {}
    async with httpx.AsyncClient(base_url=mesh.address, headers=headers, timeout=60) as stranger:
        check_refusal(await start(stranger), 403, "request.forbidden")
        response = await stranger.get(f"{PATH}/{uuid.uuid4()}")
        check_refusal(response, 403, "request.forbidden")


async def test_what_is_not_there_is_not_found(
    user: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    other = (await client.post("/v1/jobs", json={"kind": "no_op"})).json()["job_id"]
    for task in (str(uuid.uuid4()), task_id(new_id("job")), task_id(other), "1", "a" * 200):
        response = await user.get(f"{PATH}/{task}")
        check_refusal(response, 404, "resource.not-found")


async def test_other_methods_are_invalid(user: httpx.AsyncClient) -> None:
    response = await user.get(PATH)
    check_refusal(response, 405, "method.invalid")
    assert response.headers["allow"] == "POST"
    response = await user.delete(f"{PATH}/{uuid.uuid4()}")
    check_refusal(response, 405, "method.invalid")


@pytest.mark.parametrize(
    ("media", "query", "kind"),
    [
        (sound(SILENCE), {}, "request.validation-error"),
        (SPEECH, {"channels": "3"}, "request.validation-error"),
        (SPEECH, {"range_from": 3600}, "request.validation-error"),
    ],
)
async def test_a_task_that_fails_says_why_and_is_not_billed(
    mesh: TemporaryMesh, media: bytes, query: dict[str, Any], kind: str
) -> None:
    organization = await tenant(mesh)
    async with await organization.client() as user:
        failed = await finished(user, await start(user, media, **query))
        assert failed["task"]["state"] == "failed"
        assert set(failed) == {"task", "error"}
        check_body(failed["error"], kind)
        for name in query:
            assert failed["error"]["detail"][0]["location"] == ["query", name]
        [job] = (await user.get("/v1/jobs")).json()["jobs"]
        assert (job["state"], job["charged_usd"]) == ("error", "")


async def test_a_path_in_a_file_name_does_no_harm(user: httpx.AsyncClient) -> None:
    done = await finished(user, await start(user, name="../../../etc/passwd"))
    assert done["task"]["state"] == "done"


def test_a_job_has_one_task_id() -> None:
    for _ in range(100):
        job = new_id("job")
        task = task_id(job)
        assert uuid.UUID(task).version == 8
        assert job_id(task) == job_id(task.upper()) == job
    assert {job_id(str(uuid.uuid4())) for _ in range(100)} == {""}
    assert job_id("") == job_id("../..") == ""


def test_every_state_has_a_word() -> None:
    assert set(STATES) == {state for state in pb.JobState.values() if state}
    assert set(STATES.values()) == {"pending", "running", "done", "failed", "rejected"}


TYPES = {
    "internal",
    "resource.not-found",
    "method.invalid",
    "request.conflict",
    "request.forbidden",
    "request.invalid",
    "request.validation-error",
    "request.rate-limit-exceeded",
    "request.size-limit-exceeded",
    "storage.capacity-exceeded",
}
"""The types of errors in the document."""


def every_error() -> list[errors.AffectMeshError]:
    found, waiting = [], [errors.AffectMeshError]
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        if hasattr(cls, "code") and cls.__module__ == errors.__name__:
            found.append(cls("What happened.", reason="Why.", suggestion="What to do."))
    return found


def test_every_error_has_a_type_of_the_document() -> None:
    dialect = words.Phonexia()
    for error in every_error():
        body = dict(dialect.error(error, "req_1"))
        assert body["type"] in TYPES
        check_body(body, body["type"])
    limited = errors.RateLimited("Rate limit exceeded", reason="1 per 5 second.", retry_after="5")
    assert dialect.status(limited) == 429
    assert dialect.error(limited, "") == {
        "type": "request.rate-limit-exceeded",
        "message": "Rate limit exceeded: 1 per 5 second.",
        "detail": [],
    }
    assert dialect.status(errors.StorageFull("Full.")) == 507
