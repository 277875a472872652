"""Webhooks over REST, on a running mesh."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from services.mesh.temporary import TemporaryMesh
from tests.jobs.media_service import until
from tests.jobs.receivers import Receiver, receiving


@pytest.fixture
async def client(mesh: TemporaryMesh) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"x-wia-api-key": mesh.key}
    async with httpx.AsyncClient(base_url=mesh.address, headers=headers, timeout=60) as client:
        yield client


async def test_a_webhook_from_its_registration_to_its_end(client: httpx.AsyncClient) -> None:
    async with receiving() as receiver:
        made = await client.post(
            "/v1/webhooks", json={"url": receiver.address, "events": ["job.completed"]}
        )
        assert made.status_code == 201, made.text
        assert made.headers["cache-control"] == "no-store"
        secret, path = made.json()["secret"], f"/v1/webhooks/{made.json()['webhook_id']}"
        job = await client.post("/v1/jobs", json={"kind": "no_op", "input": {"url": "https://a.b"}})
        assert job.status_code == 201, job.text
        await until(lambda: _is_told(receiver))
        (told,) = receiver.requests
        assert json.loads(told.body)["data"]["job_id"] == job.json()["job_id"]
        expected = hmac.new(secret.encode(), told.body, hashlib.sha256).hexdigest()
        assert told.headers["x-emotionchat-signature"] == expected

        rotated = await client.post(f"{path}/rotate")
        assert rotated.json()["secret"] not in ("", secret)
        tested = (await client.post(f"{path}/test")).json()
        assert (tested["event"], tested["delivered"]) == ("webhook.test", True)
        listed = (await client.get(f"{path}/deliveries?page_size=1")).json()
        assert [one["delivery_id"] for one in listed["deliveries"]] == [tested["delivery_id"]]
        token = listed["next_page_token"]
        older = (await client.get(f"{path}/deliveries?page_size=1&page_token={token}")).json()
        assert older["deliveries"][0]["payload"].encode() == told.body
        again = await client.post(f"{path}/deliveries/{tested['delivery_id']}/redeliver")
        assert again.status_code == 200

        changed = await client.patch(path, json={"enabled": False, "events": ["job.failed"]})
        assert (changed.json()["enabled"], changed.json()["events"]) == (False, ["job.failed"])
        assert (await client.post(f"{path}/test")).status_code == 409
        webhooks = (await client.get("/v1/webhooks")).json()["webhooks"]
        assert made.json()["webhook_id"] in [one["webhook_id"] for one in webhooks]
        assert all(one["secret"] == "" for one in webhooks)
        assert (await client.delete(path)).json()["deleted"] is True
        assert (await client.delete(path)).status_code == 404


async def _is_told(receiver: Receiver) -> bool:
    return bool(receiver.requests)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"events": ["job.completed"]}, "url"),
        ({"url": "https://a.b"}, "events"),
        ({"url": "https://a.b", "events": []}, "events"),
        ({"url": "https://a.b", "events": ["*"]}, "events"),
        ({"url": "gopher://a.b", "events": ["job.failed"]}, "url"),
        ({"url": "https://a.b", "events": ["job.failed"], "secret": "short"}, "secret"),
        ({"url": "https://a.b", "events": ["job.failed"], "color": "red"}, "color"),
    ],
)
async def test_a_wrong_webhook_is_refused(
    client: httpx.AsyncClient, body: dict[str, object], field: str
) -> None:
    answer = await client.post("/v1/webhooks", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["field"] == field
