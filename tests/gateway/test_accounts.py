"""Accounts over REST, as the EmoVision document shows them and beyond."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from affectmesh.v1 import billing_pb2 as pb
from tests.billing.installation import BOOTSTRAP, PASSWORD, Installation, installation
from tests.gateway.gateways import gateway


@pytest.fixture
async def billing(tmp_path: Path) -> AsyncIterator[Installation]:
    """A billing service on SQLite."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    async with installation(tmp_path, url, bootstrap_api_key=BOOTSTRAP) as running:
        yield running


@pytest.fixture
async def client(billing: Installation) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway without Redis."""
    async with gateway(billing.settings) as (client, _policy):
        yield client


async def sign_in(client: httpx.AsyncClient, email: str, password: str = PASSWORD) -> None:
    """Signs in; the client keeps the cookie."""
    answer = await client.post("/api/session", json={"email": email, "password": password})
    assert answer.status_code == 201, answer.text


async def add_user(billing: Installation, org_id: int, role: pb.Role.ValueType, email: str) -> str:
    """A user of the organisation; gives the id."""
    user = pb.User(org_id=org_id, email=email, role=role)
    made = await billing.call("CreateUser", pb.CreateUserRequest(user=user, password=PASSWORD))
    return str(made.user_id)


async def test_a_key_is_generated_as_the_document_shows(
    billing: Installation, client: httpx.AsyncClient
) -> None:
    organization = await billing.organization()
    owner = await billing.owner_of(organization)
    await sign_in(client, owner.email)
    answer = await client.post(
        "/api/keys/generate",
        json={
            "org_id": organization.org_id,
            "name": "Production API Key",
            "rate_limit_per_minute": 60,
        },
    )
    assert answer.status_code == 201
    body = answer.json()
    assert body["api_key"].startswith("ek_live_")
    assert body["rate_limit_per_minute"] == 60
    assert answer.headers["cache-control"] == "no-store"
    client.cookies.clear()
    used = await client.get("/api/v1/usage", headers={"Authorization": f"Bearer {body['api_key']}"})
    assert used.status_code == 200
    assert used.headers["x-ratelimit-limit"] == "60"


async def test_the_session_cookie_is_hard_to_steal(
    billing: Installation, client: httpx.AsyncClient
) -> None:
    owner = await billing.owner_of(await billing.organization())
    answer = await client.post("/api/session", json={"email": owner.email, "password": PASSWORD})
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Max-Age=43" in cookie
    assert "Secure" not in cookie
    secure = await client.post(
        "https://mesh.test/api/session", json={"email": owner.email, "password": PASSWORD}
    )
    assert "; Secure" in secure.headers["set-cookie"]
    assert "session_token" not in answer.text


@pytest.mark.parametrize(
    ("role", "status"),
    [(pb.ROLE_ANALYST, 403), (pb.ROLE_MANAGER, 201), (pb.ROLE_ADMIN, 201), (pb.ROLE_OWNER, 201)],
)
async def test_only_managers_and_above_generate_keys(
    billing: Installation, client: httpx.AsyncClient, role: pb.Role.ValueType, status: int
) -> None:
    org_id = (await billing.organization()).org_id
    await add_user(billing, org_id, role, "user@example.org")
    await sign_in(client, "user@example.org")
    answer = await client.post("/api/keys/generate", json={"org_id": org_id, "name": "k"})
    assert answer.status_code == status


async def test_an_api_key_cannot_generate_keys(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/api/keys/generate", json={"name": "k"}, headers={"X-API-Key": BOOTSTRAP}
    )
    assert answer.status_code == 403
    assert answer.json()["code"] == "FORBIDDEN"


async def test_a_key_for_another_organisation_is_refused(
    billing: Installation, client: httpx.AsyncClient
) -> None:
    mine, other = await billing.organization(), await billing.organization()
    await sign_in(client, (await billing.owner_of(mine)).email)
    answer = await client.post("/api/keys/generate", json={"org_id": other.org_id, "name": "k"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": 5},
        {"name": "k", "rate_limit_per_minute": "60"},
        {"name": "k", "rate_limit_per_minute": True},
        {"name": "k", "rate_limit_per_minute": 2**40},
        {"name": "k", "rate_limit_per_minute": -1},
        {"name": "k", "colour": "red"},
        {"name": "k", "scopes": ["emotion:own"]},
        {"name": "k", "scopes": [{}]},
        {"name": "k", "expires_at": "tomorrow"},
        [],
    ],
)
async def test_a_malformed_request_for_a_key_is_refused(
    billing: Installation, client: httpx.AsyncClient, body: object
) -> None:
    await sign_in(client, (await billing.owner_of(await billing.organization())).email)
    answer = await client.post("/api/keys/generate", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]


async def test_keys_are_listed_rotated_and_revoked(
    billing: Installation, client: httpx.AsyncClient
) -> None:
    await sign_in(client, (await billing.owner_of(await billing.organization())).email)
    made = (await client.post("/api/keys/generate", json={"name": "k"})).json()
    rotated = await client.post(f"/api/keys/{made['key_id']}/rotate", json={"overlap_s": 0})
    assert rotated.status_code == 201
    assert rotated.json()["api_key"] != made["api_key"]
    listed = (await client.get("/api/keys")).json()["keys"]
    assert {key["key_id"] for key in listed} == {made["key_id"], rotated.json()["key_id"]}
    assert all("api_key" not in key for key in listed)
    revoked = await client.delete(f"/api/keys/{rotated.json()['key_id']}")
    assert revoked.json()["revoked_at"]
    client.cookies.clear()
    for key in (made["api_key"], rotated.json()["api_key"]):
        refused = await client.get("/v1/usage", headers={"X-API-Key": key})
        assert refused.status_code == 401


async def test_signing_out_ends_the_session(
    billing: Installation, client: httpx.AsyncClient
) -> None:
    await sign_in(client, (await billing.owner_of(await billing.organization())).email)
    stolen = client.cookies["session_token"]
    assert (await client.get("/api/session")).json()["role"] == "owner"
    assert (await client.delete("/api/session")).status_code == 200
    client.cookies.clear()
    again = await client.post(
        "/api/keys/generate", json={"name": "k"}, headers={"Cookie": f"session_token={stolen}"}
    )
    assert again.status_code == 401


async def test_signing_in_never_takes_a_token_from_the_client(
    billing: Installation, client: httpx.AsyncClient
) -> None:
    email = (await billing.owner_of(await billing.organization())).email
    chosen = {"email": email, "password": PASSWORD}
    cookie = {"Cookie": "session_token=ses_chosen_by_an_attacker"}
    assert (await client.post("/api/session", json=chosen, headers=cookie)).status_code == 201
    first = client.cookies["session_token"]
    assert first != "ses_chosen_by_an_attacker"
    await sign_in(client, email)
    second = client.cookies["session_token"]
    assert second != first
    client.cookies.clear()
    kinds = {}
    for token in ("ses_chosen_by_an_attacker", first, second):
        answer = await client.get("/api/session", headers={"Cookie": f"session_token={token}"})
        kinds[token] = answer.status_code
    assert list(kinds.values()) == [401, 401, 200]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://mesh.test", "Sec-Fetch-Site": "same-origin"}, 201),
        ({}, 201),
    ],
)
async def test_another_site_cannot_use_the_session(
    billing: Installation, client: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    await sign_in(client, (await billing.owner_of(await billing.organization())).email)
    answer = await client.post("/api/keys/generate", json={"name": "k"}, headers=headers)
    assert answer.status_code == status


async def test_nobody_makes_a_user_above_himself(
    billing: Installation, client: httpx.AsyncClient
) -> None:
    organization = await billing.organization()
    owner = await billing.owner_of(organization)
    await add_user(billing, organization.org_id, pb.ROLE_ADMIN, "admin@example.org")
    await sign_in(client, "admin@example.org")
    new = {"email": "new@example.org", "password": PASSWORD, "role": "owner"}
    assert (await client.post("/api/users", json=new)).status_code == 403
    made = await client.post("/api/users", json={**new, "role": "manager"})
    assert made.status_code == 201
    raised = await client.patch(f"/api/users/{made.json()['user_id']}", json={"role": "owner"})
    assert raised.status_code == 403
    deposed = await client.patch(f"/api/users/{owner.user_id}", json={"enabled": False})
    assert deposed.status_code == 403
    listed = (await client.get("/api/users")).json()["users"]
    assert [user["role"] for user in listed] == ["admin", "manager", "owner"]


async def test_a_user_of_another_organisation_is_not_found(
    billing: Installation, client: httpx.AsyncClient
) -> None:
    mine, other = await billing.organization(), await billing.organization()
    stranger = await billing.owner_of(other)
    await sign_in(client, (await billing.owner_of(mine)).email)
    answer = await client.patch(f"/api/users/{stranger.user_id}", json={"enabled": False})
    assert answer.status_code == 404


async def token_of(client: httpx.AsyncClient, made: dict[str, str], **form: str) -> httpx.Response:
    """Asks for a token with the client's credentials in the form."""
    data = {
        "grant_type": "client_credentials",
        "client_id": made["client_id"],
        "client_secret": made["client_secret"],
        **form,
    }
    return await client.post("/oauth/token", data=data)


