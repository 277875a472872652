"""Every request that the EmoVision document shows, sent as it stands, and what comes back."""

import asyncio
import csv
import hashlib
import hmac
import io
import json
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from aiohttp import web

from affectmesh.v1 import billing_pb2
from services.common.labels import LABELS
from services.jobs.representations.emovision import WORDS
from services.mesh.temporary import TemporaryMesh
from tests.contract.emovision import (
    ANALYSIS,
    METADATA,
    RATE_HEADERS,
    USAGE,
    analyze,
    completed,
)
from tests.contract.following import until
from tests.contract.shapes import differences
from tests.contract.tenants import Tenant, billing, tenant
from tests.fusion.recordings import empty, film, portrait, speech
from tests.jobs.emotionml_rules import violations

SECONDS = 6
TIMES = ("created", "completed", "expires")


@pytest.fixture(scope="module")
def interview() -> bytes:
    """Somebody who smiles and speaks."""
    return film(SECONDS, portrait(320), speech("0880", gap_s=2.5))


@pytest.fixture(scope="module")
def glimpse() -> bytes:
    """A second of a face, without sound."""
    return film(1, portrait(320), frame_rate=5)


@pytest.fixture(scope="module")
async def pro(mesh: TemporaryMesh) -> Tenant:
    return await tenant(mesh)


@pytest.fixture(scope="module")
async def emovision(pro: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    async with await pro.client() as client:
        yield client


@pytest.fixture(scope="module")
async def analysed(emovision: httpx.AsyncClient, interview: bytes) -> httpx.Response:
    """The document's first request, answered."""
    return await analyze(emovision, interview, fields={"metadata": METADATA})


def check_rate(response: httpx.Response) -> None:
    limit, remaining, _reset = (int(response.headers[name]) for name in RATE_HEADERS)
    assert (limit, 0 <= remaining <= 100) == (60, True)  # pro: 60 a minute, burst 100


def check_analysis(found: dict[str, Any]) -> None:
    assert not differences(ANALYSIS, found)
    assert re.fullmatch("rec_[a-z0-9]{12,}", found["recording_id"])
    assert found["status"] == "completed"
    assert set(found["emotion_breakdown"]) <= set(WORDS.values())
    assert sum(found["emotion_breakdown"].values()) == pytest.approx(1, abs=0.001)
    if found["overall_honesty_score"] is not None:
        assert 0 <= found["overall_honesty_score"] <= 100


async def test_the_documents_request_is_answered_as_it_shows(analysed: httpx.Response) -> None:
    assert analysed.status_code == 200, analysed.text
    check_rate(analysed)
    found = analysed.json()
    check_analysis(found)
    assert found["duration_minutes"] == pytest.approx(SECONDS / 60, abs=0.01)
    assert found["overall_honesty_score"] is not None
    assert found["cost_usd"] == found["quoted_cost_usd"] == 0.03
    assert analysed.headers["x-quoted-cost-usd"] == "0.03"
    assert analysed.headers["location"] == f"/api/v1/recordings/{found['recording_id']}"


async def test_curl_as_in_the_document(
    mesh: TemporaryMesh, pro: Tenant, glimpse: bytes, tmp_path: Path
) -> None:
    (tmp_path / "interview.mp4").write_bytes(glimpse)
    command = [
        *("curl", "-sS", "-X", "POST", f"{mesh.address}/api/v1/analyze"),
        *("-H", f"Authorization: Bearer {await pro.key()}"),
        *("-F", "video=@interview.mp4", "-F", f"metadata={METADATA}"),
    ]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, capture_output=True, check=True
    )
    check_analysis(json.loads(done.stdout))


@pytest.mark.parametrize("kind", ["mp4", "avi", "mov", "webm"])
async def test_every_format_of_the_document_is_read(
    emovision: httpx.AsyncClient, kind: str
) -> None:
    video = film(1, portrait(320), kind=kind, frame_rate=5)
    response = await analyze(emovision, video, f"interview.{kind}")
    assert response.status_code == 200, response.text
    check_analysis(response.json())


