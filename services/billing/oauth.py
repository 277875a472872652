"""OAuth 2.0 client credentials (RFC 6749, 4.4): clients, access tokens, signing keys."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet
from sqlalchemy import RowMapping, and_, delete, insert, select, update

from services.billing import fields, organizations, pages, vault
from services.billing.audit import Audit
from services.billing.tables import oauth_clients, signing_keys
from services.billing.vault import Vault
from services.common import errors
from services.common.database import Database, fetch_all, fetch_first, fetch_one

log = structlog.get_logger()

TOKEN_LIFE = timedelta(minutes=15)
KEY_LIFE = timedelta(days=1)
"""How long a signing key signs; it verifies for as long as its last token lives, and an hour."""

ISSUER = "affectmesh"
AUDIENCE = "affectmesh"
_ALGORITHM = "ES256"
_LOCK = 7_204_110_319


@dataclass(frozen=True)
class Token:
    """A signed access token and what it grants."""

    access_token: str
    expires_in: int
    scopes: tuple[str, ...]


@dataclass(frozen=True)
class Grant:
    """What a verified access token says."""

    client: RowMapping
    scopes: tuple[str, ...]
    expires_ms: int


class OAuth:
    """The clients and signing keys of one installation."""

    def __init__(
        self, database: Database, audit: Audit, vault_: Vault, now_ms: Callable[[], int]
    ) -> None:
        self._database = database
        self._audit = audit
        self._vault = vault_
        self._now_ms = now_ms
        self._keys: dict[str, ECKey] = {}

    async def create_client(
        self, *, org_id: int, name: str, scopes: Sequence[str], actor: str = ""
    ) -> tuple[RowMapping, str]:
        """Makes a client; gives it with its secret, which is nowhere else."""
        secret = vault.new_token()
        values = {
            "client_id": vault.new_id("cli"),
            "org_id": org_id,
            "name": fields.text("name", name, 200),
            "secret_hash": self._vault.hash(secret),
            "scopes": " ".join(fields.scopes(scopes)),
            "created_ms": self._now_ms(),
        }
        async with self._database.write() as connection:
            await organizations.find(connection, org_id)
            query = insert(oauth_clients).values(values).returning(oauth_clients)
            row = await fetch_one(connection, query)
            await self._audit.append(connection, org_id, actor, "client.created", row["client_id"])
        return row, secret

    async def page(self, org_id: int, token: str, size: int) -> list[RowMapping]:
        """Clients, newest first."""
        return await pages.newest_first(
            self._database, oauth_clients, oauth_clients.c.client_id, org_id, token, size
        )

    async def revoke_client(self, client_id: str, org_id: int, actor: str = "") -> RowMapping:
        """Makes a client and its tokens invalid. Raises NotFound."""
        table = oauth_clients
        mine = and_(table.c.client_id == client_id, table.c.org_id == org_id)
        async with self._database.write() as connection:
            row = await fetch_first(connection, select(table).where(mine))
            if row is None:
                raise errors.NotFound("There is no such client.", suggestion="Check its id.")
            if row["revoked_ms"] is not None:
                return row
            query = update(table).where(mine).values(revoked_ms=self._now_ms()).returning(table)
            row = await fetch_one(connection, query)
            await self._audit.append(connection, org_id, actor, "client.revoked", client_id)
        return row

    async def issue(self, client_id: str, client_secret: str, asked: Sequence[str]) -> Token:
        """A token for a client. Raises Unauthorized, and InvalidRequest for other scopes."""
        client = await self._client(client_id)
        known = self._vault.matches(client_secret, client["secret_hash"] if client else "")
        if client is None or not known or client["revoked_ms"] is not None:
            raise errors.Unauthorized(
                "The client or its secret is wrong.", suggestion="Check both."
            )
        granted = fields.scopes(asked, client["scopes"].split())
        key = await self._signing_key()
        now = self._now_ms() // 1000
        life = int(TOKEN_LIFE.total_seconds())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": client_id,
            "iat": now,
            "exp": now + life,
            "jti": vault.new_id("tok"),
            "scope": " ".join(granted),
        }
        header = {"alg": _ALGORITHM, "typ": "at+jwt", "kid": key.kid}
        return Token(jwt.encode(header, claims, key), life, granted)

    async def verify(self, access_token: str) -> Grant:
        """What a token grants. Raises Unauthorized for a forged, expired or revoked one."""
        refused = errors.Unauthorized(
            "This access token is not valid.", suggestion="Get a new one at /oauth/token."
        )
        keys = await self._verifying_keys()
        if not keys:
            raise refused
        try:
            token = jwt.decode(access_token, KeySet([*keys]), [_ALGORITHM])
            registry = jwt.JWTClaimsRegistry(
                now=lambda: self._now_ms() // 1000,
                iss={"essential": True, "value": ISSUER},
                aud={"essential": True, "value": AUDIENCE},
                sub={"essential": True},
                exp={"essential": True},
            )
            registry.validate(token.claims)
            scopes = fields.scopes(str(token.claims["scope"]).split() or ["none"])
        except (JoseError, ValueError, KeyError, errors.InvalidRequest):
            raise refused from None
        client = await self._client(str(token.claims["sub"]))
        if client is None or client["revoked_ms"] is not None:
            raise refused
        return Grant(client, scopes, int(token.claims["exp"]) * 1000)

    async def public_keys(self) -> str:
        """The JSON Web Key Set of every key that verifies; makes the first key."""
        await self._signing_key()
        async with self._database.read() as connection:
            query = (
                select(signing_keys.c.public)
                .where(signing_keys.c.created_ms > self._verifying_since())
                .order_by(signing_keys.c.created_ms.desc(), signing_keys.c.kid)
            )
            rows = (await connection.execute(query)).scalars()
            return json.dumps({"keys": [json.loads(row) for row in rows]})

    async def _client(self, client_id: str) -> RowMapping | None:
        query = select(oauth_clients).where(oauth_clients.c.client_id == client_id)
        async with self._database.read() as connection:
            return await fetch_first(connection, query)

    def _signing_since(self) -> int:
        return self._now_ms() - int(KEY_LIFE.total_seconds() * 1000)

    def _verifying_since(self) -> int:
        grace = TOKEN_LIFE + timedelta(hours=1)
        return self._signing_since() - int(grace.total_seconds() * 1000)

    async def _signing_key(self) -> ECKey:
        table = signing_keys
        current = (
            select(table)
            .where(table.c.created_ms > self._signing_since())
            .order_by(table.c.created_ms.desc())
        )
        async with self._database.read() as connection:
            keys = self._unsealed(await fetch_all(connection, current))
        if not keys:
            async with self._database.write() as connection:
                await self._database.lock(connection, _LOCK)
                keys = self._unsealed(await fetch_all(connection, current))
                if not keys:
                    query = insert(table).values(self._new_key()).returning(table)
                    row = await fetch_one(connection, query)
                    keys = self._unsealed([row])
                    await self._audit.append(connection, 0, "", "signing_key.created", row["kid"])
                old = delete(table).where(table.c.created_ms <= self._verifying_since())
                await connection.execute(old)
        return keys[0]

    async def _verifying_keys(self) -> list[ECKey]:
        query = select(signing_keys).where(signing_keys.c.created_ms > self._verifying_since())
        async with self._database.read() as connection:
            keys = self._unsealed(await fetch_all(connection, query))
        self._keys = {str(key.kid): key for key in keys}
        return keys

    def _unsealed(self, rows: Iterable[RowMapping]) -> list[ECKey]:
        """The keys, without those that another secret key has sealed."""
        keys = []
        for row in rows:
            key = self._keys.get(row["kid"])
            if key is None:
                try:
                    key = ECKey.import_key(json.loads(self._vault.unseal(row["sealed"])))
                except JoseError:
                    log.error("signing key sealed by another secret key", kid=row["kid"])
                    continue
            keys.append(key)
        return keys

    def _new_key(self) -> dict[str, object]:
        key = ECKey.generate_key(
            "P-256", parameters={"use": "sig", "alg": _ALGORITHM}, auto_kid=True
        )
        return {
            "kid": key.kid,
            "sealed": self._vault.seal(json.dumps(key.as_dict(private=True))),
            "public": json.dumps(key.as_dict(private=False)),
            "created_ms": self._now_ms(),
        }
