"""The billing service's contract."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import wraps
from typing import Any

import grpc
from sqlalchemy import select

from affectmesh.v1 import billing_pb2 as pb
from affectmesh.v1 import billing_pb2_grpc
from services.billing import fields, ledger, messages, organizations, prices
from services.billing.announcements import Announcements
from services.billing.api_keys import DEFAULT_OVERLAP_S, ApiKeys
from services.billing.audit import Audit
from services.billing.ledger import Entry, Ledger
from services.billing.oauth import OAuth
from services.billing.organizations import Organizations
from services.billing.plans import PLANS
from services.billing.receipts import Receipts
from services.billing.tables import MIGRATIONS, api_keys
from services.billing.users import Users
from services.billing.vault import Vault
from services.common import errors
from services.common.database import Database
from services.common.resources import timestamp
from services.common.server import Service
from services.common.settings import Settings

_LAST_USED_EVERY_S = 5
_READS = ("emotion:read",)

Context = grpc.aio.ServicerContext[Any, Any]


Method = Callable[["BillingServicer", Any, Context], Coroutine[Any, Any, Any]]


def _uninterrupted(servicer: type[BillingServicer]) -> type[BillingServicer]:
    """Lets every method run to its end though its caller goes away: a transaction that is cut off
    would leave its lock on the database."""
    for name, method in list(vars(servicer).items()):
        if name[:1].isupper():
            setattr(servicer, name, _shielded(method))
    return servicer


def _shielded(method: Method) -> Method:
    @wraps(method)
    async def run(self: BillingServicer, request: Any, context: Context) -> Any:
        task = asyncio.create_task(method(self, request, context))
        self._running.add(task)
        task.add_done_callback(self._end)
        await asyncio.wait((task,))
        return task.result()

    return run


@_uninterrupted
class BillingServicer(billing_pb2_grpc.BillingServiceServicer):
    """Contract in, contract out."""

    def __init__(self, database: Database, vault: Vault, announcements: Announcements) -> None:
        self._database = database
        self._announcements = announcements
        self._audit = Audit(database, fields.now_ms)
        self._organizations = Organizations(database, self._audit, fields.now_ms)
        self._users = Users(database, self._audit, vault, fields.now_ms)
        self._keys = ApiKeys(database, self._audit, vault, fields.now_ms)
        self._oauth = OAuth(database, self._audit, vault, fields.now_ms)
        self._receipts = Receipts(database, self._audit)
        self._ledger = Ledger(database, self._audit, fields.now_ms)
        self._stopping = asyncio.Event()
        self._running: set[asyncio.Task[Any]] = set()
        self._writer = asyncio.create_task(self._write_last_used())

    @classmethod
    async def open(cls, settings: Settings) -> BillingServicer:
        """With the database of the settings, brought to the newest schema."""
        vault = await asyncio.to_thread(Vault.open, settings)
        database = await Database.open(settings.database, MIGRATIONS)
        servicer = cls(database, vault, Announcements(settings.redis_url))
        if settings.bootstrap_api_key is not None:
            await servicer._bootstrap(settings.bootstrap_api_key.get_secret_value())
        return servicer

    async def close(self) -> None:
        """Writes what is gathered and closes the database."""
        await asyncio.gather(*self._running, return_exceptions=True)
        self._stopping.set()
        await self._writer
        await self._announcements.close()
        await self._database.close()

    async def Authenticate(
        self, request: pb.AuthenticateRequest, _context: Context
    ) -> pb.Principal:
        match request.kind:
            case pb.CREDENTIAL_KIND_API_KEY:
                return await self._by_key(request.secret)
            case pb.CREDENTIAL_KIND_ACCESS_TOKEN:
                return await self._by_token(request.secret)
            case pb.CREDENTIAL_KIND_SESSION:
                return await self._by_session(request.secret)
        raise fields.invalid("kind", "The kind of credential is missing.", "Say which it is.")

    async def CreateOrganization(
        self, request: pb.CreateOrganizationRequest, _context: Context
    ) -> pb.Organization:
        asked = request.organization
        password_hash = await self._users.hash(request.owner_password)
        async with self._database.write() as connection:
            row = await self._organizations.create(
                connection,
                name=asked.name,
                plan=asked.plan,
                jurisdiction=asked.jurisdiction,
                use_context=asked.use_context,
            )
            await self._users.create(
                connection,
                org_id=row["org_id"],
                email=request.owner_email,
                role=pb.ROLE_OWNER,
                password_hash=password_hash,
            )
        return messages.organization(row)

    async def GetOrganization(
        self, request: pb.GetOrganizationRequest, _context: Context
    ) -> pb.Organization:
        return messages.organization(await self._organizations.get(request.org_id))

    async def UpdateOrganization(
        self, request: pb.UpdateOrganizationRequest, _context: Context
    ) -> pb.Organization:
        limits = request.custom_limits
        row = await self._organizations.update(
            request.org_id,
            plan=messages.optional(request, "plan"),
            jurisdiction=messages.optional(request, "jurisdiction"),
            use_context=messages.optional(request, "use_context"),
            thresholds=request.usage_thresholds_usd,
            limits=(limits.requests_per_minute, limits.burst, limits.requests_per_day)
            if request.HasField("custom_limits")
            else None,
            actor=request.actor,
        )
        self._announcements.void(f"org_{request.org_id}")
        return messages.organization(row)

    async def CreateUser(self, request: pb.CreateUserRequest, _context: Context) -> pb.User:
        row = await self._users.add(
            org_id=request.user.org_id,
            email=request.user.email,
            role=request.user.role,
            password=request.password,
            actor=request.actor,
            actor_role=request.actor_role,
        )
        return messages.user(row)

    async def ListUsers(
        self, request: pb.ListUsersRequest, _context: Context
    ) -> pb.ListUsersResponse:
        size = fields.page_size(request.page_size)
        position = fields.page_position(request.page_token, 1)
        rows = await self._users.page(request.org_id, position[0] if position else None, size)
        return pb.ListUsersResponse(
            users=map(messages.user, rows),
            next_page_token=messages.next_page(rows, size, "email"),
        )

    async def UpdateUser(self, request: pb.UpdateUserRequest, _context: Context) -> pb.User:
        row = await self._users.update(
            request.user_id,
            org_id=request.org_id,
            role=messages.optional(request, "role"),
            password=messages.optional(request, "password"),
            enabled=messages.optional(request, "enabled"),
            actor=request.actor,
            actor_role=request.actor_role,
        )
        self._announcements.void(request.user_id)
        return messages.user(row)

    async def CreateSession(
        self, request: pb.CreateSessionRequest, _context: Context
    ) -> pb.Session:
        started = await self._users.sign_in(request.email, request.password)
        return pb.Session(
            session_token=started.token,
            user=messages.user(started.user),
            expire_time=timestamp(started.expires_ms),
        )

    async def DeleteSession(
        self, request: pb.DeleteSessionRequest, _context: Context
    ) -> pb.DeleteSessionResponse:
        user_id = await self._users.sign_out(request.session_token)
        if user_id is not None:
            self._announcements.void(user_id)
        return pb.DeleteSessionResponse()

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, _context: Context) -> pb.ApiKey:
        asked = request.key
        row, secret = await self._keys.create(
            org_id=asked.org_id,
            name=asked.name,
            rate_limit_per_minute=messages.optional(asked, "rate_limit_per_minute"),
            scopes=asked.scopes,
            test_mode=asked.test_mode,
            expires_ms=messages.milliseconds(asked, "expire_time"),
            family=request.family,
            actor=request.actor,
        )
        return messages.key(row, secret)

    async def ListApiKeys(
        self, request: pb.ListApiKeysRequest, _context: Context
    ) -> pb.ListApiKeysResponse:
        size = fields.page_size(request.page_size)
        rows = await self._keys.page(request.org_id, request.page_token, size)
        return pb.ListApiKeysResponse(
            keys=map(messages.key, rows),
            next_page_token=messages.next_page(rows, size, "created_ms", "key_id"),
        )

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, _context: Context) -> pb.ApiKey:
        row = await self._keys.revoke(request.key_id, request.org_id, request.actor)
        self._announcements.void(request.key_id)
        return messages.key(row)

    async def RotateApiKey(self, request: pb.RotateApiKeyRequest, _context: Context) -> pb.ApiKey:
        overlap = request.overlap_s if request.HasField("overlap_s") else DEFAULT_OVERLAP_S
        row, secret = await self._keys.rotate(
            request.key_id, request.org_id, overlap, request.actor
        )
        self._announcements.void(request.key_id)
        return messages.key(row, secret)

    async def CreateOAuthClient(
        self, request: pb.CreateOAuthClientRequest, _context: Context
    ) -> pb.OAuthClient:
        row, secret = await self._oauth.create_client(
            org_id=request.client.org_id,
            name=request.client.name,
            scopes=request.client.scopes,
            actor=request.actor,
        )
        return messages.client(row, secret)

    async def ListOAuthClients(
        self, request: pb.ListOAuthClientsRequest, _context: Context
    ) -> pb.ListOAuthClientsResponse:
        size = fields.page_size(request.page_size)
        rows = await self._oauth.page(request.org_id, request.page_token, size)
        return pb.ListOAuthClientsResponse(
            clients=map(messages.client, rows),
            next_page_token=messages.next_page(rows, size, "created_ms", "client_id"),
        )

    async def RevokeOAuthClient(
        self, request: pb.RevokeOAuthClientRequest, _context: Context
    ) -> pb.OAuthClient:
        row = await self._oauth.revoke_client(request.client_id, request.org_id, request.actor)
        self._announcements.void(request.client_id)
        return messages.client(row)

    async def IssueToken(
        self, request: pb.IssueTokenRequest, _context: Context
    ) -> pb.IssueTokenResponse:
        token = await self._oauth.issue(request.client_id, request.client_secret, request.scopes)
        return pb.IssueTokenResponse(
            access_token=token.access_token, expires_in=token.expires_in, scopes=token.scopes
        )

    async def GetSigningKeys(
        self, _request: pb.GetSigningKeysRequest, _context: Context
    ) -> pb.GetSigningKeysResponse:
        return pb.GetSigningKeysResponse(jwks=await self._oauth.public_keys())

    async def ListPlans(
        self, _request: pb.ListPlansRequest, _context: Context
    ) -> pb.ListPlansResponse:
        return pb.ListPlansResponse(
            plans=(
                pb.Plan(
                    name=plan.name,
                    limits=messages.limits(
                        (plan.requests_per_minute, plan.burst, plan.requests_per_day)
                    ),
                    max_upload_bytes=plan.max_upload_bytes,
                    max_duration_ms=plan.max_duration_ms,
                )
                for plan in PLANS.values()
            )
        )

    async def RecordUsage(
        self, request: pb.RecordUsageRequest, _context: Context
    ) -> pb.RecordUsageResponse:
        entries = [
            Entry(
                entry.request_id,
                entry.org_id,
                entry.principal_id,
                entry.item,
                prices.quantity_of(entry.quantity),
                entry.test_mode,
                messages.milliseconds(entry, "time") or fields.now_ms(),
                entry.consent_reference,
            )
            for entry in request.entries
        ]
        return pb.RecordUsageResponse(recorded_count=await self._ledger.record(entries))

    async def GetUsage(self, request: pb.GetUsageRequest, _context: Context) -> pb.Usage:
        month = await self._ledger.month(request.org_id, request.month)
        return pb.Usage(
            month=month.month,
            total_analyses=month.count,
            total_minutes=prices.plain(month.minutes),
            total_usd=str(month.total_usd),
            lines=map(messages.line, month.lines),
        )

    async def ListUsageCrossings(
        self, request: pb.ListUsageCrossingsRequest, _context: Context
    ) -> pb.ListUsageCrossingsResponse:
        size = fields.page_size(request.page_size)
        before = fields.page_number(request.page_token)
        rows = await self._ledger.crossings(request.org_id, before, size)
        return pb.ListUsageCrossingsResponse(
            crossings=map(messages.crossing, rows),
            next_page_token=messages.next_page(rows, size, "sequence"),
        )

    async def Quote(self, request: pb.QuoteRequest, _context: Context) -> pb.QuoteResponse:
        line = ledger.line(request.item, prices.quantity_of(request.quantity))
        return pb.QuoteResponse(line=messages.line(line))

    async def GetInvoice(self, request: pb.GetInvoiceRequest, _context: Context) -> pb.Invoice:
        organization = await self._organizations.get(request.org_id)
        month = await self._ledger.month(request.org_id, request.month)
        return pb.Invoice(
            number=f"INV-{request.org_id}-{month.month.replace('-', '')}",
            organization=messages.organization(organization),
            month=month.month,
            lines=map(messages.line, month.lines),
            total_usd=str(month.total_usd),
            closed=month.closed,
        )

    async def RecordAudit(self, request: pb.RecordAuditRequest, _context: Context) -> pb.AuditEntry:
        entry = request.entry
        action = fields.text("action", entry.action, 64)
        async with self._database.write() as connection:
            row = await self._audit.append(
                connection, entry.org_id, entry.actor, action, entry.resource, dict(entry.details)
            )
        return messages.audit_entry(row)

    async def ListAudit(
        self, request: pb.ListAuditRequest, _context: Context
    ) -> pb.ListAuditResponse:
        size = fields.page_size(request.page_size)
        before = fields.page_number(request.page_token)
        rows = await self._audit.page(request.org_id, before, size)
        return pb.ListAuditResponse(
            entries=map(messages.audit_entry, rows),
            next_page_token=messages.next_page(rows, size, "sequence"),
        )

    async def CreateDeletionReceipt(
        self, request: pb.CreateDeletionReceiptRequest, _context: Context
    ) -> pb.ErasureReceipt:
        return messages.receipt(
            await self._receipts.create(
                request.org_id, request.actor, request.resource, request.sha256
            )
        )

    async def GetDeletionReceipt(
        self, request: pb.GetDeletionReceiptRequest, _context: Context
    ) -> pb.ErasureReceipt:
        return messages.receipt(await self._receipts.get(request.org_id, request.receipt_id))

    async def VerifyAudit(
        self, _request: pb.VerifyAuditRequest, _context: Context
    ) -> pb.VerifyAuditResponse:
        check = await self._audit.verify()
        return pb.VerifyAuditResponse(
            intact=check.first_broken == 0,
            checked_count=check.checked,
            first_broken_sequence=check.first_broken,
            head_hash=check.head,
        )

    async def _by_key(self, secret: str) -> pb.Principal:
        key = await self._keys.authenticate(secret)
        organization = await self._organizations.get(key["org_id"])
        minute, burst, day = organizations.limits_of(organization)
        if key["rate_limit_per_minute"] is not None:
            minute = burst = key["rate_limit_per_minute"]
        return pb.Principal(
            principal_id=key["key_id"],
            scopes=key["scopes"].split(),
            limits=messages.limits((minute, burst, day)),
            test_mode=key["test_mode"],
            expire_time=timestamp(key["expires_ms"]),
            **messages.of_organization(organization),
        )

    async def _by_token(self, access_token: str) -> pb.Principal:
        grant = await self._oauth.verify(access_token)
        organization = await self._organizations.get(grant.client["org_id"])
        return pb.Principal(
            principal_id=grant.client["client_id"],
            scopes=grant.scopes,
            limits=messages.limits(organizations.limits_of(organization)),
            expire_time=timestamp(grant.expires_ms),
            **messages.of_organization(organization),
        )

    async def _by_session(self, token: str) -> pb.Principal:
        user = await self._users.by_session(token)
        if user is None:
            raise errors.Unauthorized("You are not signed in.", suggestion="Sign in again.")
        organization = await self._organizations.get(user["org_id"])
        return pb.Principal(
            principal_id=user["user_id"],
            scopes=_READS if user["role"] == pb.ROLE_ANALYST else fields.SCOPES,
            role=user["role"],
            limits=messages.limits(organizations.limits_of(organization)),
            expire_time=timestamp(user["expires_ms"]),
            **messages.of_organization(organization),
        )

    async def _bootstrap(self, secret: str) -> None:
        async with self._database.write() as connection:
            await self._database.lock(connection, _BOOTSTRAP_LOCK)
            query = select(api_keys.c.org_id).where(api_keys.c.bootstrap).limit(1)
            org_id = (await connection.execute(query)).scalar_one_or_none()
            if org_id is None:
                organization = await self._organizations.create(
                    connection, name="bootstrap", plan="enterprise", jurisdiction="", use_context=""
                )
                org_id = organization["org_id"]
            await self._keys.ensure_bootstrap(connection, org_id, secret)

    async def _write_last_used(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _LAST_USED_EVERY_S)
            await self._keys.write_last_used()

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()


_BOOTSTRAP_LOCK = 7_204_110_320


async def register(server: grpc.aio.Server, service: Service) -> str:
    """Opens the database and adds the billing service to a server."""
    servicer = await BillingServicer.open(service.settings)
    service.closers.append(servicer.close)
    billing_pb2_grpc.add_BillingServiceServicer_to_server(servicer, server)
    return str(pb.DESCRIPTOR.services_by_name["BillingService"].full_name)
