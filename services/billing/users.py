"""Users, their passwords and their sessions."""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from sqlalchemy import RowMapping, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing import fields, organizations, vault
from services.billing.audit import Audit
from services.billing.tables import sessions, users
from services.billing.vault import Vault
from services.common import errors
from services.common.database import Database, fetch_first, fetch_one

SESSION_LIFE = timedelta(hours=12)
MIN_PASSWORD, MAX_PASSWORD = 12, 256

FAILURES, FAILURE_WINDOW = 10, timedelta(minutes=15)
"""Wrong passwords for one e-mail address before sign-in pauses, and for how long."""

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")
_ROLES = (1, 2, 3, 4)
_OWNER = 4
_HASHERS = 2


@dataclass(frozen=True)
class SignIn:
    """A new session; `token` is known to its holder only."""

    token: str
    user: RowMapping
    expires_ms: int


class Users:
    """The users of one installation."""

    def __init__(
        self, database: Database, audit: Audit, vault_: Vault, now_ms: Callable[[], int]
    ) -> None:
        self._database = database
        self._audit = audit
        self._vault = vault_
        self._now_ms = now_ms
        self._passwords = Passwords()
        self._failures = _Failures(now_ms)

    async def create(
        self,
        connection: AsyncConnection,
        *,
        org_id: int,
        email: str,
        role: int,
        password_hash: str,
        actor: str = "",
    ) -> RowMapping:
        """Makes a user within a writing transaction. Raises Conflict for a known e-mail."""
        values = {
            "user_id": vault.new_id("usr"),
            "org_id": org_id,
            "email": _email(email),
            "role": _role(role),
            "password_hash": password_hash,
            "enabled": True,
            "created_ms": self._now_ms(),
        }
        try:
            query = insert(users).values(values).returning(users)
            row = await fetch_one(connection, query)
        except IntegrityError:
            raise errors.Conflict(
                "There is a user with this e-mail address.", suggestion="Use another address."
            ) from None
        await self._audit.append(connection, org_id, actor, "user.created", row["user_id"])
        return row

    async def add(
        self,
        *,
        org_id: int,
        email: str,
        role: int,
        password: str,
        actor: str = "",
        actor_role: int = 0,
    ) -> RowMapping:
        """Makes a user of an organisation. Raises NotFound for an unknown one, and Forbidden for
        a role above that of the actor."""
        _check_rank(actor_role, role)
        password_hash = await self._passwords.hash(password)
        async with self._database.write() as connection:
            await organizations.find(connection, org_id)
            return await self.create(
                connection,
                org_id=org_id,
                email=email,
                role=role,
                password_hash=password_hash,
                actor=actor,
            )

    async def hash(self, password: str) -> str:
        """Argon2id of a password. Raises InvalidRequest for one too short or too long."""
        return await self._passwords.hash(password)

    async def page(self, org_id: int, after: str | None, size: int) -> list[RowMapping]:
        """Users by e-mail."""
        query = select(users).where(users.c.org_id == org_id)
        if after is not None:
            query = query.where(users.c.email > after)
        async with self._database.read() as connection:
            await organizations.find(connection, org_id)
            rows = await connection.execute(query.order_by(users.c.email).limit(size))
            return list(rows.mappings())

    async def update(
        self,
        user_id: str,
        *,
        org_id: int,
        role: int | None = None,
        password: str | None = None,
        enabled: bool | None = None,
        actor: str = "",
        actor_role: int = 0,
    ) -> RowMapping:
        """Changes what is given; a new password or being disabled ends the user's sessions.

        Raises NotFound, Forbidden for a role above that of the actor, and Conflict when the
        organisation would have no owner left.
        """
        changes: dict[str, object] = {}
        if role is not None:
            changes["role"] = _role(role)
        if password is not None:
            changes["password_hash"] = await self._passwords.hash(password)
        if enabled is not None:
            changes["enabled"] = enabled
        async with self._database.write() as connection:
            query = select(users).where(users.c.user_id == user_id)
            row = await fetch_first(connection, query)
            if row is None or (org_id and row["org_id"] != org_id):
                raise errors.NotFound("There is no such user.", suggestion="Check the user's id.")
            _check_rank(actor_role, row["role"])
            _check_rank(actor_role, role or 0)
            if not changes:
                return row
            await _keep_an_owner(connection, row, changes)
            change = update(users).where(users.c.user_id == user_id).values(changes)
            row = await fetch_one(connection, change.returning(users))
            if password is not None or enabled is False:
                await connection.execute(delete(sessions).where(sessions.c.user_id == user_id))
            await self._audit.append(
                connection,
                row["org_id"],
                actor,
                "user.updated",
                user_id,
                {"changed": " ".join("password" if "password" in c else c for c in changes)},
            )
        return row

    async def sign_in(self, email: str, password: str) -> SignIn:
        """Starts a session. Raises Unauthorized, and RateLimited after too many failures."""
        address = email.strip().lower()[:254]
        self._failures.check(address)
        async with self._database.read() as connection:
            query = select(users).where(users.c.email == address)
            user = await fetch_first(connection, query)
        right = await self._passwords.verify(password, user["password_hash"] if user else None)
        if user is None or not right or not user["enabled"]:
            self._failures.count(address)
            async with self._database.write() as connection:
                org_id = user["org_id"] if user else 0
                actor = user["user_id"] if user else "unknown"
                await self._audit.append(connection, org_id, actor, "session.refused", "session")
            raise errors.Unauthorized(
                "The e-mail address or the password is wrong.", suggestion="Check both."
            )
        self._failures.clear(address)
        token = "ses_" + vault.new_token()
        now = self._now_ms()
        expires = now + int(SESSION_LIFE.total_seconds() * 1000)
        async with self._database.write() as connection:
            await connection.execute(delete(sessions).where(sessions.c.expires_ms <= now))
            await connection.execute(
                insert(sessions).values(
                    token_hash=self._vault.hash(token),
                    user_id=user["user_id"],
                    created_ms=now,
                    expires_ms=expires,
                )
            )
            await self._audit.append(
                connection, user["org_id"], user["user_id"], "session.created", user["user_id"]
            )
        return SignIn(token, user, expires)

    async def sign_out(self, token: str) -> str | None:
        """Ends a session; gives its user, None where there was no such session."""
        token_hash = self._vault.hash(token)
        async with self._database.write() as connection:
            query = delete(sessions).where(sessions.c.token_hash == token_hash)
            ended = (await connection.execute(query.returning(sessions.c.user_id))).one_or_none()
            if ended is None:
                return None
            owner = select(users.c.org_id).where(users.c.user_id == ended.user_id)
            org_id = (await connection.execute(owner)).scalar_one()
            await self._audit.append(
                connection, org_id, ended.user_id, "session.deleted", ended.user_id
            )
        return str(ended.user_id)

    async def by_session(self, token: str) -> RowMapping | None:
        """The enabled user of a session that has not expired, with its `expires_ms`."""
        query = (
            select(users, sessions.c.expires_ms)
            .join(sessions, sessions.c.user_id == users.c.user_id)
            .where(sessions.c.token_hash == self._vault.hash(token))
            .where(sessions.c.expires_ms > self._now_ms())
            .where(users.c.enabled)
        )
        async with self._database.read() as connection:
            return await fetch_first(connection, query)


