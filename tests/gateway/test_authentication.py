"""Who is asking: every way to present a credential, and how fast a revocation is seen."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectmesh.v1 import billing_pb2 as pb
from services.common import errors
from services.gateway.authentication import Credential, State, credential_of
from services.gateway.policy import Policy
from tests.billing.installation import BOOTSTRAP, PASSWORD, Installation, installation
from tests.gateway.gateways import Clock, gateway, redis_server
from tests.gateway.streams import until

KEY = pb.CREDENTIAL_KIND_API_KEY
TOKEN = pb.CREDENTIAL_KIND_ACCESS_TOKEN
SESSION = pb.CREDENTIAL_KIND_SESSION
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"


@pytest.fixture
async def billing(tmp_path: Path) -> AsyncIterator[Installation]:
    """A billing service on SQLite, without Redis."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    async with installation(tmp_path, url, bootstrap_api_key=BOOTSTRAP) as running:
        yield running


def basic(pair: str) -> bytes:
    """The header of HTTP Basic."""
    return b"Basic " + base64.b64encode(pair.encode())


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ([(b"x-wia-api-key", b"sk_live_a")], b"", (KEY, "sk_live_a")),
        ([(b"x-api-key", b"ek_live_a")], b"", (KEY, "ek_live_a")),
        ([(b"authorization", b"Bearer ek_live_a")], b"", (KEY, "ek_live_a")),
        ([(b"authorization", b"bearer  ek_live_a ")], b"", (KEY, "ek_live_a")),
        ([(b"authorization", b"Bearer " + JWT.encode())], b"", (TOKEN, JWT)),
        ([(b"authorization", basic("ek_live_a:"))], b"", (KEY, "ek_live_a")),
        ([(b"authorization", basic("ek_live_a:x"))], b"", (KEY, "ek_live_a")),
        ([(b"authorization", basic("me:sk_live_b"))], b"", (KEY, "sk_live_b")),
        ([], b"apikey=ek_live_a", (KEY, "ek_live_a")),
        ([], b"token=" + JWT.encode(), (TOKEN, JWT)),
        ([], b"x=1&token=sk_live_a", (KEY, "sk_live_a")),
        ([(b"cookie", b"a=b; session_token=ses_1; c=d")], b"", (SESSION, "ses_1")),
        (
            [(b"cookie", b"session_token=ses_1"), (b"x-api-key", b"ek_live_a")],
            b"",
            (KEY, "ek_live_a"),
        ),
        ([(b"cookie", b"session_token=ses_1")], b"apikey=ek_live_a", (KEY, "ek_live_a")),
        ([(b"accept", b"*/*")], b"page=2", None),
    ],
)
def test_a_credential_is_found_wherever_it_is(
    headers: list[tuple[bytes, bytes]], query: bytes, expected: tuple[int, str] | None
) -> None:
    found = credential_of({"headers": headers, "query_string": query})
    assert (found and (found.kind, found.secret)) == expected


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"authorization", b"cookie", b"x-api-key", b"x-wia-api-key"]),
            st.binary(max_size=60),
        ),
        max_size=4,
    ),
    st.binary(max_size=60),
)
def test_no_header_breaks_the_search_for_a_credential(
    headers: list[tuple[bytes, bytes]], query: bytes
) -> None:
    try:
        found = credential_of({"headers": headers, "query_string": query})
    except errors.Unauthorized:
        return
    assert found is None or isinstance(found, Credential)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "short"},
        {"X-API-Key": "ek_live_" + "A" * 40},
        {"X-API-Key": "A" * 5000},
        {"X-API-Key": b"\xff\xfe" * 20},
        {"Authorization": "Digest abc"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {JWT}"},
        {"Cookie": "session_token=ses_unknown_token"},
    ],
)
async def test_an_invalid_credential_is_refused(
    billing: Installation, headers: dict[str, str | bytes]
) -> None:
    async with gateway(billing.settings) as (client, _):
        for _ in range(2):
            answer = await client.post("/work", headers=headers)  # type: ignore[arg-type]
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "UNAUTHORIZED"
            assert "www-authenticate" in answer.headers


async def works(client: httpx.AsyncClient, secret: str) -> int:
    """Status of a request with this key."""
    return (await client.post("/work", headers={"X-API-Key": secret})).status_code


async def refused(client: httpx.AsyncClient, secret: str) -> bool:
    """Whether a key is accepted no more."""
    return await works(client, secret) == 401


async def pushed(*policies: Policy) -> None:
    """Waits until Redis tells the gateways of revocations."""
    await until(lambda: all(policy._authenticator._pushed for policy in policies))


async def test_a_revocation_is_seen_within_a_second_without_redis(billing: Installation) -> None:
    org_id = (await billing.organization(plan="enterprise")).org_id
    key = await billing.key(org_id)
    clock = Clock()
    async with gateway(billing.settings, clock) as (client, _):
        assert await works(client, key.secret) == 200
        await billing.call("RevokeApiKey", pb.RevokeApiKeyRequest(key_id=key.key_id, org_id=org_id))
        clock.now += 1
        assert await refused(client, key.secret)


