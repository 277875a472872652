"""Who is asking, may they now, and what do they owe: the one policy of all APIs."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import structlog
from redis.asyncio import Redis
from starlette.requests import HTTPConnection
from starlette.types import Scope

from affectmesh.v1 import billing_pb2 as pb
from affectmesh.v1 import billing_pb2_grpc
from services.billing import announcements
from services.billing.journal import Journal
from services.common import caller, errors
from services.common.channels import Channels, call
from services.common.settings import Settings
from services.gateway.authentication import (
    Authenticator,
    Credential,
    Known,
    check_origin,
    credential_of,
)
from services.gateway.limits import Limits
from services.gateway.scopes import ANALYZE_SCOPE, STREAM_SCOPE

log = structlog.get_logger()

CONSENT_HEADER = b"x-consent-reference"
_LONGEST_CONSENT = 128

INFERRING_SCOPES = frozenset({ANALYZE_SCOPE, STREAM_SCOPE})
"""Scopes under which emotions are inferred, to which the rules on use contexts apply."""

_AUDIT_EVERY_S = 60.0
_AUDIT_TIMEOUT_S = 5.0
_MOST_AUDITS = 1000


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that may go on."""

    principal: pb.Principal
    headers: Mapping[str, str]
    """X-RateLimit-Limit, -Remaining and -Reset, to be put on the answer."""
    consent_reference: str = ""
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))
    """Makes the ledger's entry of this request its own, whatever id the client sent with it."""


class Policy:
    """The policy of one gateway."""

    def __init__(
        self,
        redis: Redis | None,
        channels: Channels,
        authenticator: Authenticator,
        journal: Journal,
    ) -> None:
        self._redis = redis
        self._authenticator = authenticator
        self._limits = Limits(redis, lambda: authenticator.gateways)
        self._journal = journal
        self._refusals = _Refusals(channels)

    @classmethod
    async def open(
        cls, settings: Settings, channels: Channels, clock: Callable[[], float] = time.monotonic
    ) -> Policy:
        """With the Redis of the settings, and a journal in the data folder; principals age by the
        clock."""
        redis = announcements.connect(settings.redis_url) if settings.redis_url else None
        journal = Journal(settings.data_dir / "usage", channels)
        return cls(redis, channels, Authenticator(channels, redis, clock), journal)

    async def admit(self, request: HTTPConnection, scope: str, *, cost: int = 1) -> Admission:
        """Who is asking, and may they now. Calls that follow are made on their behalf.

        An empty scope asks for none. Raises Unauthorized, Forbidden (scope, use context, a foreign
        site's use of a session), RateLimited (details retry_after, limit, remaining, reset),
        InvalidRequest (consent reference), Unavailable (no answer about an unknown credential).
        """
        principal = await self.check(request, scope)
        consent = _consent(request.scope)
        standing = await self._limits.take(principal, cost)
        caller.current.set(
            caller.Caller(
                principal.org_id,
                principal.principal_id,
                principal.plan,
                principal.test_mode,
                consent,
            )
        )
        return Admission(principal, standing.headers, consent)

    async def check(self, request: HTTPConnection, scope: str) -> pb.Principal:
        """Who is asking, where they may; takes nothing from their limits.

        For what was admitted and lasts. Raises as `admit` does, except RateLimited and
        InvalidRequest.
        """
        credential = credential_of(request.scope)
        known = await self._authenticator.principal(credential)
        if credential is not None and credential.kind == pb.CREDENTIAL_KIND_SESSION:
            check_origin(request.scope)
        self._check_scope(known, scope)
        return known.principal

    async def record(
        self,
        admission: Admission,
        request_id: str,
        item: str,
        quantity: Decimal = Decimal(1),
    ) -> None:
        """Meters a successful billable request, once for each admission and request id.

        `item` is a name of the price table. What is recorded reaches the ledger even when this
        process or the billing service dies. Raises InvalidRequest for an item without a price.
        """
        self._journal.write(
            admission.principal,
            f"{request_id}.{admission.nonce}",
            item,
            quantity,
            admission.consent_reference,
        )

    def forget(self, *ids: str, session_token: str = "") -> None:
        """Has these principals, and this session, asked about again at their next request.

        Redis tells every other gateway; this one need not wait for it.
        """
        self._authenticator.void(frozenset(ids))
        if session_token:
            credential = Credential(pb.CREDENTIAL_KIND_SESSION, session_token)
            self._authenticator.forget(credential)

    async def flush(self) -> None:
        """Has what was recorded entered in the ledger now. Raises Unavailable."""
        await self._journal.flush()

    async def close(self) -> None:
        """Sends what was recorded, and gives back what was leased."""
        await self._journal.close()
        await self._refusals.close()
        await self._limits.close()
        await self._authenticator.close()
        if self._redis is not None:
            await self._redis.aclose()

    def _check_scope(self, known: Known, scope: str) -> None:
        if scope and scope not in known.scopes:
            self._refusals.note(known.principal, "scope.refused", scope)
            raise errors.Forbidden(
                f"This credential does not have the scope {scope}.",
                reason=f"Its scopes are: {', '.join(sorted(known.scopes)) or 'none'}.",
                suggestion="Use a key or token that was given this scope.",
            )
        if known.rule is not None and scope in INFERRING_SCOPES:
            self._refusals.note(known.principal, "use.refused", known.rule.name)
            raise errors.Forbidden(
                f"{known.rule.name} prohibits this use.",
                reason=known.rule.text,
                rule=known.rule.name,
                use_context=known.principal.use_context,
                jurisdiction=known.principal.jurisdiction,
                suggestion="Emotions may not be inferred in the use context that the organisation "
                "declared, under its jurisdiction.",
            )


def _consent(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == CONSENT_HEADER:
            reference = str(value.decode("latin-1").strip())
            if not 1 <= len(reference) <= _LONGEST_CONSENT or not reference.isprintable():
                raise errors.InvalidRequest(
                    "The consent reference cannot be kept.",
                    field="X-Consent-Reference",
                    suggestion=f"Send 1 to {_LONGEST_CONSENT} printable characters.",
                )
            return reference
    return ""


class _Refusals:
    """Puts refusals of policy in the audit log, each kind once a minute for each principal."""

    def __init__(self, channels: Channels) -> None:
        stub = channels.stub("billing", billing_pb2_grpc.BillingServiceStub)
        self._record = stub.RecordAudit
        self._noted: dict[tuple[str, str, str], float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, principal: pb.Principal, action: str, resource: str) -> None:
        """Notes a refusal."""
        now = time.monotonic()
        key = (principal.principal_id, action, resource)
        if now - self._noted.get(key, -_AUDIT_EVERY_S) < _AUDIT_EVERY_S:
            return
        if len(self._noted) >= _MOST_AUDITS:
            self._noted.clear()
        self._noted[key] = now
        entry = pb.AuditEntry(
            org_id=principal.org_id,
            actor=principal.principal_id,
            action=action,
            resource=resource,
            details={
                "use_context": principal.use_context,
                "jurisdiction": principal.jurisdiction,
            },
        )
        task = asyncio.create_task(self._send(entry))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Waits for what is on its way."""
        await asyncio.gather(*self._tasks)

    async def _send(self, entry: pb.AuditEntry) -> None:
        try:
            request = pb.RecordAuditRequest(entry=entry)
            await call("billing", self._record, request, _AUDIT_TIMEOUT_S)
        except errors.AffectMeshError as error:
            log.error(
                "refusal not in the audit log",
                actor=entry.actor,
                action=entry.action,
                resource=entry.resource,
                problem=error.message,
            )
