"""Accounts over REST: sessions, users, keys, OAuth, usage, quotes, invoices."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.message import Message
from starlette.requests import HTTPConnection
from starlette.routing import Route

from affectmesh.v1 import billing_pb2 as pb
from affectmesh.v1 import billing_pb2_grpc
from services.billing.prices import PRICES
from services.common import errors
from services.common.channels import Channels, call
from services.common.settings import Settings
from services.gateway import reading, views
from services.gateway.access import Access
from services.gateway.authentication import SESSION_COOKIE, check_origin, session_token
from services.gateway.dialects.emovision import EmoVision
from services.gateway.dialects.wia import BASE_PATHS, Wia
from services.gateway.endpoint import Answer, Dialect, Endpoint, Exchange, Handler
from services.gateway.policy import Admission, Policy

_TIMEOUT_S = 10.0
_NO_STORE = {"cache-control": "no-store"}


class OAuthErrors(Dialect):
    """The words of RFC 6749, 5.2."""

    def error(self, error: errors.AffectMeshError, request_id: str) -> Mapping[str, Any]:
        """`error` and `error_description`."""
        if isinstance(error, errors.Unauthorized):
            code = "invalid_client"
        elif error.details.get("field") == "scopes":
            code = "invalid_scope"
        elif isinstance(error, errors.InvalidRequest):
            code = error.details.get("oauth_error", "invalid_request")
        elif error.http_status >= 500:
            code = "temporarily_unavailable"
        else:
            code = "invalid_request"
        return {"error": code, "error_description": error.message}


def routes(_settings: Settings, channels: Channels, policy: Policy) -> list[Route]:
    """Every route of this file."""
    return list(_Accounts(channels, policy).routes())


class _Accounts:
    """The handlers."""

    def __init__(self, channels: Channels, policy: Policy) -> None:
        self._policy = policy
        self._access = Access(policy)
        self._billing = channels.stub("billing", billing_pb2_grpc.BillingServiceStub)

    def routes(self) -> Iterator[Route]:
        """Each with the dialect that words its errors."""
        emovision, wia, oauth = EmoVision(), Wia(), OAuthErrors()
        yield _route("/api/session", "POST", emovision, self._sign_in)
        yield _route("/api/session", "GET", emovision, self._session)
        yield _route("/api/session", "DELETE", emovision, self._sign_out)
        yield _route("/api/keys/generate", "POST", emovision, self._generate_key)
        yield _route("/api/keys", "GET", emovision, self._list_keys)
        yield _route("/api/keys/{key_id}", "DELETE", emovision, self._revoke_key)
        yield _route("/api/keys/{key_id}/rotate", "POST", emovision, self._rotate_key)
        yield _route("/api/clients", "POST", emovision, self._create_client)
        yield _route("/api/clients", "GET", emovision, self._list_clients)
        yield _route("/api/clients/{client_id}", "DELETE", emovision, self._revoke_client)
        yield _route("/api/users", "POST", emovision, self._create_user)
        yield _route("/api/users", "GET", emovision, self._list_users)
        yield _route("/api/users/{user_id}", "PATCH", emovision, self._update_user)
        yield _route("/api/organization", "GET", emovision, self._organization)
        yield _route("/api/organization", "PATCH", emovision, self._update_organization)
        yield _route("/api/audit", "GET", emovision, self._audit)
        yield _route("/api/v1/usage", "GET", emovision, self._emovision_usage)
        yield _route("/oauth/token", "POST", oauth, self._token)
        for path in ("/oauth/jwks", "/.well-known/jwks.json"):
            yield _route(path, "GET", oauth, self._jwks)
        for base in BASE_PATHS:
            yield _route(f"{base}/v1/usage", "GET", wia, self._usage)
            yield _route(f"{base}/v1/quote", "POST", wia, self._quote)
            yield _route(f"{base}/v1/prices", "GET", wia, self._prices)
            yield _route(f"{base}/v1/plans", "GET", wia, self._plans)
            yield _route(f"{base}/v1/invoices/{{month}}", "GET", wia, self._invoice)
            yield _route(f"{base}/v1/receipts/{{receipt_id}}", "GET", wia, self._receipt)

    async def _sign_in(self, exchange: Exchange) -> Answer:
        check_origin(exchange.scope)
        body = await reading.json_object(exchange, {"email": str, "password": str})
        session = await self._call(
            self._billing.CreateSession,
            pb.CreateSessionRequest(email=body["email"], password=body["password"]),
        )
        await self._end_session(exchange)
        content = {
            "user": views.user(session.user),
            "expires_at": views.time_text(session.expire_time),
        }
        life_s = int(session.expire_time.seconds - time.time())
        cookie = _cookie(exchange.connection, session.session_token, life_s)
        return Answer(content, 201, {"set-cookie": cookie, **_NO_STORE})

    async def _session(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_ANALYST)).principal
        content = {
            "user_id": principal.principal_id,
            "org_id": principal.org_id,
            "role": views.ROLES[principal.role],
            "plan": principal.plan,
            "expires_at": views.time_text(principal.expire_time),
        }
        return Answer(content, headers=_NO_STORE)

    async def _sign_out(self, exchange: Exchange) -> Answer:
        check_origin(exchange.scope)
        await self._end_session(exchange)
        return Answer(
            {"signed_out": True}, headers={"set-cookie": _cookie(exchange.connection, "", 0)}
        )

    async def _end_session(self, exchange: Exchange) -> None:
        if token := session_token(exchange.scope):
            request = pb.DeleteSessionRequest(session_token=token)
            await self._call(self._billing.DeleteSession, request)
            self._policy.forget(session_token=token)

    async def _generate_key(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_MANAGER)).principal
        body = await reading.json_object(
            exchange,
            {"name": str},
            {
                "org_id": int,
                "rate_limit_per_minute": int,
                "scopes": list,
                "test_mode": bool,
                "family": str,
                "expires_at": str,
            },
        )
        reading.check_organization(principal, body)
        key = pb.ApiKey(
            org_id=principal.org_id,
            name=body["name"],
            rate_limit_per_minute=body.get("rate_limit_per_minute"),
            scopes=reading.texts("scopes", body.get("scopes", [])),
            test_mode=body.get("test_mode", False),
            expire_time=reading.moment("expires_at", body.get("expires_at")),
        )
        made = await self._call(
            self._billing.CreateApiKey,
            pb.CreateApiKeyRequest(
                key=key, family=body.get("family", ""), actor=principal.principal_id
            ),
        )
        return Answer({"api_key": made.secret, **views.key(made)}, 201, _NO_STORE)

    async def _list_keys(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_MANAGER)).principal
        size, token = reading.page(exchange)
        found = await self._call(
            self._billing.ListApiKeys,
            pb.ListApiKeysRequest(org_id=principal.org_id, page_size=size, page_token=token),
        )
        return Answer(views.listed("keys", map(views.key, found.keys), found.next_page_token))

    async def _revoke_key(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_MANAGER)).principal
        key = await self._call(
            self._billing.RevokeApiKey,
            pb.RevokeApiKeyRequest(
                key_id=exchange.scope["path_params"]["key_id"],
                org_id=principal.org_id,
                actor=principal.principal_id,
            ),
        )
        self._policy.forget(key.key_id)
        return Answer(views.key(key))

    async def _rotate_key(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_MANAGER)).principal
        body = await reading.json_object(exchange, {}, {"overlap_s": int})
        key = await self._call(
            self._billing.RotateApiKey,
            pb.RotateApiKeyRequest(
                key_id=exchange.scope["path_params"]["key_id"],
                org_id=principal.org_id,
                overlap_s=body.get("overlap_s"),
                actor=principal.principal_id,
            ),
        )
        self._policy.forget(exchange.scope["path_params"]["key_id"])
        return Answer({"api_key": key.secret, **views.key(key)}, 201, _NO_STORE)

    async def _create_client(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_MANAGER)).principal
        body = await reading.json_object(exchange, {"name": str}, {"org_id": int, "scopes": list})
        reading.check_organization(principal, body)
        client = pb.OAuthClient(
            org_id=principal.org_id,
            name=body["name"],
            scopes=reading.texts("scopes", body.get("scopes", [])),
        )
        made = await self._call(
            self._billing.CreateOAuthClient,
            pb.CreateOAuthClientRequest(client=client, actor=principal.principal_id),
        )
        return Answer({"client_secret": made.client_secret, **views.client(made)}, 201, _NO_STORE)

    async def _list_clients(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_MANAGER)).principal
        size, token = reading.page(exchange)
        found = await self._call(
            self._billing.ListOAuthClients,
            pb.ListOAuthClientsRequest(org_id=principal.org_id, page_size=size, page_token=token),
        )
        return Answer(
            views.listed("clients", map(views.client, found.clients), found.next_page_token)
        )

    async def _revoke_client(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_MANAGER)).principal
        client = await self._call(
            self._billing.RevokeOAuthClient,
            pb.RevokeOAuthClientRequest(
                client_id=exchange.scope["path_params"]["client_id"],
                org_id=principal.org_id,
                actor=principal.principal_id,
            ),
        )
        self._policy.forget(client.client_id)
        return Answer(views.client(client))

    async def _create_user(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_ADMIN)).principal
        body = await reading.json_object(exchange, {"email": str, "password": str, "role": str})
        user = pb.User(
            org_id=principal.org_id, email=body["email"], role=reading.role(body["role"])
        )
        made = await self._call(
            self._billing.CreateUser,
            pb.CreateUserRequest(
                user=user,
                password=body["password"],
                actor=principal.principal_id,
                actor_role=principal.role,
            ),
        )
        return Answer(views.user(made), 201)

    async def _list_users(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_ADMIN)).principal
        size, token = reading.page(exchange)
        found = await self._call(
            self._billing.ListUsers,
            pb.ListUsersRequest(org_id=principal.org_id, page_size=size, page_token=token),
        )
        return Answer(views.listed("users", map(views.user, found.users), found.next_page_token))

    async def _update_user(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_ADMIN)).principal
        body = await reading.json_object(
            exchange, {}, {"role": str, "password": str, "enabled": bool}
        )
        user = await self._call(
            self._billing.UpdateUser,
            pb.UpdateUserRequest(
                user_id=exchange.scope["path_params"]["user_id"],
                org_id=principal.org_id,
                role=reading.role(body["role"]) if "role" in body else None,
                password=body.get("password"),
                enabled=body.get("enabled"),
                actor=principal.principal_id,
                actor_role=principal.role,
            ),
        )
        self._policy.forget(user.user_id)
        return Answer(views.user(user))

    async def _organization(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_ANALYST)).principal
        request = pb.GetOrganizationRequest(org_id=principal.org_id)
        return Answer(views.organization(await self._call(self._billing.GetOrganization, request)))

    async def _update_organization(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_OWNER)).principal
        body = await reading.json_object(
            exchange, {}, {"jurisdiction": str, "use_context": str, "usage_thresholds_usd": list}
        )
        thresholds = body.get("usage_thresholds_usd", [])
        organization = await self._call(
            self._billing.UpdateOrganization,
            pb.UpdateOrganizationRequest(
                org_id=principal.org_id,
                jurisdiction=body.get("jurisdiction"),
                use_context=body.get("use_context"),
                usage_thresholds_usd=reading.texts("usage_thresholds_usd", thresholds),
                actor=principal.principal_id,
            ),
        )
        self._policy.forget(f"org_{organization.org_id}")
        return Answer(views.organization(organization))

    async def _audit(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_ADMIN)).principal
        size, token = reading.page(exchange)
        found = await self._call(
            self._billing.ListAudit,
            pb.ListAuditRequest(org_id=principal.org_id, page_size=size, page_token=token),
        )
        return Answer(
            views.listed("entries", map(views.audit_entry, found.entries), found.next_page_token)
        )

    async def _emovision_usage(self, exchange: Exchange) -> Answer:
        admission = await self._access.read(exchange)
        usage = await self._month(admission.principal, "")
        return Answer(
            {
                "month": usage.month,
                "total_analyses": usage.total_analyses,
                "total_minutes_analyzed": views.number(usage.total_minutes),
                "total_cost_usd": views.number(usage.total_usd),
                "rate_limit": views.rate_limit(admission),
            }
        )

    async def _usage(self, exchange: Exchange) -> Answer:
        admission = await self._access.read(exchange)
        usage = await self._month(admission.principal, reading.parameter(exchange, "month"))
        limits = admission.principal.limits
        return Answer(
            {
                "request_id": exchange.request_id,
                "month": usage.month,
                "plan": admission.principal.plan,
                "total_requests": usage.total_analyses,
                "total_minutes": views.number(usage.total_minutes),
                "total_usd": usage.total_usd,
                "items": [views.line(line) for line in usage.lines],
                "requests_per_minute": limits.requests_per_minute,
                "requests_per_day": limits.requests_per_day or None,
                "rate_limit": views.rate_limit(admission),
            }
        )

    async def _quote(self, exchange: Exchange) -> Answer:
        admission = await self._access.read(exchange)
        body = await reading.json_object(exchange, {"item": str}, {"quantity": (int, float, str)})
        quote = await self._call(
            self._billing.Quote,
            pb.QuoteRequest(
                org_id=admission.principal.org_id,
                item=body["item"],
                quantity=str(body.get("quantity", 1)),
            ),
        )
        return Answer({"request_id": exchange.request_id, **views.line(quote.line)})

    async def _prices(self, exchange: Exchange) -> Answer:
        return Answer(
            {
                "request_id": exchange.request_id,
                "currency": "USD",
                "items": [
                    {"item": price.item, "unit": price.unit, "unit_price_usd": str(price.usd)}
                    for price in PRICES.values()
                ],
            }
        )

    async def _plans(self, exchange: Exchange) -> Answer:
        found = await self._call(self._billing.ListPlans, pb.ListPlansRequest())
        return Answer(
            {
                "request_id": exchange.request_id,
                "plans": [
                    {
                        "name": plan.name,
                        "requests_per_minute": plan.limits.requests_per_minute,
                        "burst": plan.limits.burst,
                        "requests_per_day": plan.limits.requests_per_day or None,
                        "max_upload_bytes": plan.max_upload_bytes,
                        "max_duration_ms": plan.max_duration_ms,
                    }
                    for plan in found.plans
                ],
            }
        )

    async def _invoice(self, exchange: Exchange) -> Answer:
        admission = await self._access.read(exchange)
        month, _, ending = exchange.scope["path_params"]["month"].partition(".")
        form = reading.parameter(exchange, "format") or ending or "json"
        if form not in ("json", "csv"):
            raise errors.InvalidRequest(
                f"There are no invoices as {form[:16]}.",
                field="format",
                suggestion="Ask for json or csv.",
            )
        await self._policy.flush()
        invoice = await self._call(
            self._billing.GetInvoice,
            pb.GetInvoiceRequest(org_id=admission.principal.org_id, month=month),
        )
        if form == "csv":
            name = {"content-disposition": f'attachment; filename="{invoice.number}.csv"'}
            return Answer(views.invoice_csv(invoice), 200, name, "text/csv; charset=utf-8")
        return Answer(views.invoice(invoice))

    async def _receipt(self, exchange: Exchange) -> Answer:
        admission = await self._access.read(exchange)
        receipt = await self._call(
            self._billing.GetDeletionReceipt,
            pb.GetDeletionReceiptRequest(
                org_id=admission.principal.org_id,
                receipt_id=exchange.scope["path_params"]["receipt_id"],
            ),
        )
        return Answer(
            {
                "receipt_id": receipt.receipt_id,
                "resource": receipt.resource,
                "sha256": list(receipt.sha256),
                "deleted_at": views.time_text(receipt.delete_time),
                "audit_sequence": receipt.audit_sequence,
                "audit_hash": receipt.audit_hash,
            }
        )

    async def _token(self, exchange: Exchange) -> Answer:
        form = await reading.form(exchange)
        if form.get("grant_type") != "client_credentials":
            raise errors.InvalidRequest(
                "The grant type must be client_credentials.",
                oauth_error="unsupported_grant_type",
            )
        client_id, secret = reading.client_credentials(exchange.scope, form)
        token = await self._call(
            self._billing.IssueToken,
            pb.IssueTokenRequest(
                client_id=client_id, client_secret=secret, scopes=form.get("scope", "").split()
            ),
        )
        content = {
            "access_token": token.access_token,
            "token_type": "Bearer",
            "expires_in": token.expires_in,
            "scope": " ".join(token.scopes),
        }
        return Answer(content, headers={**_NO_STORE, "pragma": "no-cache"})

    async def _jwks(self, _exchange: Exchange) -> Answer:
        keys = await self._call(self._billing.GetSigningKeys, pb.GetSigningKeysRequest())
        headers = {"cache-control": "public, max-age=300"}
        return Answer(keys.jwks.encode(), 200, headers, "application/jwk-set+json")

    async def _admit(self, exchange: Exchange, least: pb.Role.ValueType) -> Admission:
        """Who is signed in, with at least this role. Raises Forbidden for others."""
        admission = await self._access.admit(exchange, "")
        if admission.principal.role < least:
            raise errors.Forbidden(
                f"This needs a signed-in user with the role {views.ROLES[least]} or above.",
                suggestion="Sign in at POST /api/session as such a user.",
            )
        return admission

    async def _month(self, principal: pb.Principal, month: str) -> pb.Usage:
        await self._policy.flush()
        request = pb.GetUsageRequest(org_id=principal.org_id, month=month)
        usage: pb.Usage = await self._call(self._billing.GetUsage, request)
        return usage

    async def _call(self, method: Any, request: Message) -> Any:
        return await call("billing", method, request, _TIMEOUT_S)


def _route(path: str, method: str, dialect: Dialect, handler: Handler) -> Route:
    return Route(path, Endpoint(path, dialect, handler), methods=[method])


def _cookie(connection: HTTPConnection, token: str, life_s: int) -> str:
    secure = "; Secure" if connection.url.scheme in ("https", "wss") else ""
    return f"{SESSION_COOKIE}={token}; Max-Age={life_s}; Path=/; HttpOnly; SameSite=Strict{secure}"