class Passwords:
    """Argon2id at the library's parameters, a few at a time, off the event loop."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._dummy: str | None = None
        self._slots = asyncio.Semaphore(_HASHERS)

    async def hash(self, password: str) -> str:
        """Raises InvalidRequest for a password too short or too long."""
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise fields.invalid(
                "password",
                f"A password has {MIN_PASSWORD} to {MAX_PASSWORD} characters.",
                "Choose a longer one, such as four unrelated words.",
            )
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether the password fits; takes as long where there is nothing to compare with."""
        async with self._slots:
            if stored is None and self._dummy is None:
                self._dummy = await asyncio.to_thread(self._hasher.hash, vault.new_token())
            fits = await asyncio.to_thread(
                self._fits, password[: MAX_PASSWORD + 1], stored or self._dummy or ""
            )
        return fits and stored is not None

    def _fits(self, password: str, stored: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (Argon2Error, InvalidHashError):
            return False


class _Failures:
    """Counts wrong passwords for each address."""

    _MOST = 100_000

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._counts: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def check(self, address: str) -> None:
        count, until = self._counts.get(address, (0, 0))
        wait_ms = until - self._now_ms()
        if wait_ms <= 0:
            self._counts.pop(address, None)
        elif count >= FAILURES:
            raise errors.RateLimited(
                "There were too many wrong passwords for this e-mail address.",
                retry_after=str(-(-wait_ms // 1000)),
                suggestion="Wait, or ask an administrator for a new password.",
            )

    def count(self, address: str) -> None:
        count, _ = self._counts.get(address, (0, 0))
        window_ms = int(FAILURE_WINDOW.total_seconds() * 1000)
        self._counts[address] = (count + 1, self._now_ms() + window_ms)
        if len(self._counts) > self._MOST:
            self._counts.popitem(last=False)

    def clear(self, address: str) -> None:
        self._counts.pop(address, None)


async def _keep_an_owner(
    connection: AsyncConnection, user: RowMapping, changes: dict[str, object]
) -> None:
    stays = changes.get("role", _OWNER) == _OWNER and changes.get("enabled", True)
    if user["role"] != _OWNER or stays:
        return
    others = (
        select(users.c.user_id)
        .where(users.c.org_id == user["org_id"], users.c.role == _OWNER, users.c.enabled)
        .where(users.c.user_id != user["user_id"])
        .limit(1)
    )
    if (await connection.execute(others)).one_or_none() is None:
        raise errors.Conflict(
            "An organisation needs an owner.", suggestion="Make another user the owner first."
        )


def _check_rank(actor_role: int, role: int) -> None:
    if actor_role and role > actor_role:
        raise errors.Forbidden(
            "This role is above your own.", suggestion="Ask somebody with that role."
        )


def _email(value: str) -> str:
    value = value.strip().lower()
    if not _EMAIL.fullmatch(value):
        raise fields.invalid("email", "This is not an e-mail address.", "Send one.")
    return value


def _role(value: int) -> int:
    if value not in _ROLES:
        raise fields.invalid(
            "role", "There is no such role.", "Use analyst, manager, admin or owner."
        )
    return value
