"""Media over REST, on a running mesh."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from services.mesh.temporary import TemporaryMesh
from tests.jobs import files


@pytest.fixture(scope="module")
async def client(mesh: TemporaryMesh) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"x-wia-api-key": mesh.key}
    async with httpx.AsyncClient(base_url=mesh.address, headers=headers, timeout=60) as client:
        yield client


FILM = files.padded(files.film(seconds=2), 300_000) + bytes(range(256))


@pytest.fixture(scope="module")
async def film(client: httpx.AsyncClient) -> dict[str, Any]:
    """An uploaded film with a name that is not ASCII."""
    form = {"file": ('Gespräch "1".mp4', FILM, "video/mp4")}
    answer = await client.post("/v1/media", files=form)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/media/{made['media_id']}"
    return made


async def test_a_form_keeps_its_file(client: httpx.AsyncClient, film: dict[str, Any]) -> None:
    assert film["content_type"] == "video/mp4"
    assert (film["size_bytes"], film["duration_ms"]) == (len(FILM), 2000)
    assert film["sha256"] == hashlib.sha256(FILM).hexdigest()
    described = await client.get(f"/emotion-ai/v1/media/{film['media_id']}")
    assert described.json() == film


async def test_a_body_may_be_the_file(client: httpx.AsyncClient) -> None:
    data = files.wav()
    parameters = {"file_name": "../a.wav", "sha256": hashlib.sha256(data).hexdigest()}
    headers = {"content-type": "audio/wav"}
    answer = await client.post("/v1/media", params=parameters, content=data, headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.json()["file_name"] == "a.wav"
    parameters["sha256"] = "0" * 64
    answer = await client.post("/v1/media", params=parameters, content=data, headers=headers)
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, "sha256")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"content": b""}, 400),
        ({"content": b"{}", "headers": {"content-type": "application/json"}}, 415),
        ({"content": files.wav(), "headers": {"content-type": "video/mp4"}}, 415),
        ({"files": {"file": ("a.wav", files.wav())}, "data": {"title": "x"}}, 400),
        ({"files": {"video": ("a.wav", files.wav())}}, 400),
        (
            {
                "content": b"--B--\r\n",
                "headers": {"content-type": "multipart/form-data; boundary=B"},
            },
            400,
        ),
        ({"content": b"--B--", "headers": {"content-type": "multipart/mixed; boundary=B"}}, 415),
    ],
)
async def test_an_upload_that_is_wrong_is_refused_in_the_words_of_wia(
    client: httpx.AsyncClient, request_: dict[str, Any], status: int
) -> None:
    answer = await client.post("/v1/media", **request_)
    assert answer.status_code == status, answer.text
    assert {"code", "message", "details"} == set(answer.json()["error"])


async def test_a_download_is_a_file_to_be_saved(
    client: httpx.AsyncClient, film: dict[str, Any]
) -> None:
    answer = await client.get(f"/v1/media/{film['media_id']}/content")
    assert (answer.status_code, answer.content) == (200, FILM)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-length"] == str(len(FILM))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"Gespr_ch _1_.mp4\"; filename*=UTF-8''Gespr%C3%A4ch%20_1_.mp4"
    )
    assert "sandbox" in answer.headers["content-security-policy"]
    head = await client.head(f"/v1/media/{film['media_id']}/content")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(FILM))


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=10-99", slice(10, 100)),
        ("bytes=-256", slice(-256, None)),
        ("bytes=300000-", slice(300_000, None)),
        ("bytes=262100-262200", slice(262_100, 262_201)),
        ("bytes=299990-999999999999", slice(299_990, None)),
        ("bytes=-999999999", slice(None)),
    ],
)
async def test_a_part_is_given_where_it_is_asked_for(
    client: httpx.AsyncClient, film: dict[str, Any], asked: str, part: slice
) -> None:
    path = f"/v1/media/{film['media_id']}/content"
    answer = await client.get(path, headers={"range": asked})
    start, stop, _ = part.indices(len(FILM))
    assert answer.status_code == 206
    assert answer.content == FILM[part]
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(FILM)}"


@pytest.mark.parametrize("asked", ["bytes=300256-", "bytes=5-4", "bytes=-0"])
async def test_a_part_that_is_not_there_is_refused(
    client: httpx.AsyncClient, film: dict[str, Any], asked: str
) -> None:
    path = f"/v1/media/{film['media_id']}/content"
    answer = await client.get(path, headers={"range": asked})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(FILM)}"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=-", "bytes=a-b"])
async def test_a_range_that_is_not_understood_gives_the_whole(
    client: httpx.AsyncClient, film: dict[str, Any], asked: str
) -> None:
    path = f"/v1/media/{film['media_id']}/content"
    answer = await client.get(path, headers={"range": asked})
    assert (answer.status_code, len(answer.content)) == (200, len(FILM))


async def test_what_a_client_has_is_not_sent_again(
    client: httpx.AsyncClient, film: dict[str, Any]
) -> None:
    path = f"/v1/media/{film['media_id']}/content"
    tag = (await client.head(path)).headers["etag"]
    same = await client.get(path, headers={"if-none-match": f'"x", {tag}'})
    assert (same.status_code, same.content) == (304, b"")
    fresh = await client.get(path, headers={"range": "bytes=0-1", "if-range": '"other"'})
    assert fresh.status_code == 200
    part = await client.get(path, headers={"range": "bytes=0-1", "if-range": tag})
    assert part.status_code == 206


async def test_a_deleted_file_is_gone_with_a_receipt(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/media", content=files.wav())
    path = f"/v1/media/{answer.json()['media_id']}"
    receipt = (await client.delete(path)).json()
    assert receipt["sha256"] == [answer.json()["sha256"]]
    assert (await client.get(f"/v1/receipts/{receipt['receipt_id']}")).status_code == 200
    for gone in (client.get(path), client.get(f"{path}/content"), client.delete(path)):
        refused = await gone
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "NOT_FOUND")


async def test_without_a_key_nothing_is_taken(mesh: TemporaryMesh) -> None:
    async with httpx.AsyncClient(base_url=mesh.address, timeout=60) as nobody:
        for answer in (
            await nobody.post("/v1/media", content=files.wav()),
            await nobody.get("/v1/media/med_x/content"),
            await nobody.get("/v1/webhooks"),
        ):
            assert answer.status_code == 401