@pytest.fixture
async def oauth_client(billing: Installation, client: httpx.AsyncClient) -> dict[str, str]:
    """A client that may read and analyze."""
    await sign_in(client, (await billing.owner_of(await billing.organization())).email)
    answer = await client.post(
        "/api/clients", json={"name": "c", "scopes": ["emotion:read", "emotion:analyze"]}
    )
    assert answer.status_code == 201
    client.cookies.clear()
    made: dict[str, str] = answer.json()
    return made


async def test_a_token_grants_its_scopes_and_no_more(
    client: httpx.AsyncClient, oauth_client: dict[str, str]
) -> None:
    answer = await token_of(client, oauth_client, scope="emotion:read")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert (body["token_type"], body["expires_in"], body["scope"]) == (
        "Bearer",
        900,
        "emotion:read",
    )
    bearer = {"Authorization": f"Bearer {body['access_token']}"}
    assert (await client.get("/v1/usage", headers=bearer)).status_code == 200
    refused = await client.post("/work", headers=bearer)
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "FORBIDDEN"


async def test_a_client_may_use_http_basic(
    client: httpx.AsyncClient, oauth_client: dict[str, str]
) -> None:
    answer = await client.post(
        "/oauth/token",
        data={"grant_type": "client_credentials"},
        auth=(oauth_client["client_id"], oauth_client["client_secret"]),
    )
    assert answer.json()["scope"] == "emotion:read emotion:analyze"


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "cli_unknown"}, 401, "invalid_client"),
        ({"scope": "emotion:stream"}, 400, "invalid_scope"),
        ({"scope": "admin"}, 400, "invalid_scope"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
async def test_a_wrong_request_for_a_token_is_refused(
    client: httpx.AsyncClient,
    oauth_client: dict[str, str],
    form: dict[str, str],
    status: int,
    error: str,
) -> None:
    answer = await token_of(client, oauth_client, **form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


async def test_the_key_set_verifies_tokens_and_holds_no_secret(
    client: httpx.AsyncClient, oauth_client: dict[str, str]
) -> None:
    from joserfc import jwt
    from joserfc.jwk import KeySet

    token = (await token_of(client, oauth_client)).json()["access_token"]
    answer = await client.get("/.well-known/jwks.json")
    keys = answer.json()
    assert "d" not in keys["keys"][0]
    claims = jwt.decode(token, KeySet.import_key_set(keys), ["ES256"]).claims
    assert claims["sub"] == oauth_client["client_id"]


async def test_usage_and_invoice_show_what_was_done(
    billing: Installation, client: httpx.AsyncClient
) -> None:
    organization = await billing.organization()
    key = await billing.key(organization.org_id)
    headers = {"X-WIA-API-Key": key.secret}
    for _ in range(3):
        assert (await client.post("/work", headers=headers)).status_code == 200
    principal = key.key_id
    await billing.record(
        pb.UsageEntry(
            request_id="r1",
            org_id=organization.org_id,
            principal_id=principal,
            item="video.basic",
            quantity="487.5",
        )
    )
    emovision = (await client.get("/api/v1/usage", headers=headers)).json()
    assert emovision["total_analyses"] == 4
    assert emovision["total_minutes_analyzed"] == 487.5
    assert emovision["total_cost_usd"] == 121.88
    assert set(emovision["rate_limit"]) == {"limit", "remaining", "reset"}
    wia = (await client.get("/emotion-ai/v1/usage", headers=headers)).json()
    assert {line["item"]: line["count"] for line in wia["items"]} == {
        "analyze.text": 3,
        "video.basic": 1,
    }
    month = wia["month"]
    invoice = (await client.get(f"/v1/invoices/{month}", headers=headers)).json()
    assert (invoice["total_usd"], invoice["closed"]) == ("121.88", False)
    table = await client.get(f"/v1/invoices/{month}.csv", headers=headers)
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    rows = [line.split(",") for line in table.text.splitlines()]
    assert rows[0][2:] == ["item", "unit", "quantity", "unit_price_usd", "count", "total_usd"]
    assert rows[2][2:] == ["video.basic", "minute", "487.5", "0.25", "1", "121.88"]
    assert rows[-1][2:] == ["total", "", "", "", "", "121.88"]


@pytest.mark.parametrize("month", ["2025-13", "25-01", "2025-01-01", "x", "2025-1"])
async def test_an_invoice_of_no_month_is_refused(client: httpx.AsyncClient, month: str) -> None:
    answer = await client.get(f"/v1/invoices/{month}", headers={"X-API-Key": BOOTSTRAP})
    assert answer.status_code == 400


async def test_a_quote_is_the_later_price(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/quote",
        json={"item": "video.basic", "quantity": 5.25},
        headers={"X-API-Key": BOOTSTRAP},
    )
    assert answer.json()["total_usd"] == "1.31"
    assert answer.json()["unit"] == "minute"


@pytest.mark.parametrize("quantity", [-1, "nan", "1e99", "x", 1e300])
async def test_an_absurd_quote_is_refused(client: httpx.AsyncClient, quantity: object) -> None:
    answer = await client.post(
        "/v1/quote",
        json={"item": "video.basic", "quantity": quantity},
        headers={"X-API-Key": BOOTSTRAP},
    )
    assert answer.status_code == 400


async def test_prices_and_plans_need_no_key(client: httpx.AsyncClient) -> None:
    prices = (await client.get("/v1/prices")).json()["items"]
    assert {"item": "video.advanced", "unit": "minute", "unit_price_usd": "0.50"} in prices
    plans = {plan["name"]: plan for plan in (await client.get("/v1/plans")).json()["plans"]}
    assert (plans["free"]["requests_per_minute"], plans["free"]["requests_per_day"]) == (10, 100)
    assert (plans["premium"]["requests_per_minute"], plans["premium"]["burst"]) == (300, 500)


async def test_what_happens_is_in_the_audit_log(
    billing: Installation, client: httpx.AsyncClient
) -> None:
    owner = await billing.owner_of(await billing.organization())
    await sign_in(client, owner.email)
    made = (await client.post("/api/keys/generate", json={"name": "k"})).json()
    await client.delete(f"/api/keys/{made['key_id']}")
    entries = (await client.get("/api/audit")).json()["entries"]
    assert [(entry["action"], entry["actor"]) for entry in entries[:3]] == [
        ("key.revoked", owner.user_id),
        ("key.created", owner.user_id),
        ("session.created", owner.user_id),
    ]
    assert made["api_key"] not in str(entries)


async def test_too_many_wrong_passwords_pause_sign_in(
    billing: Installation, client: httpx.AsyncClient
) -> None:
    email = (await billing.owner_of(await billing.organization())).email
    wrong = {"email": email, "password": "not the password"}
    for _ in range(10):
        assert (await client.post("/api/session", json=wrong)).status_code == 401
    answer = await client.post("/api/session", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 900
    assert set(answer.json()) == {"error", "retry_after"}


async def test_basic_credentials_may_hold_the_key(client: httpx.AsyncClient) -> None:
    for pair in (f"{BOOTSTRAP}:", f"user:{BOOTSTRAP}"):
        basic = base64.b64encode(pair.encode()).decode()
        answer = await client.get("/v1/usage", headers={"Authorization": f"Basic {basic}"})
        assert answer.status_code == 200