async def test_advanced_depth_costs_its_own_price(
    emovision: httpx.AsyncClient, glimpse: bytes
) -> None:
    for depth, usd in (("basic", 0), ("advanced", 0.01)):
        fields = {"depth": depth, "language": "en"}
        found = (await analyze(emovision, glimpse, fields=fields)).json()
        check_analysis(found)
        assert (found["depth"], found["cost_usd"]) == (depth, usd)


async def test_recordings_are_listed_newest_first_by_page_and_status(
    mesh: TemporaryMesh, glimpse: bytes
) -> None:
    async with await (await tenant(mesh)).client() as client:
        made = [(await analyze(client, glimpse)).json() for _ in range(3)]
        ids = [one["recording_id"] for one in reversed(made)]
        response = await client.get("/api/v1/recordings?page=1&per_page=2")
        assert response.status_code == 200
        check_rate(response)
        first = response.json()
        assert [one["recording_id"] for one in first["recordings"]] == ids[:2]
        assert {name: first[name] for name in ("page", "per_page", "total", "total_pages")} == {
            "page": 1,
            "per_page": 2,
            "total": 3,
            "total_pages": 2,
        }
        for one in first["recordings"]:
            check_analysis(one)
            times = [datetime.fromisoformat(one[f"{name}_at"]) for name in TIMES]
            assert times == sorted(times)
            assert times[1] < times[2]
        second = (await client.get("/api/v1/recordings?page=2&per_page=2")).json()
        assert [one["recording_id"] for one in second["recordings"]] == ids[2:]
        assert (await client.get("/api/v1/recordings?page=3&per_page=2")).json()["recordings"] == []
        for status, count in {"completed": 3, "processing": 0, "failed": 0, "all": 3}.items():
            found = (await client.get(f"/api/v1/recordings?status={status}")).json()
            assert (found["total"], found["per_page"]) == (count, 20)


async def test_a_recording_has_all_that_was_measured(
    emovision: httpx.AsyncClient, analysed: httpx.Response, interview: bytes
) -> None:
    summary = analysed.json()
    response = await emovision.get(f"/api/v1/recordings/{summary['recording_id']}")
    assert response.status_code == 200
    check_rate(response)
    found = response.json()
    check_analysis(found)
    for name in ("overall_honesty_score", "emotion_breakdown", "duration_minutes", "cost_usd"):
        assert found[name] == summary[name]
    assert found["metadata"] == json.loads(METADATA)
    assert found["video"] == {
        "file_name": "interview.mp4",
        "content_type": "video/mp4",
        "size_bytes": len(interview),
        "sha256": hashlib.sha256(interview).hexdigest(),
    }
    assert found["timeline"][0]["timestamp_ms"] == 0
    assert all(set(one["emotions"]) <= set(WORDS.values()) for one in found["timeline"])
    assert "ill" in found["transcript"]["text"]
    assert found["transcript"]["language"].startswith("en")
    assert {"head_movement", "gaze_aversion"} & set(found["body_language"])
    assert found["face"]["face_count"] == 1
    assert "not lie detection" in found["honesty"]["interpretation"]
    assert {one["model"] for one in found["models"]} >= {"face_expression", "voice_encoder"}
    assert found["exports"] == ["json", "csv", "emotionml"]


async def exported(
    client: httpx.AsyncClient, analysed: httpx.Response, form: str = ""
) -> httpx.Response:
    path = f"/api/v1/recordings/{analysed.json()['recording_id']}/export"
    response = await client.get(path, params={"format": form} if form else {})
    assert response.status_code == 200
    check_rate(response)
    return response


async def test_an_export_is_wia_data_where_no_format_is_named(
    emovision: httpx.AsyncClient, analysed: httpx.Response
) -> None:
    response = await exported(emovision, analysed)
    assert response.headers["content-type"] == "application/json"
    document = response.json()
    assert document["format"] == "WIA-EMOTION-AI-v1.0"
    assert document["session_id"] == analysed.json()["recording_id"]
    assert document["modality"] == "multimodal"
    assert document["emotions"]["primary"]["label"] in LABELS
    assert set(document["modality_results"]) == {"facial", "voice", "text"}
    assert sum(document["modality_weights"].values()) == pytest.approx(1, abs=0.001)
    assert all(-1 <= one <= 1 for one in document["dimensions"].values())
    assert response.content == (await exported(emovision, analysed, "json")).content


