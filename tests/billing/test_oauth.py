"""OAuth clients, tokens and signing keys."""

import base64
import json
from datetime import timedelta
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey
from sqlalchemy import select

from affectmesh.v1 import billing_pb2 as pb
from services.billing.audit import Audit
from services.billing.oauth import KEY_LIFE, TOKEN_LIFE, OAuth
from services.billing.tables import MIGRATIONS, signing_keys
from services.billing.vault import Vault
from services.common import errors
from services.common.database import Database
from tests.billing.installation import Installation, installation

TOKEN = pb.CREDENTIAL_KIND_ACCESS_TOKEN


async def make_client(billing: Installation, *scopes: str) -> pb.OAuthClient:
    """A client of a new organisation."""
    org_id = (await billing.organization()).org_id
    client = pb.OAuthClient(org_id=org_id, name="c", scopes=scopes)
    request = pb.CreateOAuthClientRequest(client=client)
    made: pb.OAuthClient = await billing.call("CreateOAuthClient", request)
    return made


async def issue(billing: Installation, client: pb.OAuthClient, *scopes: str) -> str:
    """A token."""
    request = pb.IssueTokenRequest(
        client_id=client.client_id, client_secret=client.client_secret, scopes=scopes
    )
    return str((await billing.call("IssueToken", request)).access_token)


async def test_a_token_names_its_client_and_scopes(billing: Installation) -> None:
    client = await make_client(billing, "emotion:read", "emotion:stream")
    principal = await billing.authenticate(await issue(billing, client, "emotion:stream"), TOKEN)
    assert principal.principal_id == client.client_id
    assert principal.org_id == client.org_id
    assert list(principal.scopes) == ["emotion:stream"]


async def test_a_revoked_client_has_no_valid_token(billing: Installation) -> None:
    client = await make_client(billing)
    token = await issue(billing, client)
    other = (await billing.organization()).org_id
    stranger = pb.RevokeOAuthClientRequest(client_id=client.client_id, org_id=other)
    with pytest.raises(errors.NotFound):
        await billing.call("RevokeOAuthClient", stranger)
    request = pb.RevokeOAuthClientRequest(client_id=client.client_id, org_id=client.org_id)
    assert (await billing.call("RevokeOAuthClient", request)).HasField("revoke_time")
    with pytest.raises(errors.Unauthorized):
        await billing.authenticate(token, TOKEN)
    with pytest.raises(errors.Unauthorized):
        await issue(billing, client)
    listed = await billing.call(
        "ListOAuthClients", pb.ListOAuthClientsRequest(org_id=client.org_id)
    )
    assert [found.client_id for found in listed.clients] == [client.client_id]
    assert listed.clients[0].client_secret == ""


async def test_a_forged_token_is_refused(billing: Installation) -> None:
    client = await make_client(billing)
    token = await issue(billing, client)
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    kid = json.loads(base64.urlsafe_b64decode(header + "=="))["kid"]
    public = json.loads((await billing.call("GetSigningKeys", pb.GetSigningKeysRequest())).jwks)[
        "keys"
    ][0]

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    more = {**claims, "scope": "emotion:read emotion:analyze emotion:stream admin"}
    other_key = ECKey.generate_key("P-256", parameters={"kid": kid})
    confused = OctKey.import_key(json.dumps(public))
    forged = [
        f"{part({'alg': 'none'})}.{payload}.",
        f"{part({'alg': 'none', 'kid': kid})}.{payload}.{signature}",
        f"{header}.{part(more)}.{signature}",
        f"{header}.{payload}.{signature[:-4]}AAAA",
        f"{header}.{payload}.",
        jwt.encode({"alg": "ES256", "kid": kid}, claims, other_key),
        jwt.encode({"alg": "HS256", "kid": kid}, claims, confused),
        "..",
        "a.b.c",
        token + "x",
    ]
    for wrong in forged:
        with pytest.raises(errors.Unauthorized):
            await billing.authenticate(wrong, TOKEN)
    await billing.authenticate(token, TOKEN)


async def test_keys_rotate_and_tokens_outlive_the_rotation(
    tmp_path: Path, database_url: str
) -> None:
    async with installation(tmp_path, database_url) as billing:
        made = await make_client(billing)
    now = [1_800_000_000_000]
    database = await Database.open(database_url, MIGRATIONS)
    vault = Vault.open(billing.settings)
    oauth = OAuth(database, Audit(database, lambda: now[0]), vault, lambda: now[0])

    async def kids() -> list[str]:
        return [key["kid"] for key in json.loads(await oauth.public_keys())["keys"]]

    def forward(span: timedelta) -> None:
        now[0] += int(span.total_seconds() * 1000)

    first = await kids()
    forward(KEY_LIFE - timedelta(seconds=1))
    token = (await oauth.issue(made.client_id, made.client_secret, [])).access_token
    forward(timedelta(seconds=2))
    second = await kids()
    assert second[1:] == first
    assert len(second) == 2
    assert (await oauth.verify(token)).client["client_id"] == made.client_id
    new = (await oauth.issue(made.client_id, made.client_secret, [])).access_token
    keys = KeySet.import_key_set(json.loads(await oauth.public_keys()))
    assert jwt.decode(new, keys, ["ES256"]).header["kid"] == second[0]
    forward(TOKEN_LIFE)
    with pytest.raises(errors.Unauthorized):
        await oauth.verify(token)
    forward(KEY_LIFE)
    forward(timedelta(hours=2))
    await oauth.issue(made.client_id, made.client_secret, [])
    assert not set(await kids()) & set(second)
    await database.close()


async def test_gateways_that_need_the_first_key_at_once_make_one(
    tmp_path: Path, database_url: str
) -> None:
    import asyncio

    async with (
        installation(tmp_path, database_url) as one,
        installation(tmp_path, database_url) as two,
    ):
        found = await asyncio.gather(
            *(s.call("GetSigningKeys", pb.GetSigningKeysRequest()) for s in (one, two) * 4)
        )
        assert len({answer.jwks for answer in found}) == 1


async def test_a_signing_key_is_sealed_in_the_database(tmp_path: Path, database_url: str) -> None:
    async with installation(tmp_path, database_url) as billing:
        public = json.loads(
            (await billing.call("GetSigningKeys", pb.GetSigningKeysRequest())).jwks
        )["keys"][0]
    database = await Database.open(database_url, MIGRATIONS)
    async with database.read() as connection:
        row = (await connection.execute(select(signing_keys))).one()
    await database.close()
    assert public["x"] not in row.sealed
    assert json.loads(Vault.open(billing.settings).unseal(row.sealed))["d"]


async def test_tokens_are_issued_again_after_the_secret_key_was_lost(
    tmp_path: Path, database_url: str
) -> None:
    async with installation(tmp_path, database_url, secret_key="a" * 32) as billing:
        old = await issue(billing, await make_client(billing))
    async with installation(tmp_path, database_url, secret_key="b" * 32) as billing:
        with pytest.raises(errors.Unauthorized):
            await billing.authenticate(old, TOKEN)
        client = pb.OAuthClient(org_id=1, name="new")
        made = await billing.call("CreateOAuthClient", pb.CreateOAuthClientRequest(client=client))
        await billing.authenticate(await issue(billing, made), TOKEN)
