"""Scopes, limits, prohibited uses and others' resources, in the words of each dialect."""

import base64
import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from services.mesh.temporary import TemporaryMesh
from tests.contract import test_affectiva, test_deepaffects, test_phonexia
from tests.contract.following import followed
from tests.contract.tenants import tenant

SPEECH = (Path(__file__).parents[2] / "samples" / "voice" / "austen-0870.flac").read_bytes()
DEEPAFFECTS = "/audio/generic/api/v2"
WEBHOOK = {"webhook": "https://example.com/hook"}

Ask = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]
Check = Callable[[httpx.Response, int, str], None]


def _sync(client: httpx.AsyncClient) -> Awaitable[httpx.Response]:
    body = {"content": base64.b64encode(SPEECH).decode()}
    return client.post(f"{DEEPAFFECTS}/sync/recognise_emotion", json=body)


def _async(client: httpx.AsyncClient) -> Awaitable[httpx.Response]:
    body = {"url": "https://example.com/a.flac"}
    return client.post(f"{DEEPAFFECTS}/async/recognise_emotion", params=WEBHOOK, json=body)


def _affectiva(client: httpx.AsyncClient) -> Awaitable[httpx.Response]:
    name = (None, "no-op")
    files: dict[str, Any] = {"entry_job[input]": ("a", SPEECH), "entry_job[name]": name}
    return client.post("/jobs", files=files)


def _phonexia(client: httpx.AsyncClient) -> Awaitable[httpx.Response]:
    return client.post(test_phonexia.PATH, files={"file": ("a", SPEECH)})


def _check_affectiva(response: httpx.Response, status: int, code: str) -> None:
    test_affectiva.check_refusal(response, status)
    assert response.json()["code"] == code


def _check_phonexia(response: httpx.Response, status: int, code: str) -> None:
    kinds = {
        "FORBIDDEN": "request.forbidden",
        "RATE_LIMITED": "request.rate-limit-exceeded",
        "NOT_FOUND": "resource.not-found",
    }
    test_phonexia.check_refusal(response, status, kinds[code])


DIALECTS: dict[str, tuple[Ask, Check]] = {
    "deepaffects sync": (_sync, test_deepaffects.check_refusal),
    "deepaffects async": (_async, test_deepaffects.check_refusal),
    "affectiva": (_affectiva, _check_affectiva),
    "phonexia": (_phonexia, _check_phonexia),
}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_key_without_the_scope_is_refused(mesh: TemporaryMesh, dialect: str) -> None:
    ask, check = DIALECTS[dialect]
    organization = await tenant(mesh)
    async with await organization.client("emotion:read") as client:
        check(await ask(client), 403, "FORBIDDEN")


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_prohibited_use_is_refused(mesh: TemporaryMesh, dialect: str) -> None:
    ask, check = DIALECTS[dialect]
    organization = await tenant(mesh, use_context="workplace", jurisdiction="EU")
    async with await organization.client() as client:
        check(await ask(client), 403, "FORBIDDEN")


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_limit_of_the_plan_holds(mesh: TemporaryMesh, dialect: str) -> None:
    ask, check = DIALECTS[dialect]
    organization = await tenant(mesh, "free")
    async with await organization.client() as client:
        first = await client.get("/v1/usage")
        assert first.headers["x-ratelimit-limit"] == "10"
        response = first
        while response.status_code != 429:
            while (await client.get("/jobs")).status_code != 429:
                continue
            response = await ask(client)
        check(response, 429, "RATE_LIMITED")
        assert int(response.headers["retry-after"]) > 0
        assert response.headers["x-ratelimit-limit"] == "10"
        assert response.headers["x-ratelimit-remaining"] == "0"
        assert int(response.headers["x-ratelimit-reset"]) > 0


async def test_what_belongs_to_others_is_not_found(mesh: TemporaryMesh) -> None:
    owner, other = await tenant(mesh), await tenant(mesh)
    async with await owner.client() as client, await other.client() as stranger:
        job = (await _affectiva(client)).json()
        done = await followed(client, job["self"], lambda now: now["status"] == "done")
        [form] = done["input"]["representations"]
        for url in (
            done["self"],
            done["input"]["self"],
            done["result"]["self"],
            done["input"]["annotations"],
            form["self"],
            form["media"],
        ):
            assert (await client.get(url)).status_code == 200
            _check_affectiva(await stranger.get(url), 404, "NOT_FOUND")
        note = {"annotation": {"key": "a", "value": "b"}}
        refused = await stranger.post(done["input"]["annotations"], json=note)
        _check_affectiva(refused, 404, "NOT_FOUND")
        assert (await stranger.get("/jobs")).json() == []
        assert (await stranger.get("/entries")).json() == []
        task = (await _phonexia(client)).headers["location"]
        assert (await client.get(task)).status_code == 200
        _check_phonexia(await stranger.get(task), 404, "NOT_FOUND")


async def test_a_reader_reads_and_starts_nothing(mesh: TemporaryMesh) -> None:
    organization = await tenant(mesh)
    async with (
        await organization.client() as owner,
        await organization.client("emotion:read") as reader,
    ):
        job = (await _affectiva(owner)).json()
        assert (await reader.get(job["self"])).status_code == 200
        note = {"annotation": {"key": "a", "value": "b"}}
        entry = f"{job['self'].replace('/jobs/', '/entries/')}-input"
        refused = await reader.post(f"{entry}/annotations", json=note)
        _check_affectiva(refused, 403, "FORBIDDEN")


@pytest.mark.parametrize("dialect", ["deepaffects async", "affectiva", "phonexia"])
async def test_an_idempotency_key_makes_one_job(mesh: TemporaryMesh, dialect: str) -> None:
    ask, _ = DIALECTS[dialect]
    organization = await tenant(mesh)
    async with await organization.client() as client:
        client.headers["idempotency-key"] = "once"
        first, second = await ask(client), await ask(client)
        assert first.is_success
        assert first.headers.get("location") == second.headers.get("location")
        assert (await client.get("/v1/jobs")).json()["total_size"] == 1
        client.headers["idempotency-key"] = "x" * 256
        assert (await ask(client)).status_code in (400, 422)
        assert (await client.get("/v1/jobs")).json()["total_size"] == 1


async def test_what_plays_longer_than_the_plan_allows_is_too_large(mesh: TemporaryMesh) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(8000 * 301, np.int16), 8000, format="WAV")
    long = buffer.getvalue()
    organization = await tenant(mesh, "free")
    async with await organization.client() as client:
        response = await client.post(test_phonexia.PATH, files={"file": ("a.wav", long)})
        body = test_phonexia.check_refusal(
            response, 413, "request.size-limit-exceeded", ["body", "file"]
        )
        assert body["detail"][0]["type"] == "media.too-long"
        response = await client.post(
            f"{DEEPAFFECTS}/async/recognise_emotion",
            params=WEBHOOK,
            json={"content": base64.b64encode(long).decode()},
        )
        test_deepaffects.check_refusal(response, 413, "PAYLOAD_TOO_LARGE")
        assert (await client.get("/v1/jobs")).json()["total_size"] == 0