async def test_an_export_as_csv_has_a_row_for_every_moment(
    emovision: httpx.AsyncClient, analysed: httpx.Response
) -> None:
    response = await exported(emovision, analysed, "csv")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"].endswith('.csv"')
    recording = await emovision.get(analysed.headers["location"])
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [int(row["start_ms"]) for row in rows] == [
        one["timestamp_ms"] for one in recording.json()["timeline"]
    ]
    assert any(row["modalities"] == "face text voice" for row in rows)


async def test_an_export_as_emotionml_keeps_its_rules(
    emovision: httpx.AsyncClient, analysed: httpx.Response
) -> None:
    response = await exported(emovision, analysed, "emotionml")
    assert response.headers["content-type"] == "application/emotionml+xml"
    assert not violations(response.content)
    assert analysed.json()["recording_id"].encode() in response.content


async def test_usage_counts_what_was_analysed(mesh: TemporaryMesh, glimpse: bytes) -> None:
    async with await (await tenant(mesh)).client() as client:
        made = (await analyze(client, glimpse)).json()

        async def counted() -> bool:
            return bool((await client.get("/api/v1/usage")).json()["total_analyses"])

        await until(counted)
        response = await client.get("/api/v1/usage")
        check_rate(response)
        found = response.json()
    assert not differences(USAGE, found)
    assert found["total_analyses"] == 1
    assert found["total_minutes_analyzed"] == pytest.approx(made["duration_minutes"], abs=0.0001)
    assert found["total_cost_usd"] == made["cost_usd"]


@pytest.mark.parametrize(
    ("minutes", "usd"), [("5.25", 1.31), ("487.5", 121.88)], ids=["analysis", "month"]
)
async def test_usage_costs_what_the_document_says(
    mesh: TemporaryMesh, minutes: str, usd: float
) -> None:
    org = await tenant(mesh)
    await spend(org, minutes)
    async with await org.client() as client:
        found = (await client.get("/api/v1/usage")).json()
    assert (found["total_minutes_analyzed"], found["total_cost_usd"]) == (float(minutes), usd)


async def test_a_deleted_recording_is_gone_with_all_of_it(
    emovision: httpx.AsyncClient, glimpse: bytes
) -> None:
    made = (await analyze(emovision, glimpse)).json()
    path = f"/api/v1/recordings/{made['recording_id']}"
    response = await emovision.delete(path)
    assert response.status_code == 200, response.text
    check_rate(response)
    found = response.json()
    assert (found["recording_id"], found["status"]) == (made["recording_id"], "deleted")
    assert hashlib.sha256(glimpse).hexdigest() in found["sha256"]
    assert len(found["sha256"]) > 5
    receipt = (await emovision.get(f"/v1/receipts/{found['receipt_id']}")).json()
    assert receipt["sha256"] == found["sha256"]
    for again in (
        await emovision.get(path),
        await emovision.get(f"{path}/export"),
        await emovision.delete(path),
    ):
        assert (again.status_code, again.json()["code"]) == (404, "NOT_FOUND")
    listed = (await emovision.get("/api/v1/recordings?per_page=100")).json()["recordings"]
    assert made["recording_id"] not in [one["recording_id"] for one in listed]


@pytest.mark.parametrize("prefer", ["respond-async", "wait=0", "respond-async, wait=0"])
async def test_who_prefers_not_to_wait_polls(
    emovision: httpx.AsyncClient, glimpse: bytes, prefer: str
) -> None:
    response = await analyze(emovision, glimpse, headers={"prefer": prefer})
    assert response.status_code == 202
    assert response.headers["preference-applied"] == prefer
    assert int(response.headers["retry-after"]) > 0
    early = response.json()
    assert not differences({**ANALYSIS, "key_moments": []}, early)
    assert (early["status"], early["cost_usd"]) == ("processing", None)
    assert early["quoted_cost_usd"] == pytest.approx(0.25 / 60, abs=0.01)
    found = await completed(emovision, early["recording_id"])
    check_analysis(found)
    assert response.headers["location"].endswith(found["recording_id"])


