"""Jobs over REST, in the words of WIA."""

import json
from collections.abc import Iterator

import httpx
import pytest

from services.common.settings import SERVICES
from services.mesh.temporary import TemporaryMesh

HERE = ("billing", "jobs", "gateway")
NO_OP = {"kind": "no_op"}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A client of a mesh that has jobs and nothing to analyse."""
    elsewhere = {name: "127.0.0.1:1" for name in SERVICES if name not in HERE}
    with TemporaryMesh({"AFFECTMESH_ADDRESSES": json.dumps(elsewhere)}) as mesh:
        headers = {"X-WIA-API-Key": mesh.key}
        with httpx.Client(base_url=mesh.address, headers=headers, timeout=60) as client:
            yield client


def events(client: httpx.Client, job_id: str) -> list[tuple[str, dict[str, object]]]:
    """What a watcher is sent: name and data of each event."""
    found = []
    with client.stream("GET", f"/v1/jobs/{job_id}/watch") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for block in "".join(answer.iter_text()).split("\n\n"):
            if block.startswith("event: "):
                name, _, data = block.partition("\n")
                found.append((name.removeprefix("event: "), json.loads(data[len("data: ") :])))
    return found


def test_a_job_is_made_followed_and_deleted(client: httpx.Client) -> None:
    made = client.post("/v1/jobs", json={**NO_OP, "metadata": {"case": 7, "tags": ["a", 1.5]}})
    assert made.status_code == 201
    job = made.json()
    assert made.headers["location"] == f"/v1/jobs/{job['job_id']}"
    assert job["state"] == "queued"
    assert job["dialect"] == "wia"
    assert job["metadata"] == {"case": 7, "tags": ["a", 1.5]}
    assert "error" not in job
    seen = events(client, job["job_id"])
    assert {name for name, _ in seen} == {"job"}
    assert seen[-1][1]["state"] == "done"
    assert seen[-1][1]["charged_usd"] == "0.00"
    assert client.get(f"/v1/jobs/{job['job_id']}").json() == seen[-1][1]
    receipt = client.delete(f"/v1/jobs/{job['job_id']}")
    assert receipt.status_code == 200
    assert receipt.json()["receipt_id"].startswith("del_")
    for again in (client.delete, client.get):
        answer = again(f"/v1/jobs/{job['job_id']}")
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "NOT_FOUND"


def test_both_base_paths_list_in_pages(client: httpx.Client) -> None:
    made = [client.post("/emotion-ai/v1/jobs", json=NO_OP).json()["job_id"] for _ in range(3)]
    first = client.get("/emotion-ai/v1/jobs", params={"page_size": 2, "dialect": "wia"}).json()
    assert [job["job_id"] for job in first["jobs"]] == made[:0:-1]
    rest = client.get("/v1/jobs", params={"page_size": 2, "page_token": first["next_page_token"]})
    assert rest.json()["jobs"][0]["job_id"] == made[0]
    none = client.get("/v1/jobs", params={"states": "rejected,error", "skip": "0"}).json()
    assert none == {"jobs": [], "next_page_token": "", "total_size": 0}


def test_an_idempotency_key_may_be_a_header(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "order 17"}
    first, again = (client.post("/v1/jobs", json=NO_OP, headers=headers).json() for _ in range(2))
    assert first["job_id"] == again["job_id"]
    other = client.post("/v1/jobs", json={**NO_OP, "priority": 3}, headers=headers)
    assert other.status_code == 409
    assert other.json()["error"]["code"] == "CONFLICT"


def test_what_has_ended_cannot_be_cancelled(client: httpx.Client) -> None:
    job_id = client.post("/v1/jobs", json=NO_OP).json()["job_id"]
    events(client, job_id)
    refused = client.post(f"/v1/jobs/{job_id}/cancel")
    assert refused.status_code == 409
    assert refused.json()["error"]["details"]["state"] == "DONE"


def test_notes_are_made_and_listed(client: httpx.Client) -> None:
    job_id = client.post("/v1/jobs", json=NO_OP).json()["job_id"]
    note = {"entry": "result", "key": "quality", "value": "good", "source": "Company/Team"}
    made = client.post(f"/v1/jobs/{job_id}/annotations", json=note)
    assert made.status_code == 201
    assert made.json().items() >= note.items()
    assert client.get(f"/v1/jobs/{job_id}/annotations").json()["annotations"] == [made.json()]
    nothing = client.get(f"/v1/jobs/{job_id}/annotations", params={"entry": "input"}).json()
    assert nothing["annotations"] == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "kind"),
        ({"kind": "sing"}, "kind"),
        ({"kind": "voice"}, "input"),
        ({"kind": "voice", "input": {"media_id": "med_a", "url": "http://a.example"}}, "input"),
        ({"kind": "voice", "input": {"path": "/etc/passwd"}}, "input.path"),
        ({"kind": "no_op", "options": []}, "options"),
        ({"kind": "no_op", "options": {"loud": True}}, "options"),
        ({"kind": "no_op", "priority": 99}, "priority"),
        ({"kind": "no_op", "priority": "high"}, "priority"),
        ({"kind": "no_op", "callback_url": "mailto:a@example.com"}, "callback_url"),
        ({"kind": "no_op", "state": "done"}, "state"),
        ({"kind": "no_op", "dialect": "affectiva"}, "dialect"),
    ],
)
def test_a_wrong_body_names_its_field(
    client: httpx.Client, body: dict[str, object], field: str
) -> None:
    refused = client.post("/v1/jobs", json=body)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["code"] == "INVALID_REQUEST"
    assert error["details"]["field"] == field


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("?page_size=-1", "page_size"),
        ("?page_size=101", "page_size"),
        ("?page_token=none", "page_token"),
        ("?states=dancing", "states[0]"),
        ("?dialect=latin", "dialect"),
        ("?skip=many", "skip"),
    ],
)
def test_a_wrong_page_names_its_field(client: httpx.Client, path: str, field: str) -> None:
    refused = client.get("/v1/jobs" + path)
    assert refused.status_code == 400
    assert refused.json()["error"]["details"]["field"] == field


def test_what_is_not_there_is_not_found(client: httpx.Client) -> None:
    for method, path in (
        ("GET", "/v1/jobs/job_none"),
        ("GET", "/v1/jobs/job_none/watch"),
        ("GET", "/v1/jobs/job_none/annotations"),
        ("POST", "/v1/jobs/job_none/cancel"),
        ("DELETE", "/v1/jobs/job_none"),
    ):
        answer = client.request(method, path)
        assert answer.status_code == 404, path
        assert answer.json()["error"]["code"] == "NOT_FOUND"


def test_without_a_key_nothing_is_told(client: httpx.Client) -> None:
    assert client.get("/v1/jobs", headers={"X-WIA-API-Key": ""}).status_code == 401
