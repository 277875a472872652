"""Organisations, users, passwords, sessions."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from affectmesh.v1 import billing_pb2 as pb
from services.billing.audit import Audit
from services.billing.tables import MIGRATIONS
from services.billing.users import SESSION_LIFE, Users
from services.billing.vault import Vault
from services.common import errors
from services.common.database import Database
from tests.billing.installation import PASSWORD, Installation, installation

SESSION = pb.CREDENTIAL_KIND_SESSION


async def sign_in(billing: Installation, email: str, password: str = PASSWORD) -> pb.Session:
    """A new session."""
    request = pb.CreateSessionRequest(email=email, password=password)
    session: pb.Session = await billing.call("CreateSession", request)
    return session


async def test_a_session_is_of_its_user_until_it_ends(billing: Installation) -> None:
    organization = await billing.organization()
    owner = await billing.owner_of(organization)
    session = await sign_in(billing, owner.email.upper())
    principal = await billing.authenticate(session.session_token, SESSION)
    assert principal.principal_id == owner.user_id
    assert (principal.org_id, principal.role) == (organization.org_id, pb.ROLE_OWNER)
    request = pb.DeleteSessionRequest(session_token=session.session_token)
    await billing.call("DeleteSession", request)
    await billing.call("DeleteSession", request)
    with pytest.raises(errors.Unauthorized):
        await billing.authenticate(session.session_token, SESSION)


async def test_a_session_expires(tmp_path: Path, database_url: str) -> None:
    async with installation(tmp_path, database_url) as billing:
        email = (await billing.owner_of(await billing.organization())).email
    now = [int(datetime.now(UTC).timestamp() * 1000)]
    database = await Database.open(database_url, MIGRATIONS)
    vault = Vault.open(billing.settings)
    users = Users(database, Audit(database, lambda: now[0]), vault, lambda: now[0])
    session = await users.sign_in(email, PASSWORD)
    now[0] += int(SESSION_LIFE.total_seconds() * 1000) - 1
    assert await users.by_session(session.token) is not None
    now[0] += 1
    assert await users.by_session(session.token) is None
    await database.close()


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("nobody@example.org", PASSWORD),
        ("owner1@example.org", "wrong password here"),
        ("owner1@example.org", ""),
        ("owner1@example.org", "x" * 10_000),
        ("' OR 1=1 --", PASSWORD),
    ],
)
async def test_a_wrong_sign_in_does_not_say_what_is_wrong(
    billing: Installation, email: str, password: str
) -> None:
    await billing.owner_of(await billing.organization())
    with pytest.raises(errors.Unauthorized, match="e-mail address or the password"):
        await sign_in(billing, email, password)


async def test_sign_in_pauses_for_an_address_and_no_other(billing: Installation) -> None:
    one = (await billing.owner_of(await billing.organization())).email
    two = (await billing.owner_of(await billing.organization())).email
    for _ in range(10):
        with pytest.raises(errors.Unauthorized):
            await sign_in(billing, one, "wrong password here")
    with pytest.raises(errors.RateLimited):
        await sign_in(billing, one)
    await sign_in(billing, two)


async def test_a_new_password_ends_every_session(billing: Installation) -> None:
    owner = await billing.owner_of(await billing.organization())
    session = await sign_in(billing, owner.email)
    change = pb.UpdateUserRequest(user_id=owner.user_id, password="another good password")
    await billing.call("UpdateUser", change)
    with pytest.raises(errors.Unauthorized):
        await billing.authenticate(session.session_token, SESSION)
    with pytest.raises(errors.Unauthorized):
        await sign_in(billing, owner.email)
    await sign_in(billing, owner.email, "another good password")


async def test_a_disabled_user_cannot_sign_in(billing: Installation) -> None:
    organization = await billing.organization()
    user = pb.User(org_id=organization.org_id, email="m@example.org", role=pb.ROLE_MANAGER)
    made = await billing.call("CreateUser", pb.CreateUserRequest(user=user, password=PASSWORD))
    session = await sign_in(billing, "m@example.org")
    change = pb.UpdateUserRequest(user_id=made.user_id, enabled=False)
    assert not (await billing.call("UpdateUser", change)).enabled
    with pytest.raises(errors.Unauthorized):
        await billing.authenticate(session.session_token, SESSION)
    with pytest.raises(errors.Unauthorized):
        await sign_in(billing, "m@example.org")


async def test_an_organisation_keeps_an_owner(billing: Installation) -> None:
    owner = await billing.owner_of(await billing.organization())
    for change in ({"enabled": False}, {"role": pb.ROLE_ADMIN}):
        request = pb.UpdateUserRequest(user_id=owner.user_id, **change)
        with pytest.raises(errors.Conflict, match="owner"):
            await billing.call("UpdateUser", request)


@pytest.mark.parametrize(
    ("email", "password", "role"),
    [
        ("no address", PASSWORD, pb.ROLE_ADMIN),
        ("a@b@c", PASSWORD, pb.ROLE_ADMIN),
        ("a@" + "b" * 250, PASSWORD, pb.ROLE_ADMIN),
        ("a@b.c", "short", pb.ROLE_ADMIN),
        ("a@b.c", "x" * 257, pb.ROLE_ADMIN),
        ("a@b.c", PASSWORD, pb.ROLE_UNSPECIFIED),
        ("a@b.c", PASSWORD, 9),
    ],
)
async def test_a_malformed_user_is_refused(
    billing: Installation, email: str, password: str, role: int
) -> None:
    org_id = (await billing.organization()).org_id
    user = pb.User(org_id=org_id, email=email, role=role)  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidRequest):
        await billing.call("CreateUser", pb.CreateUserRequest(user=user, password=password))


async def test_an_address_belongs_to_one_user(billing: Installation) -> None:
    owner = await billing.owner_of(await billing.organization())
    other = (await billing.organization()).org_id
    user = pb.User(org_id=other, email=owner.email.title(), role=pb.ROLE_ANALYST)
    with pytest.raises(errors.Conflict):
        await billing.call("CreateUser", pb.CreateUserRequest(user=user, password=PASSWORD))


async def create(billing: Installation, email: str, **fields: Any) -> pb.Organization:
    """An organisation with its owner."""
    request = pb.CreateOrganizationRequest(
        organization=pb.Organization(**{"name": "Test", **fields}),
        owner_email=email,
        owner_password=PASSWORD,
    )
    made: pb.Organization = await billing.call("CreateOrganization", request)
    return made


async def test_an_organisation_begins_with_its_owner_on_the_free_plan(
    billing: Installation,
) -> None:
    made = await create(billing, "me@example.org", jurisdiction="de", use_context="research")
    request = pb.GetOrganizationRequest(org_id=made.org_id)
    assert await billing.call("GetOrganization", request) == made
    assert (made.plan, made.jurisdiction, made.use_context) == ("free", "DE", "research")
    session = await sign_in(billing, "me@example.org")
    assert (session.user.org_id, session.user.role) == (made.org_id, pb.ROLE_OWNER)
    assert await billing.audit_actions(made.org_id) == [
        "organization.created",
        "user.created",
        "session.created",
    ]


async def test_an_organisation_that_cannot_have_its_owner_is_not_made(
    billing: Installation,
) -> None:
    made = await create(billing, "me@example.org")
    with pytest.raises(errors.Conflict):
        await create(billing, "me@example.org")
    with pytest.raises(errors.NotFound):
        await billing.call("GetOrganization", pb.GetOrganizationRequest(org_id=made.org_id + 1))


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"plan": "gold"},
        {"jurisdiction": "Germany"},
        {"jurisdiction": "ÄÖ"},
        {"use_context": "spying"},
    ],
)
async def test_a_malformed_organisation_is_refused(
    billing: Installation, fields: dict[str, str]
) -> None:
    with pytest.raises(errors.InvalidRequest):
        await create(billing, "me@example.org", **fields)


async def test_limits_of_its_own_need_the_enterprise_plan(billing: Installation) -> None:
    org_id = (await billing.organization(plan="pro")).org_id
    limits = pb.Limits(requests_per_minute=5000, burst=6000, requests_per_day=7)
    request = pb.UpdateOrganizationRequest(org_id=org_id, custom_limits=limits)
    with pytest.raises(errors.Forbidden):
        await billing.call("UpdateOrganization", request)
    request.plan = "enterprise"
    await billing.call("UpdateOrganization", request)
    key = await billing.key(org_id)
    assert (await billing.authenticate(key.secret)).limits == limits
    back = pb.UpdateOrganizationRequest(org_id=org_id, plan="pro")
    assert not (await billing.call("UpdateOrganization", back)).HasField("custom_limits")
    plan = (await billing.authenticate(key.secret)).limits
    assert plan == pb.Limits(requests_per_minute=60, burst=100)


@pytest.mark.parametrize("minute", [-5, 0, 1_000_001])
async def test_absurd_limits_are_refused(billing: Installation, minute: int) -> None:
    org_id = (await billing.organization(plan="enterprise")).org_id
    limits = pb.Limits(requests_per_minute=minute, burst=-1)
    with pytest.raises(errors.InvalidRequest):
        await billing.call(
            "UpdateOrganization", pb.UpdateOrganizationRequest(org_id=org_id, custom_limits=limits)
        )


async def test_neither_password_nor_session_token_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "affectmesh.db"
    async with installation(tmp_path, f"sqlite+aiosqlite:///{path}") as billing:
        email = (await billing.owner_of(await billing.organization())).email
        token = (await sign_in(billing, email)).session_token
    with sqlite3.connect(path) as connection:
        stored = "\n".join(connection.iterdump())
    connection.close()
    assert "$argon2id$" in stored
    assert PASSWORD not in stored
    assert token not in stored