async def test_who_prefers_to_wait_is_answered_when_it_is_done(
    emovision: httpx.AsyncClient, glimpse: bytes
) -> None:
    response = await analyze(emovision, glimpse, headers={"prefer": "wait=60"})
    assert (response.status_code, response.headers["preference-applied"]) == (200, "wait=60")
    check_analysis(response.json())


async def test_an_analysis_goes_on_when_the_client_leaves(
    mesh: TemporaryMesh,
) -> None:
    async with await (await tenant(mesh)).client() as client:

        async def there() -> bool:
            return bool((await client.get("/api/v1/recordings")).json()["total"])

        asking = asyncio.create_task(analyze(client, film(3, portrait(320))))
        await until(there)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        (one,) = (await client.get("/api/v1/recordings")).json()["recordings"]
        check_analysis(await completed(client, one["recording_id"]))


async def test_the_same_idempotency_key_is_the_same_recording_and_billed_once(
    mesh: TemporaryMesh, glimpse: bytes
) -> None:
    async with await (await tenant(mesh)).client() as client:
        headers = {"idempotency-key": "interview-7"}
        first, second = [
            await analyze(client, glimpse, fields={"metadata": METADATA}, headers=headers)
            for _ in range(2)
        ]
        assert first.status_code == second.status_code == 200, second.text
        assert first.json() == second.json()
        other = await analyze(client, glimpse, headers=headers)
        assert (other.status_code, other.json()["code"]) == (409, "CONFLICT")
        assert (await client.get("/api/v1/recordings")).json()["total"] == 1


async def test_the_limits_of_a_tier_and_the_documents_429(mesh: TemporaryMesh) -> None:
    async with await (await tenant(mesh, "emovision_free")).client() as client:
        responses = [await client.get("/api/v1/recordings") for _ in range(40)]
    refused = [one for one in responses if one.status_code == 429]
    assert 30 <= len(responses) - len(refused) < 40
    assert responses[0].headers["x-ratelimit-limit"] == "20"
    for one in refused:
        assert one.json() == {
            "error": "Rate limit exceeded",
            "retry_after": int(one.headers["retry-after"]),
        }
        assert one.headers["x-ratelimit-remaining"] == "0"


