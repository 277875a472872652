"""API keys."""

from collections.abc import Callable, Sequence

from sqlalchemy import RowMapping, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing import fields, organizations, pages, vault
from services.billing.audit import Audit
from services.billing.plans import MAX_KEYS, MAX_RATE
from services.billing.tables import api_keys
from services.billing.vault import FAMILIES, Vault
from services.common import errors
from services.common.database import Database, fetch_first, fetch_one

DEFAULT_OVERLAP_S = 86_400
MAX_OVERLAP_S = 604_800

_SHOWN = 12


class ApiKeys:
    """The keys of one installation."""

    def __init__(
        self, database: Database, audit: Audit, vault_: Vault, now_ms: Callable[[], int]
    ) -> None:
        self._database = database
        self._audit = audit
        self._vault = vault_
        self._now_ms = now_ms
        self._used: dict[str, int] = {}

    async def create(
        self,
        *,
        org_id: int,
        name: str,
        rate_limit_per_minute: int | None,
        scopes: Sequence[str],
        test_mode: bool,
        expires_ms: int | None,
        family: str,
        actor: str = "",
    ) -> tuple[RowMapping, str]:
        """Makes a key; gives it with its secret, which is nowhere else.

        Raises NotFound, InvalidRequest, Forbidden (a rate above the plan's), Conflict (too many).
        """
        family = family or FAMILIES[0]
        if family not in FAMILIES:
            raise fields.invalid("family", "There is no such family.", "Use ek or sk.")
        if expires_ms is not None and expires_ms <= self._now_ms():
            raise fields.invalid("expire_time", "This time is past.", "Send a later one.")
        values: dict[str, object] = {
            "org_id": org_id,
            "name": fields.text("name", name, 200),
            "rate_limit_per_minute": rate_limit_per_minute,
            "scopes": " ".join(fields.scopes(scopes)),
            "test_mode": test_mode,
            "expires_ms": expires_ms,
        }
        async with self._database.write() as connection:
            organization = await organizations.find(connection, org_id)
            _check_rate(rate_limit_per_minute, organization)
            await self._check_count(connection, org_id)
            return await self._insert(connection, values, family, actor, "key.created")

    async def page(self, org_id: int, token: str, size: int) -> list[RowMapping]:
        """Keys, newest first."""
        return await pages.newest_first(
            self._database, api_keys, api_keys.c.key_id, org_id, token, size
        )

    async def revoke(self, key_id: str, org_id: int, actor: str = "") -> RowMapping:
        """Makes a key invalid; a revoked one stays as it is. Raises NotFound."""
        async with self._database.write() as connection:
            row = await self._find(connection, key_id, org_id)
            if row["revoked_ms"] is not None:
                return row
            row = await self._change(connection, key_id, revoked_ms=self._now_ms())
            await self._audit.append(connection, org_id, actor, "key.revoked", key_id)
        return row

    async def rotate(
        self, key_id: str, org_id: int, overlap_s: int, actor: str = ""
    ) -> tuple[RowMapping, str]:
        """Makes a successor with the same rights; the old key ends after the overlap.

        Raises NotFound, InvalidRequest, and Conflict for a key that is no longer valid.
        """
        if not 0 <= overlap_s <= MAX_OVERLAP_S:
            raise fields.invalid(
                "overlap_s", f"An overlap is 0 to {MAX_OVERLAP_S} seconds.", "Send such a number."
            )
        now = self._now_ms()
        async with self._database.write() as connection:
            old = await self._find(connection, key_id, org_id)
            if not _valid(old, now):
                raise errors.Conflict(
                    "This key is no longer valid.", suggestion="Generate a new key."
                )
            ends = now + overlap_s * 1000
            kept = (
                "org_id",
                "name",
                "rate_limit_per_minute",
                "scopes",
                "test_mode",
                "expires_ms",
            )
            family = old["prefix"].partition("_")[0]
            successor = await self._insert(
                connection,
                {name: old[name] for name in kept},
                family if family in FAMILIES else FAMILIES[0],
                actor,
                "key.rotated",
            )
            ends = min(ends, old["expires_ms"] or ends)
            await self._change(connection, key_id, expires_ms=ends)
        return successor

    async def authenticate(self, secret: str) -> RowMapping:
        """The valid key with this secret. Raises Unauthorized."""
        query = select(api_keys).where(api_keys.c.secret_hash == self._vault.hash(secret))
        async with self._database.read() as connection:
            row = await fetch_first(connection, query)
        if row is None or not self._vault.matches(secret, row["secret_hash"]):
            raise errors.Unauthorized(
                "This API key is not known.", suggestion="Check the key, or generate a new one."
            )
        now = self._now_ms()
        if not _valid(row, now):
            ended = "has been revoked" if row["revoked_ms"] is not None else "has expired"
            raise errors.Unauthorized(
                f"This API key {ended}.", suggestion="Use its successor, or generate a new one."
            )
        if now - max(row["last_used_ms"] or 0, self._used.get(row["key_id"], 0)) >= 60_000:
            self._used[row["key_id"]] = now
        return row

    async def write_last_used(self) -> None:
        """Writes when keys were last used, gathered since the last call."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            async with self._database.write() as connection:
                for key_id, time_ms in used.items():
                    await self._change(connection, key_id, last_used_ms=time_ms)
        except errors.Unavailable:
            self._used = {**used, **self._used}

    async def ensure_bootstrap(self, connection: AsyncConnection, org_id: int, secret: str) -> None:
        """Makes sure that the operator's key exists and is valid, and that no former one is."""
        secret_hash = self._vault.hash(secret)
        now = self._now_ms()
        former = (
            update(api_keys)
            .where(api_keys.c.bootstrap, api_keys.c.secret_hash != secret_hash)
            .where(api_keys.c.revoked_ms.is_(None))
            .values(revoked_ms=now)
        )
        await connection.execute(former)
        query = select(api_keys).where(api_keys.c.secret_hash == secret_hash)
        row = await fetch_first(connection, query)
        if row is None:
            values: dict[str, object] = {
                "org_id": org_id,
                "name": "bootstrap",
                "rate_limit_per_minute": None,
                "scopes": " ".join(fields.SCOPES),
                "test_mode": False,
                "expires_ms": None,
            }
            await self._insert(connection, values, "", "", "key.bootstrapped", secret)
        elif not _valid(row, now):
            await self._change(connection, row["key_id"], revoked_ms=None, expires_ms=None)
            await self._audit.append(
                connection, row["org_id"], "", "key.bootstrapped", row["key_id"]
            )

    async def _insert(
        self,
        connection: AsyncConnection,
        values: dict[str, object],
        family: str,
        actor: str,
        action: str,
        given: str | None = None,
    ) -> tuple[RowMapping, str]:
        secret = given or vault.new_api_key(family, bool(values["test_mode"]))
        row = {
            **values,
            "key_id": vault.new_id("key"),
            "prefix": secret[:4] if given else secret[:_SHOWN],
            "secret_hash": self._vault.hash(secret),
            "bootstrap": given is not None,
            "created_ms": self._now_ms(),
        }
        query = insert(api_keys).values(row).returning(api_keys)
        stored = await fetch_one(connection, query)
        await self._audit.append(connection, stored["org_id"], actor, action, stored["key_id"])
        return stored, secret

    async def _find(self, connection: AsyncConnection, key_id: str, org_id: int) -> RowMapping:
        query = select(api_keys).where(api_keys.c.key_id == key_id, api_keys.c.org_id == org_id)
        row = await fetch_first(connection, query)
        if row is None:
            raise errors.NotFound("There is no such key.", suggestion="Check the key's id.")
        return row

    async def _change(
        self, connection: AsyncConnection, key_id: str, **values: int | None
    ) -> RowMapping:
        query = update(api_keys).where(api_keys.c.key_id == key_id).values(values)
        return await fetch_one(connection, query.returning(api_keys))

    async def _check_count(self, connection: AsyncConnection, org_id: int) -> None:
        now = self._now_ms()
        query = (
            select(func.count())
            .select_from(api_keys)
            .where(api_keys.c.org_id == org_id, api_keys.c.revoked_ms.is_(None))
            .where(or_(api_keys.c.expires_ms.is_(None), api_keys.c.expires_ms > now))
        )
        if (await connection.execute(query)).scalar_one() >= MAX_KEYS:
            raise errors.Conflict(
                f"An organisation has at most {MAX_KEYS} valid keys.",
                suggestion="Revoke a key that is no longer used.",
            )


def _valid(key: RowMapping, now_ms: int) -> bool:
    ends = key["expires_ms"]
    return key["revoked_ms"] is None and (ends is None or ends > now_ms)


def _check_rate(rate: int | None, organization: RowMapping) -> None:
    if rate is None:
        return
    if not 1 <= rate <= MAX_RATE:
        raise fields.invalid(
            "rate_limit_per_minute",
            f"{rate} is not a rate limit.",
            f"Send a whole number from 1 to {MAX_RATE}, or leave it out.",
        )
    most = organizations.limits_of(organization)[0]
    if most and rate > most:
        raise errors.Forbidden(
            f"The {organization['plan']} plan allows {most} requests a minute.",
            field="rate_limit_per_minute",
            suggestion=f"Send at most {most}, or change the plan.",
        )
