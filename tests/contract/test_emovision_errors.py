"""Bad input to EmoVision: each in its own error form, with its codes, and nothing is billed."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import soundfile
from PIL import Image

from services.mesh.temporary import TemporaryMesh
from tests.contract.emovision import analyze, completed
from tests.contract.tenants import Tenant, tenant
from tests.fusion.recordings import empty, film, portrait

BOUNDARY = "f0rm"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(disposition: str, content: bytes) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


@pytest.fixture(scope="module")
async def org(mesh: TemporaryMesh) -> Tenant:
    return await tenant(mesh)


@pytest.fixture
async def client(org: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    async with await org.client() as client:
        yield client


@pytest.fixture(scope="module")
def face() -> bytes:
    """A second of a face; its index comes last."""
    return film(1, portrait(320), frame_rate=5)


def check(response: httpx.Response, status: int, code: str, field: str = "") -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    assert set(body) == {"error", "code", "details"}
    assert body["error"]
    assert body["code"] == code
    if field:
        assert body["details"]["field"] == field
    return body


async def check_untouched(client: httpx.AsyncClient) -> None:
    usage = (await client.get("/api/v1/usage")).json()
    assert (usage["total_analyses"], usage["total_cost_usd"]) == (0, 0)


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    return buffer.getvalue()


def wav() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(16_000), 16_000, format="WAV")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<html>not a video at all</html>" * 50, None),
        (b"\0" * 4096, "video/mp4"),
        (png(), None),
        (png(), "video/mp4"),
        (wav(), None),
    ],
    ids=["text", "zeros", "picture", "picture that lies", "sound"],
)
async def test_what_is_no_video_of_the_formats_is_unprocessable(
    client: httpx.AsyncClient, content: bytes, kind: str | None
) -> None:
    response = await analyze(client, content, "interview.mp4", kind)
    body = check(response, 422, "INVALID_VIDEO_FORMAT")
    assert body["details"]["supported_formats"] == ["mp4", "avi", "mov", "webm"]
    await check_untouched(client)


async def test_a_broken_video_is_unprocessable(client: httpx.AsyncClient, face: bytes) -> None:
    check(await analyze(client, face[: len(face) // 2]), 422, "INVALID_VIDEO")
    await check_untouched(client)


async def test_a_video_of_nobody_fails_and_costs_nothing(client: httpx.AsyncClient) -> None:
    body = check(await analyze(client, film(1, empty, frame_rate=5)), 422, "INVALID_VIDEO")
    recording_id = body["details"]["recording_id"]
    found = (await client.get(f"/api/v1/recordings/{recording_id}")).json()
    assert (found["status"], found["error"]["code"]) == ("failed", "INVALID_VIDEO")
    failed = (await client.get("/api/v1/recordings?status=failed")).json()["recordings"]
    assert recording_id in [one["recording_id"] for one in failed]
    export = await client.get(f"/api/v1/recordings/{recording_id}/export")
    check(export, 409, "CONFLICT")
    await check_untouched(client)


@pytest.mark.parametrize(
    ("body", "headers", "field"),
    [
        (b'{"video": "x"}', {"content-type": "application/json"}, ""),
        (b"", {}, ""),
        (b"x", {"content-type": "multipart/form-data"}, ""),
        (END, FORM, "video"),
        (part('name="metadata"', b"{}") + END, FORM, "video"),
        (part('name="video"', b"interview.mp4") + END, FORM, "video"),
        (2 * part('name="video"; filename="a.mp4"', b"a" * 600) + END, FORM, ""),
        (part('name="film"; filename="a.mp4"', b"a" * 600) + END, FORM, "film"),
        (part('name="video"; filename="a.mp4"', b"") + END, FORM, ""),
        (part('name="video"; filename="a.mp4"', b"a" * 600), FORM, ""),
        (part("", b"a"), FORM, ""),
        (b"--" + b"-" * 10_000, FORM, ""),
    ],
    ids=[
        "JSON",
        "nothing",
        "no boundary",
        "an empty form",
        "no video",
        "video is text",
        "two videos",
        "a file of another name",
        "an empty file",
        "broken off",
        "no name",
        "rubbish",
    ],
)
async def test_a_form_without_one_video_is_a_bad_request(
    client: httpx.AsyncClient, body: bytes, headers: dict[str, str], field: str
) -> None:
    response = await client.post("/api/v1/analyze", content=body, headers=headers)
    if response.status_code == 422:
        pytest.fail(response.text)
    check(response, 400, "INVALID_REQUEST", field)
    await check_untouched(client)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"metadata": "{"}, "metadata"),
        ({"metadata": "[]"}, "metadata"),
        ({"metadata": '"John Doe"'}, "metadata"),
        ({"metadata": '{"a": NaN}'}, "metadata"),
        ({"metadata": '{"a":' * 20 + "1" + "}" * 20}, "metadata"),
        ({"metadata": '{"a": "' + "x" * 17_000 + '"}'}, "metadata"),
        ({"depth": "deep"}, "depth"),
        ({"depth": "Advanced "}, "depth"),
        ({"language": "klingon!"}, "language"),
        ({"detail": "full"}, "detail"),
    ],
)
async def test_bad_fields_are_named(
    client: httpx.AsyncClient, face: bytes, fields: dict[str, str], field: str
) -> None:
    check(await analyze(client, face, fields=fields), 400, "INVALID_REQUEST", field)
    await check_untouched(client)


async def test_an_idempotency_key_that_cannot_be_kept_is_refused(
    client: httpx.AsyncClient, face: bytes
) -> None:
    response = await analyze(client, face, headers={"idempotency-key": "x" * 300})
    check(response, 400, "INVALID_REQUEST", "idempotency_key")


async def test_a_file_over_the_plan_is_too_large(mesh: TemporaryMesh) -> None:
    org = await tenant(mesh, "emovision_free")
    async with await org.client() as client:
        video = film(1, empty, frame_rate=5)
        large = video + bytes(16 * 1024 * 1024)
        body = check(await analyze(client, large), 413, "PAYLOAD_TOO_LARGE")
        assert body["details"]["limit"] == "16 MiB"
        larger = video + bytes(20 * 1024 * 1024)
        check(await analyze(client, larger), 413, "PAYLOAD_TOO_LARGE")
        long = film(5 * 60 + 20, empty, frame_rate=1)
        body = check(await analyze(client, long), 413, "PAYLOAD_TOO_LARGE")
        assert body["details"]["limit"] == "5 minutes"
        assert (await client.get("/api/v1/recordings")).json()["total"] == 0
        await check_untouched(client)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=one", "page"),
        ("page=99999999", "page"),
        ("page=", "page"),
        ("per_page=0", "per_page"),
        ("per_page=101", "per_page"),
        ("per_page=1e2", "per_page"),
        ("per_page=²", "per_page"),
        ("status=done", "status"),
        ("status=COMPLETED", "status"),
    ],
)
async def test_bad_parameters_of_the_list_are_named(
    client: httpx.AsyncClient, query: str, field: str
) -> None:
    check(await client.get(f"/api/v1/recordings?{query}"), 400, "INVALID_REQUEST", field)


async def test_ids_that_are_nobodys_are_not_found(client: httpx.AsyncClient) -> None:
    for recording_id in ("rec_a1b2c3d4e5f6", "job_a1b2c3d4e5f60718", "..%2F..", "rec_" + "x" * 500):
        path = f"/api/v1/recordings/{recording_id}"
        for response in (
            await client.get(path),
            await client.get(f"{path}/export"),
            await client.delete(path),
        ):
            check(response, 404, "NOT_FOUND")


async def test_what_belongs_to_others_is_not_found(
    mesh: TemporaryMesh, client: httpx.AsyncClient, face: bytes
) -> None:
    async with await (await tenant(mesh)).client() as other:
        made = await analyze(other, face)
        path = made.headers["location"]
        for response in (
            await client.get(path),
            await client.get(f"{path}/export"),
            await client.delete(path),
        ):
            check(response, 404, "NOT_FOUND")
        response = await other.get(f"{path}/export", params={"format": "pdf"})
        check(response, 400, "INVALID_REQUEST", "format")
        assert (await other.get(path)).status_code == 200
    await check_untouched(client)


async def test_what_is_processing_cannot_be_exported_and_can_be_deleted(
    mesh: TemporaryMesh, face: bytes
) -> None:
    async with await (await tenant(mesh)).client() as client:
        headers = {"prefer": "respond-async"}
        long = film(12, portrait(320))
        early = (await analyze(client, long, headers=headers)).json()
        path = f"/api/v1/recordings/{early['recording_id']}"
        body = check(await client.get(f"{path}/export"), 409, "CONFLICT")
        assert body["details"]["status"] == "processing"
        assert (await client.delete(path)).status_code == 200
        check(await client.get(path), 404, "NOT_FOUND")
        await check_untouched(client)


@pytest.mark.parametrize("key", ["", "ek_live_of_nobody_0123456789abcdef"])
async def test_without_a_valid_key_nothing_is_answered(
    client: httpx.AsyncClient, face: bytes, key: str
) -> None:
    async with httpx.AsyncClient(base_url=client.base_url, timeout=60) as stranger:
        if key:
            stranger.headers["authorization"] = f"Bearer {key}"
        for response in (
            await analyze(stranger, face),
            await stranger.get("/api/v1/recordings"),
            await stranger.get("/api/v1/usage"),
            await stranger.post("/api/v1/webhooks", json={"url": "https://example.org"}),
        ):
            check(response, 401, "UNAUTHORIZED")


async def test_a_key_that_may_only_read_changes_nothing(org: Tenant, face: bytes) -> None:
    async with await org.client("emotion:read") as reader:
        check(await analyze(reader, face), 403, "FORBIDDEN")
        check(await reader.delete("/api/v1/recordings/rec_a1b2c3d4e5f6"), 403, "FORBIDDEN")
        response = await reader.post("/api/v1/webhooks", json={"url": "https://example.org"})
        check(response, 403, "FORBIDDEN")
        assert (await reader.get("/api/v1/recordings")).status_code == 200


async def test_a_prohibited_use_may_still_read_and_delete(mesh: TemporaryMesh, face: bytes) -> None:
    org = await tenant(mesh, use_context="recruitment", jurisdiction="DE")
    async with await org.client() as client:
        check(await analyze(client, face), 403, "FORBIDDEN")
        assert (await client.get("/api/v1/recordings")).status_code == 200
        response = await client.delete("/api/v1/recordings/rec_a1b2c3d4e5f6")
        check(response, 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": 7}, "url"),
        ({"url": "ftp://example.org/"}, "url"),
        ({"url": "https://example.org/", "events": ["analysis.begun"]}, "events"),
        ({"url": "https://example.org/", "events": [7]}, "events"),
        ({"url": "https://example.org/", "colour": "red"}, "colour"),
    ],
)
async def test_bad_webhooks_are_refused(
    client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    response = await client.post("/api/v1/webhooks", json=body)
    check(response, 400, "INVALID_REQUEST", field)
    assert (await client.get("/api/v1/webhooks")).json()["webhooks"] == []


async def test_webhooks_that_are_nobodys_are_not_found(client: httpx.AsyncClient) -> None:
    path = "/api/v1/webhooks/whk_a1b2c3d4e5f60718"
    for response in (
        await client.delete(path),
        await client.patch(path, json={"enabled": False}),
        await client.post(f"{path}/test"),
        await client.post(f"{path}/rotate"),
        await client.get(f"{path}/deliveries"),
    ):
        check(response, 404, "NOT_FOUND")


async def test_a_webhook_that_is_no_json_is_a_bad_request(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "text/plain"}
    response = await client.post("/api/v1/webhooks", content=b"url=x", headers=headers)
    assert response.status_code == 400
    check(await client.post("/api/v1/webhooks", content=b"{"), 400, "INVALID_REQUEST")


async def test_unknown_paths_and_wrong_verbs_use_the_form(client: httpx.AsyncClient) -> None:
    check(await client.get("/api/v1/analyse"), 404, "NOT_FOUND")
    response = await client.get("/api/v1/analyze")
    check(response, 405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "POST"


async def test_nothing_is_kept_of_what_is_refused_or_sent_twice(
    mesh: TemporaryMesh, face: bytes
) -> None:
    org = await tenant(mesh)

    def kept() -> int:
        folder = mesh.data_dir / "media" / str(org.org_id)
        return sum(file.is_file() for file in folder.rglob("*"))

    async with await org.client() as client:
        for fields in ({"metadata": "{"}, {"depth": "deep"}, {"detail": "full"}):
            assert (await analyze(client, face, fields=fields)).status_code == 400
        assert (await analyze(client, wav())).status_code == 422
        assert kept() == 0
        headers = {"idempotency-key": "once"}
        assert (await analyze(client, face, headers=headers)).status_code == 200
        once = kept()
        assert once > 1
        assert (await analyze(client, face, headers=headers)).status_code == 200
        assert kept() == once
        (one,) = (await client.get("/api/v1/recordings")).json()["recordings"]
        await client.delete(f"/api/v1/recordings/{one['recording_id']}")
        assert kept() == 0


async def test_an_upload_that_breaks_off_leaves_nothing(mesh: TemporaryMesh, face: bytes) -> None:
    org = await tenant(mesh)
    address, key = urlsplit(mesh.address), await org.key()
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    whole = part('name="video"; filename="interview.mp4"', face) + END
    writer.write(
        f"POST /api/v1/analyze HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: {FORM['content-type']}\r\nContent-Length: {len(whole)}\r\n\r\n".encode()
    )
    writer.write(whole[:-1000])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    del reader
    async with await org.client() as client:
        assert (await client.get("/api/v1/recordings")).json()["total"] == 0
        made = await analyze(client, face)
        assert made.status_code == 200
        await completed(client, made.json()["recording_id"])