@pytest.fixture(scope="module")
async def hook() -> AsyncIterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A receiver of webhooks, and what it has received."""
    received: list[tuple[dict[str, str], bytes]] = []

    async def receive(request: web.Request) -> web.Response:
        received.append(
            ({name.lower(): value for name, value in request.headers.items()}, await request.read())
        )
        return web.Response(text="OK")

    app = web.Application()
    app.router.add_post("/webhooks/emotionchat", receive)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}/webhooks/emotionchat", received
    await runner.cleanup()


async def test_webhooks_are_registered_told_changed_and_deleted(
    mesh: TemporaryMesh,
    glimpse: bytes,
    hook: tuple[str, list[tuple[dict[str, str], bytes]]],
) -> None:
    url, received = hook
    async with await (await tenant(mesh)).client() as client:
        made = await client.post("/api/v1/webhooks", json={"url": url})
        assert made.status_code == 201, made.text
        check_rate(made)
        webhook = made.json()
        assert webhook["events"] == ["analysis.completed", "analysis.failed", "usage.threshold"]
        secret = webhook.pop("secret")
        assert (await client.get("/api/v1/webhooks")).json()["webhooks"] == [webhook]

        analysis = (await analyze(client, glimpse)).json()

        async def told() -> bool:
            return bool(received)

        await until(told)
        headers, body = received[0]
        sample = {
            "event": "analysis.completed",
            "timestamp": "2025-01-15T10:30:00Z",
            "data": {
                "recording_id": "rec_a1b2c3d4e5f6",
                "overall_honesty_score": 78.5,
                "status": "completed",
                "cost_usd": 1.31,
            },
        }
        event = json.loads(body)
        assert not differences(sample, event)
        assert event["event"] == "analysis.completed"
        for name in sample["data"]:
            assert event["data"][name] == analysis[name]
        assert headers["x-emotionchat-signature"] == sign(secret, body)
        anew = json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()
        assert headers["x-emotionchat-signature"] == sign(secret, anew)

        path = f"/api/v1/webhooks/{webhook['webhook_id']}"
        (sent,) = (await client.get(f"{path}/deliveries")).json()["deliveries"]
        assert (sent["event"], sent["payload"]) == ("analysis.completed", body.decode())
        again = await client.post(f"{path}/deliveries/{sent['delivery_id']}/redeliver")
        assert (again.status_code, again.json()["payload"]) == (200, sent["payload"])
        tested = await client.post(f"{path}/test")
        assert tested.status_code == 200, tested.text
        rotated = (await client.post(f"{path}/rotate")).json()
        assert rotated["secret"] not in ("", secret)
        changed = await client.patch(path, json={"events": ["analysis.failed"], "enabled": False})
        assert (changed.json()["events"], changed.json()["enabled"]) == (["analysis.failed"], False)
        gone = await client.delete(path)
        assert (gone.status_code, gone.json()["status"]) == (200, "deleted")
        assert (await client.delete(path)).status_code == 404
        assert (await client.get("/api/v1/webhooks")).json()["webhooks"] == []


async def test_an_analysis_that_fails_is_told_of(
    mesh: TemporaryMesh, hook: tuple[str, list[tuple[dict[str, str], bytes]]]
) -> None:
    url, received = hook
    async with await (await tenant(mesh)).client() as client:
        body = {"url": url, "events": ["analysis.failed"]}
        assert (await client.post("/api/v1/webhooks", json=body)).status_code == 201
        refused = await analyze(client, film(1, empty, frame_rate=5))
        recording_id = refused.json()["details"]["recording_id"]

        def failures() -> list[Any]:
            events = [json.loads(body) for _, body in received]
            return [one["data"] for one in events if one["event"] == "analysis.failed"]

        async def told() -> bool:
            return bool(failures())

        await until(told)
        (data,) = failures()
    assert (data["recording_id"], data["status"]) == (recording_id, "failed")
    assert (data["code"], data["cost_usd"]) == ("INVALID_VIDEO", 0)


async def test_a_usage_threshold_is_told_of(
    mesh: TemporaryMesh, hook: tuple[str, list[tuple[dict[str, str], bytes]]]
) -> None:
    url, received = hook
    org = await tenant(mesh)
    thresholds = billing_pb2.UpdateOrganizationRequest(
        org_id=org.org_id, usage_thresholds_usd=["1"]
    )
    await billing(mesh, "UpdateOrganization", thresholds)
    async with await org.client() as client:
        body = {"url": url, "events": ["usage.threshold"]}
        assert (await client.post("/api/v1/webhooks", json=body)).status_code == 201
        await spend(org, "5.25")

        def crossings() -> list[Any]:
            events = [json.loads(body) for _, body in received]
            return [one["data"] for one in events if one["event"] == "usage.threshold"]

        async def told() -> bool:
            return bool(crossings())

        await until(told)
        month = (await client.get("/api/v1/usage")).json()["month"]
    assert crossings() == [{"month": month, "threshold_usd": 1, "total_cost_usd": 1.31}]


@pytest.mark.slow
async def test_an_answer_survives_the_death_of_the_job_service(mesh: TemporaryMesh) -> None:
    async with await (await tenant(mesh)).client() as client:

        async def there() -> bool:
            return bool((await client.get("/api/v1/recordings")).json()["total"])

        asking = asyncio.create_task(analyze(client, film(5, portrait(320))))
        await until(there)
        os.kill(mesh.pid("jobs"), signal.SIGKILL)
        response = await asking
        assert response.status_code == 200, response.text
        check_analysis(response.json())
        assert (await client.get("/api/v1/recordings")).json()["total"] == 1


async def spend(org: Tenant, minutes: str) -> None:
    """Enters minutes of video in the ledger, as the job service does."""
    entry = billing_pb2.UsageEntry(
        request_id=f"job_{uuid4().hex}",
        org_id=org.org_id,
        principal_id="key_contract",
        item="video.basic",
        quantity=minutes,
    )
    entry.time.GetCurrentTime()
    await billing(org.mesh, "RecordUsage", billing_pb2.RecordUsageRequest(entries=[entry]))


def sign(secret: str, payload: bytes) -> str:
    """The document's verification."""
    return hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()
