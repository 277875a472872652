"""API keys: made, used, rotated, revoked."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import update

from affectmesh.v1 import billing_pb2 as pb
from services.billing.tables import api_keys
from services.common import errors
from tests.billing.installation import BOOTSTRAP, Installation, installation


async def test_the_bootstrap_key_has_every_scope_on_the_enterprise_plan(
    billing: Installation,
) -> None:
    principal = await billing.authenticate(BOOTSTRAP)
    assert principal.plan == "enterprise"
    assert list(principal.scopes) == ["emotion:read", "emotion:analyze", "emotion:stream"]
    assert not principal.test_mode


async def test_another_bootstrap_key_takes_the_place_of_the_former(
    tmp_path: Path, database_url: str
) -> None:
    async with installation(tmp_path, database_url, bootstrap_api_key=BOOTSTRAP) as first:
        org_id = (await first.authenticate(BOOTSTRAP)).org_id
    async with installation(tmp_path, database_url, bootstrap_api_key="b" * 24) as second:
        assert (await second.authenticate("b" * 24)).org_id == org_id
        with pytest.raises(errors.Unauthorized):
            await second.authenticate(BOOTSTRAP)


async def test_a_revoked_bootstrap_key_is_valid_again_after_a_start(
    tmp_path: Path, database_url: str
) -> None:
    async with installation(tmp_path, database_url, bootstrap_api_key=BOOTSTRAP) as first:
        principal = await first.authenticate(BOOTSTRAP)
        request = pb.RevokeApiKeyRequest(key_id=principal.principal_id, org_id=principal.org_id)
        await first.call("RevokeApiKey", request)
        with pytest.raises(errors.Unauthorized, match="revoked"):
            await first.authenticate(BOOTSTRAP)
    async with installation(tmp_path, database_url, bootstrap_api_key=BOOTSTRAP) as second:
        assert (await second.authenticate(BOOTSTRAP)).principal_id == principal.principal_id


@pytest.mark.parametrize(
    ("family", "test_mode", "prefix"),
    [
        ("", False, "ek_live_"),
        ("ek", True, "ek_test_"),
        ("sk", False, "sk_live_"),
        ("sk", True, "sk_test_"),
    ],
)
async def test_a_key_has_the_prefix_of_its_family_and_mode(
    billing: Installation, family: str, test_mode: bool, prefix: str
) -> None:
    org_id = (await billing.organization()).org_id
    key = pb.ApiKey(org_id=org_id, name="k", test_mode=test_mode)
    made = await billing.call("CreateApiKey", pb.CreateApiKeyRequest(key=key, family=family))
    assert made.secret.startswith(prefix)
    principal = await billing.authenticate(made.secret)
    assert principal.principal_id == made.key_id
    assert principal.org_id == org_id
    assert principal.test_mode is test_mode


async def test_the_secret_is_shown_once_and_not_stored(tmp_path: Path) -> None:
    path = tmp_path / "affectmesh.db"
    async with installation(tmp_path, f"sqlite+aiosqlite:///{path}") as billing:
        org_id = (await billing.organization()).org_id
        key = await billing.key(org_id)
        listed = await billing.call("ListApiKeys", pb.ListApiKeysRequest(org_id=org_id))
        assert [found.key_id for found in listed.keys] == [key.key_id]
        assert listed.keys[0].secret == ""
        assert key.secret.startswith(listed.keys[0].prefix)
    with closing(sqlite3.connect(path)) as connection:
        stored = "\n".join(connection.iterdump())
    assert key.key_id in stored
    assert key.secret not in stored
    assert key.secret[len(key.prefix) :] not in stored


async def test_a_key_hash_is_worthless_under_another_installation_key(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    async with installation(tmp_path, url, secret_key="a" * 32) as billing:
        key = await billing.key((await billing.organization()).org_id)
        await billing.authenticate(key.secret)
    async with installation(tmp_path, url, secret_key="b" * 32) as billing:
        with pytest.raises(errors.Unauthorized):
            await billing.authenticate(key.secret)


async def test_an_own_rate_is_the_exact_limit_of_the_key(billing: Installation) -> None:
    org_id = (await billing.organization()).org_id
    plain = await billing.authenticate((await billing.key(org_id)).secret)
    assert plain.limits == pb.Limits(requests_per_minute=60, burst=100)
    own = await billing.key(org_id, rate_limit_per_minute=7)
    limits = (await billing.authenticate(own.secret)).limits
    assert limits == pb.Limits(requests_per_minute=7, burst=7)


@pytest.mark.parametrize("rate", [0, -1, 1_000_001, -(2**31)])
async def test_an_absurd_rate_is_refused(billing: Installation, rate: int) -> None:
    org_id = (await billing.organization(plan="enterprise")).org_id
    with pytest.raises(errors.InvalidRequest):
        await billing.key(org_id, rate_limit_per_minute=rate)


async def test_a_rate_above_the_plan_is_refused(billing: Installation) -> None:
    org_id = (await billing.organization(plan="free")).org_id
    with pytest.raises(errors.Forbidden, match="10 requests a minute"):
        await billing.key(org_id, rate_limit_per_minute=11)


@pytest.mark.parametrize(
    "fields",
    [{"name": ""}, {"name": "x" * 201}, {"name": "a\x00b"}, {"scopes": ["emotion:everything"]}],
)
async def test_a_malformed_key_is_refused(billing: Installation, fields: dict[str, object]) -> None:
    org_id = (await billing.organization()).org_id
    with pytest.raises(errors.InvalidRequest):
        await billing.key(org_id, **fields)


async def test_a_key_of_no_organisation_is_refused(billing: Installation) -> None:
    with pytest.raises(errors.NotFound):
        await billing.key(424242)


async def pass_by(billing: Installation, time: timedelta) -> None:
    """Brings the ends of all keys nearer, as time would that passes by."""
    async with billing.servicer._database.write() as connection:
        nearer = api_keys.c.expires_ms - int(time.total_seconds() * 1000)
        await connection.execute(update(api_keys).values(expires_ms=nearer))


async def test_an_expired_key_is_refused(billing: Installation) -> None:
    org_id = (await billing.organization()).org_id
    soon, past = Timestamp(), Timestamp()
    soon.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    key = await billing.key(org_id, expire_time=soon)
    assert (await billing.authenticate(key.secret)).expire_time.seconds == soon.seconds
    await pass_by(billing, timedelta(hours=1))
    with pytest.raises(errors.Unauthorized, match="expired"):
        await billing.authenticate(key.secret)
    past.FromDatetime(datetime.now(UTC))
    with pytest.raises(errors.InvalidRequest):
        await billing.key(org_id, expire_time=past)


@pytest.mark.parametrize("secret", ["", "ek_live_", "ek_live_" + "A" * 40, "' OR 1=1 --", "é" * 50])
async def test_an_unknown_key_is_refused(billing: Installation, secret: str) -> None:
    with pytest.raises(errors.Unauthorized):
        await billing.authenticate(secret)


async def test_a_revoked_key_is_refused_and_stays_revoked(billing: Installation) -> None:
    org_id = (await billing.organization()).org_id
    key = await billing.key(org_id)
    request = pb.RevokeApiKeyRequest(key_id=key.key_id, org_id=org_id, actor="usr_x")
    first = await billing.call("RevokeApiKey", request)
    again = await billing.call("RevokeApiKey", request)
    assert first.revoke_time == again.revoke_time
    with pytest.raises(errors.Unauthorized, match="revoked"):
        await billing.authenticate(key.secret)
    assert (await billing.audit_actions(org_id)).count("key.revoked") == 1


async def test_another_organisation_can_neither_revoke_nor_rotate(billing: Installation) -> None:
    mine = (await billing.organization()).org_id
    other = (await billing.organization()).org_id
    key = await billing.key(mine)
    with pytest.raises(errors.NotFound):
        await billing.call("RevokeApiKey", pb.RevokeApiKeyRequest(key_id=key.key_id, org_id=other))
    with pytest.raises(errors.NotFound):
        await billing.call("RotateApiKey", pb.RotateApiKeyRequest(key_id=key.key_id, org_id=other))
    await billing.authenticate(key.secret)


async def test_a_rotated_key_and_its_successor_overlap(billing: Installation) -> None:
    org_id = (await billing.organization()).org_id
    old = await billing.key(org_id, rate_limit_per_minute=5, scopes=["emotion:read"])
    request = pb.RotateApiKeyRequest(key_id=old.key_id, org_id=org_id, overlap_s=3600)
    new = await billing.call("RotateApiKey", request)
    assert new.key_id != old.key_id
    assert (new.name, new.rate_limit_per_minute, list(new.scopes)) == ("test", 5, ["emotion:read"])
    await billing.authenticate(old.secret)
    await billing.authenticate(new.secret)
    await pass_by(billing, timedelta(hours=1))
    with pytest.raises(errors.Unauthorized, match="expired"):
        await billing.authenticate(old.secret)
    await billing.authenticate(new.secret)
    with pytest.raises(errors.Conflict):
        await billing.call("RotateApiKey", request)


@pytest.mark.parametrize("overlap", [-1, 604_801])
async def test_an_absurd_overlap_is_refused(billing: Installation, overlap: int) -> None:
    org_id = (await billing.organization()).org_id
    key = await billing.key(org_id)
    with pytest.raises(errors.InvalidRequest):
        await billing.call(
            "RotateApiKey",
            pb.RotateApiKeyRequest(key_id=key.key_id, org_id=org_id, overlap_s=overlap),
        )


async def test_the_last_use_of_a_key_is_kept(tmp_path: Path, database_url: str) -> None:
    async with installation(tmp_path, database_url) as billing:
        org_id = (await billing.organization()).org_id
        used = await billing.key(org_id)
        await billing.key(org_id)
        await billing.authenticate(used.secret)
    async with installation(tmp_path, database_url) as billing:
        listed = await billing.call("ListApiKeys", pb.ListApiKeysRequest(org_id=org_id))
        last = {key.key_id for key in listed.keys if key.HasField("last_used_time")}
        assert last == {used.key_id}


async def test_keys_are_listed_page_by_page_newest_first(billing: Installation) -> None:
    org_id = (await billing.organization()).org_id
    made = []
    for _ in range(5):
        made.append((await billing.key(org_id)).key_id)
        await asyncio.sleep(0.002)
    found: list[str] = []
    token = ""
    for size in (2, 2, 2):
        page = await billing.call(
            "ListApiKeys", pb.ListApiKeysRequest(org_id=org_id, page_size=size, page_token=token)
        )
        found += [key.key_id for key in page.keys]
        token = page.next_page_token
    assert found == made[::-1]
    assert token == ""


@pytest.mark.parametrize("token", ["x", "é", "AAAA", "LTE=", "MQox"])
async def test_a_page_token_of_somebody_elses_making_is_refused(
    billing: Installation, token: str
) -> None:
    org_id = (await billing.organization()).org_id
    request = pb.ListAuditRequest(org_id=org_id, page_token=token)
    with pytest.raises(errors.InvalidRequest):
        await billing.call("ListAudit", request)


async def test_an_organisation_has_at_most_a_hundred_valid_keys(billing: Installation) -> None:
    org_id = (await billing.organization()).org_id
    first = await billing.key(org_id)
    for _ in range(99):
        await billing.key(org_id)
    with pytest.raises(errors.Conflict, match="100"):
        await billing.key(org_id)
    request = pb.RevokeApiKeyRequest(key_id=first.key_id, org_id=org_id)
    await billing.call("RevokeApiKey", request)
    await billing.key(org_id)
