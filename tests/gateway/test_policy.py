"""Scopes, uses that the law prohibits, and limits as the client sees them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from affectmesh.v1 import billing_pb2 as pb
from tests.billing.installation import Installation, installation
from tests.gateway.gateways import Clock, gateway, redis_server


@pytest.fixture
async def billing(tmp_path: Path) -> AsyncIterator[Installation]:
    """A billing service on SQLite."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    async with installation(tmp_path, url) as running:
        yield running


@pytest.fixture
async def client(billing: Installation) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway without Redis."""
    async with gateway(billing.settings) as (client, _policy):
        yield client


async def test_every_answer_says_where_the_limit_stands(
    billing: Installation, client: httpx.AsyncClient
) -> None:
    key = await billing.key((await billing.organization()).org_id, rate_limit_per_minute=3)
    headers = {"X-API-Key": key.secret}
    answers = [await client.post("/work", headers=headers) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert {answer.headers["x-ratelimit-limit"] for answer in answers} == {"3"}
    assert all(int(answer.headers["x-ratelimit-reset"]) > 1_600_000_000 for answer in answers)
    assert 1 <= int(answers[3].headers["retry-after"]) <= 20
    assert answers[3].json()["error"]["code"] == "RATE_LIMITED"
    emovision = await client.get("/api/v1/usage", headers=headers)
    assert emovision.status_code == 429
    assert emovision.json()["error"] == "Rate limit exceeded"
    assert set(emovision.json()) == {"error", "retry_after"}


async def test_the_free_plan_ends_after_a_hundred_requests_a_day(
    billing: Installation, client: httpx.AsyncClient
) -> None:
    org_id = (await billing.organization(plan="free")).org_id
    accepted = 0
    for _ in range(11):
        key = await billing.key(org_id)
        for _ in range(10):
            answer = await client.post("/work", headers={"X-API-Key": key.secret})
            accepted += answer.is_success
    assert accepted == 100
    assert answer.status_code == 429
    assert answer.json()["error"]["message"] == "Daily quota exceeded"


async def test_a_scope_that_was_not_granted_is_refused(billing: Installation) -> None:
    org_id = (await billing.organization()).org_id
    key = await billing.key(org_id, scopes=["emotion:read"])
    async with gateway(billing.settings) as (client, _):
        refused = await client.post("/work", headers={"X-API-Key": key.secret})
        assert refused.status_code == 403
        assert "emotion:analyze" in refused.json()["error"]["message"]
        assert (await client.get("/v1/usage", headers={"X-API-Key": key.secret})).is_success
    assert "scope.refused" in await billing.audit_actions(org_id)


@pytest.mark.parametrize("jurisdiction", ["EU", "DE", "fr"])
@pytest.mark.parametrize("use_context", ["workplace", "education", "recruitment"])
async def test_a_prohibited_use_is_refused_naming_the_rule(
    billing: Installation, jurisdiction: str, use_context: str
) -> None:
    organization = await billing.organization(jurisdiction=jurisdiction, use_context=use_context)
    key = await billing.key(organization.org_id)
    headers = {"X-API-Key": key.secret}
    async with gateway(billing.settings) as (client, _):
        for _ in range(3):
            refused = await client.post("/work", headers=headers)
            assert refused.status_code == 403
            details = refused.json()["error"]["details"]
            assert details["rule"] == "EU AI Act, Article 5(1)(f)"
            assert details["use_context"] == use_context
        assert (await client.get("/v1/usage", headers=headers)).is_success
    actions = await billing.audit_actions(organization.org_id)
    assert actions.count("use.refused") == 1


@pytest.mark.parametrize(
    ("jurisdiction", "use_context"),
    [("US", "workplace"), ("EU", "research"), ("EU", "medical_or_safety"), ("EU", ""), ("", "")],
)
async def test_other_uses_are_admitted(
    billing: Installation, client: httpx.AsyncClient, jurisdiction: str, use_context: str
) -> None:
    organization = await billing.organization(jurisdiction=jurisdiction, use_context=use_context)
    key = await billing.key(organization.org_id)
    assert (await client.post("/work", headers={"X-API-Key": key.secret})).is_success


async def test_a_declaration_that_becomes_prohibited_counts_within_a_second(
    billing: Installation,
) -> None:
    org_id = (await billing.organization(jurisdiction="EU", use_context="research")).org_id
    key = await billing.key(org_id)
    headers = {"X-API-Key": key.secret}
    clock = Clock()
    async with gateway(billing.settings, clock) as (client, _):
        assert (await client.post("/work", headers=headers)).is_success
        change = pb.UpdateOrganizationRequest(org_id=org_id, use_context="workplace")
        await billing.call("UpdateOrganization", change)
        clock.now += 1
        assert (await client.post("/work", headers=headers)).status_code == 403


async def test_an_analyst_reads_and_does_not_analyze(
    billing: Installation, client: httpx.AsyncClient
) -> None:
    org_id = (await billing.organization()).org_id
    user = pb.User(org_id=org_id, email="analyst@example.org", role=pb.ROLE_ANALYST)
    password = "a long enough password"
    await billing.call("CreateUser", pb.CreateUserRequest(user=user, password=password))
    await client.post("/api/session", json={"email": user.email, "password": password})
    assert (await client.get("/v1/usage")).is_success
    assert (await client.post("/work")).status_code == 403


async def test_a_redis_killed_under_load_costs_no_request_and_bills_each_once(
    tmp_path: Path,
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    with redis_server() as redis:
        async with AsyncExitStack() as stack:
            billing = await stack.enter_async_context(
                installation(tmp_path, url, redis_url=redis.url)
            )
            org_id = (await billing.organization(plan="enterprise")).org_id
            key = await billing.key(org_id)
            clients = [
                (await stack.enter_async_context(gateway(billing.settings)))[0] for _ in range(2)
            ]
            statuses: list[int] = []
            stop = asyncio.Event()

            async def load(client: httpx.AsyncClient) -> None:
                while not stop.is_set():
                    answer = await client.post("/work", headers={"X-API-Key": key.secret})
                    statuses.append(answer.status_code)
                    await asyncio.sleep(0.01)

            loads = [asyncio.create_task(load(clients[i % 2])) for i in range(8)]
            await asyncio.sleep(0.6)
            redis.kill()
            await asyncio.sleep(0.6)
            redis.start()
            await asyncio.sleep(0.8)
            stop.set()
            await asyncio.gather(*loads)
            assert set(statuses) == {200}
            usage = await clients[0].get("/v1/usage", headers={"X-API-Key": key.secret})
            await clients[1].get("/v1/usage", headers={"X-API-Key": key.secret})
            usage = await clients[0].get("/v1/usage", headers={"X-API-Key": key.secret})
            assert usage.json()["total_requests"] == len(statuses)


async def test_without_redis_unknown_keys_are_still_checked_and_unreachable_billing_is_a_503(
    billing: Installation, client: httpx.AsyncClient
) -> None:
    gone = billing.settings.model_copy(update={"addresses": {"billing": "127.0.0.1:9"}})
    async with gateway(gone) as (lonely, _):
        answer = await lonely.post("/work", headers={"X-API-Key": "ek_live_" + "a" * 40})
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "SERVICE_UNAVAILABLE"