async def test_a_revocation_is_pushed_to_every_gateway(tmp_path: Path) -> None:
    """The clocks stand: no gateway asks again by itself."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    with redis_server() as redis:
        async with (
            installation(tmp_path, url, redis_url=redis.url) as billing,
            gateway(billing.settings, Clock()) as (one, first),
            gateway(billing.settings, Clock()) as (two, second),
        ):
            organization = await billing.organization(plan="enterprise")
            key = await billing.key(organization.org_id)
            owner = await billing.owner_of(organization)
            await pushed(first, second)
            for client in (one, two):
                assert await works(client, key.secret) == 200
            request = pb.RevokeApiKeyRequest(key_id=key.key_id, org_id=organization.org_id)
            await billing.call("RevokeApiKey", request)
            await until(lambda: refused(one, key.secret))
            await until(lambda: refused(two, key.secret))

            sign_in = {"email": owner.email, "password": PASSWORD}
            await one.post("/api/session", json=sign_in)
            cookie = {"Cookie": f"session_token={one.cookies['session_token']}"}
            assert (await two.get("/api/session", headers=cookie)).status_code == 200
            disable = pb.UpdateUserRequest(user_id=owner.user_id, password="another long password")
            await billing.call("UpdateUser", disable)

            async def signed_out() -> bool:
                return (await two.get("/api/session", headers=cookie)).status_code == 401

            await until(signed_out)


async def test_a_changed_plan_reaches_the_gateways(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    with redis_server() as redis:
        async with (
            installation(tmp_path, url, redis_url=redis.url) as billing,
            gateway(billing.settings, Clock()) as (client, policy),
        ):
            org_id = (await billing.organization(plan="free")).org_id
            key = await billing.key(org_id)
            await pushed(policy)

            async def limit() -> str:
                answer = await client.post("/work", headers={"X-API-Key": key.secret})
                return str(answer.headers["x-ratelimit-limit"])

            async def is_raised() -> bool:
                return await limit() == "300"

            assert await limit() == "10"
            await billing.call(
                "UpdateOrganization", pb.UpdateOrganizationRequest(org_id=org_id, plan="business")
            )
            await until(is_raised)


async def test_a_key_that_expires_is_refused_though_it_was_seen(billing: Installation) -> None:
    org_id = (await billing.organization()).org_id
    old = await billing.key(org_id)
    rotate = pb.RotateApiKeyRequest(key_id=old.key_id, org_id=org_id, overlap_s=3)
    async with gateway(billing.settings, Clock()) as (client, _):
        await billing.call("RotateApiKey", rotate)
        assert await works(client, old.secret) == 200
        await until(lambda: refused(client, old.secret))


async def test_without_billing_known_keys_work_and_unknown_ones_wait(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    async with AsyncExitStack() as stack:
        async with installation(tmp_path, url, bootstrap_api_key=BOOTSTRAP) as billing:
            other = await billing.key((await billing.organization()).org_id)
            client, _ = await stack.enter_async_context(gateway(billing.settings))
            assert await works(client, BOOTSTRAP) == 200
        await asyncio.sleep(1)
        assert await works(client, BOOTSTRAP) == 200
        answer = await client.post("/work", headers={"X-API-Key": other.secret})
        assert answer.status_code == 503
        assert answer.headers["retry-after"]


async def test_a_key_revoked_before_billing_went_is_not_served(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    with redis_server() as redis:
        async with AsyncExitStack() as stack:
            async with installation(tmp_path, url, redis_url=redis.url) as billing:
                org_id = (await billing.organization()).org_id
                key = await billing.key(org_id)
                client, policy = await stack.enter_async_context(gateway(billing.settings, Clock()))
                await pushed(policy)
                assert await works(client, key.secret) == 200
                request = pb.RevokeApiKeyRequest(key_id=key.key_id, org_id=org_id)
                await billing.call("RevokeApiKey", request)
                (known,) = policy._authenticator._known.values()
                await until(lambda: known.state is State.VOID)
            assert await works(client, key.secret) == 503


async def test_a_redis_that_dies_and_comes_back_hides_no_revocation(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    with redis_server() as redis:
        clock = Clock()
        async with (
            installation(tmp_path, url, redis_url=redis.url) as billing,
            gateway(billing.settings, clock) as (client, policy),
        ):
            org_id = (await billing.organization(plan="enterprise")).org_id
            first, second = [await billing.key(org_id) for _ in range(2)]
            await pushed(policy)
            assert await works(client, first.secret) == await works(client, second.secret) == 200
            redis.kill()
            await until(lambda: not policy._authenticator._pushed)
            for key in (first, second):
                assert await works(client, key.secret) == 200
            request = pb.RevokeApiKeyRequest(key_id=first.key_id, org_id=org_id)
            await billing.call("RevokeApiKey", request)
            clock.now += 1
            assert await refused(client, first.secret)
            redis.start()
            await pushed(policy)
            assert await works(client, second.secret) == 200
            request = pb.RevokeApiKeyRequest(key_id=second.key_id, org_id=org_id)
            await billing.call("RevokeApiKey", request)
            await until(lambda: refused(client, second.secret))
