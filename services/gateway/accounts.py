"""Accounts over REST: sessions, users, keys, OAuth, usage, quotes, invoices."""

from __future__ import annotations

import base64
import binascii
import csv
import io
import time
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import orjson
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from starlette.requests import HTTPConnection
from starlette.routing import Route

from affectmesh.v1 import billing_pb2 as pb
from affectmesh.v1 import billing_pb2_grpc
from services.billing.prices import PRICES, plain
from services.common import errors
from services.common.channels import Channels, call
from services.common.settings import Settings
from services.gateway.authentication import SESSION_COOKIE, check_origin, session_token
from services.gateway.dialects.wia import BASE_PATHS, Wia
from services.gateway.endpoint import Answer, Dialect, Endpoint, Exchange, Handler
from services.gateway.policy import Admission, Policy

READ_SCOPE = "emotion:read"

_LARGEST_BODY = 64 * 1024
_TIMEOUT_S = 10.0
_NO_STORE = {"cache-control": "no-store"}
_ROLES = {
    pb.ROLE_ANALYST: "analyst",
    pb.ROLE_MANAGER: "manager",
    pb.ROLE_ADMIN: "admin",
    pb.ROLE_OWNER: "owner",
}


class EmoVision:
    """The words of EmoVision."""

    def error(self, error: errors.AffectMeshError, _request_id: str) -> Mapping[str, Any]:
        """The error form of the document; 429 has one of its own."""
        if isinstance(error, errors.RateLimited):
            return {
                "error": "Rate limit exceeded",
                "retry_after": int(error.details.get("retry_after", "1")),
            }
        return {"error": error.message, "code": error.code, "details": dict(error.details)}


class OAuthErrors:
    """The words of RFC 6749, 5.2."""

    def error(self, error: errors.AffectMeshError, _request_id: str) -> Mapping[str, Any]:
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
        body = await _body(exchange, {"email": str, "password": str})
        session = await self._call(
            self._billing.CreateSession,
            pb.CreateSessionRequest(email=body["email"], password=body["password"]),
        )
        await self._end_session(exchange)
        content = {"user": _user(session.user), "expires_at": _time(session.expire_time)}
        life_s = int(session.expire_time.seconds - time.time())
        cookie = _cookie(exchange.connection, session.session_token, life_s)
        return Answer(content, 201, {"set-cookie": cookie, **_NO_STORE})

    async def _session(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_ANALYST)).principal
        content = {
            "user_id": principal.principal_id,
            "org_id": principal.org_id,
            "role": _ROLES[principal.role],
            "plan": principal.plan,
            "expires_at": _time(principal.expire_time),
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
        body = await _body(
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
        _check_organization(principal, body)
        key = pb.ApiKey(
            org_id=principal.org_id,
            name=body["name"],
            rate_limit_per_minute=body.get("rate_limit_per_minute"),
            scopes=_texts("scopes", body.get("scopes", [])),
            test_mode=body.get("test_mode", False),
            expire_time=_moment("expires_at", body.get("expires_at")),
        )
        made = await self._call(
            self._billing.CreateApiKey,
            pb.CreateApiKeyRequest(
                key=key, family=body.get("family", ""), actor=principal.principal_id
            ),
        )
        return Answer({"api_key": made.secret, **_key(made)}, 201, _NO_STORE)

    async def _list_keys(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_MANAGER)).principal
        size, token = _page(exchange)
        found = await self._call(
            self._billing.ListApiKeys,
            pb.ListApiKeysRequest(org_id=principal.org_id, page_size=size, page_token=token),
        )
        return _listed("keys", map(_key, found.keys), found.next_page_token)

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
        return Answer(_key(key))

    async def _rotate_key(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_MANAGER)).principal
        body = await _body(exchange, {}, {"overlap_s": int})
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
        return Answer({"api_key": key.secret, **_key(key)}, 201, _NO_STORE)

    async def _create_client(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_MANAGER)).principal
        body = await _body(exchange, {"name": str}, {"org_id": int, "scopes": list})
        _check_organization(principal, body)
        client = pb.OAuthClient(
            org_id=principal.org_id,
            name=body["name"],
            scopes=_texts("scopes", body.get("scopes", [])),
        )
        made = await self._call(
            self._billing.CreateOAuthClient,
            pb.CreateOAuthClientRequest(client=client, actor=principal.principal_id),
        )
        return Answer({"client_secret": made.client_secret, **_client(made)}, 201, _NO_STORE)

    async def _list_clients(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_MANAGER)).principal
        size, token = _page(exchange)
        found = await self._call(
            self._billing.ListOAuthClients,
            pb.ListOAuthClientsRequest(org_id=principal.org_id, page_size=size, page_token=token),
        )
        return _listed("clients", map(_client, found.clients), found.next_page_token)

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
        return Answer(_client(client))

    async def _create_user(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_ADMIN)).principal
        body = await _body(exchange, {"email": str, "password": str, "role": str})
        user = pb.User(org_id=principal.org_id, email=body["email"], role=_role(body["role"]))
        made = await self._call(
            self._billing.CreateUser,
            pb.CreateUserRequest(
                user=user,
                password=body["password"],
                actor=principal.principal_id,
                actor_role=principal.role,
            ),
        )
        return Answer(_user(made), 201)

    async def _list_users(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_ADMIN)).principal
        size, token = _page(exchange)
        found = await self._call(
            self._billing.ListUsers,
            pb.ListUsersRequest(org_id=principal.org_id, page_size=size, page_token=token),
        )
        return _listed("users", map(_user, found.users), found.next_page_token)

    async def _update_user(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_ADMIN)).principal
        body = await _body(exchange, {}, {"role": str, "password": str, "enabled": bool})
        user = await self._call(
            self._billing.UpdateUser,
            pb.UpdateUserRequest(
                user_id=exchange.scope["path_params"]["user_id"],
                org_id=principal.org_id,
                role=_role(body["role"]) if "role" in body else None,
                password=body.get("password"),
                enabled=body.get("enabled"),
                actor=principal.principal_id,
                actor_role=principal.role,
            ),
        )
        self._policy.forget(user.user_id)
        return Answer(_user(user))

    async def _organization(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_ANALYST)).principal
        request = pb.GetOrganizationRequest(org_id=principal.org_id)
        return Answer(_organization(await self._call(self._billing.GetOrganization, request)))

    async def _update_organization(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_OWNER)).principal
        body = await _body(
            exchange, {}, {"jurisdiction": str, "use_context": str, "usage_thresholds_usd": list}
        )
        thresholds = body.get("usage_thresholds_usd", [])
        organization = await self._call(
            self._billing.UpdateOrganization,
            pb.UpdateOrganizationRequest(
                org_id=principal.org_id,
                jurisdiction=body.get("jurisdiction"),
                use_context=body.get("use_context"),
                usage_thresholds_usd=_texts("usage_thresholds_usd", thresholds),
                actor=principal.principal_id,
            ),
        )
        self._policy.forget(f"org_{organization.org_id}")
        return Answer(_organization(organization))

    async def _audit(self, exchange: Exchange) -> Answer:
        principal = (await self._admit(exchange, pb.ROLE_ADMIN)).principal
        size, token = _page(exchange)
        found = await self._call(
            self._billing.ListAudit,
            pb.ListAuditRequest(org_id=principal.org_id, page_size=size, page_token=token),
        )
        return _listed("entries", map(_audit_entry, found.entries), found.next_page_token)

    async def _emovision_usage(self, exchange: Exchange) -> Answer:
        admission = await self._admit_reader(exchange)
        usage = await self._month(admission.principal, "")
        return Answer(
            {
                "month": usage.month,
                "total_analyses": usage.total_analyses,
                "total_minutes_analyzed": _number(usage.total_minutes),
                "total_cost_usd": _number(usage.total_usd),
                "rate_limit": _rate_limit(admission),
            }
        )

    async def _usage(self, exchange: Exchange) -> Answer:
        admission = await self._admit_reader(exchange)
        usage = await self._month(admission.principal, _parameter(exchange, "month"))
        limits = admission.principal.limits
        return Answer(
            {
                "request_id": exchange.request_id,
                "month": usage.month,
                "plan": admission.principal.plan,
                "total_requests": usage.total_analyses,
                "total_minutes": _number(usage.total_minutes),
                "total_usd": usage.total_usd,
                "items": [_line(line) for line in usage.lines],
                "requests_per_minute": limits.requests_per_minute,
                "requests_per_day": limits.requests_per_day or None,
                "rate_limit": _rate_limit(admission),
            }
        )

    async def _quote(self, exchange: Exchange) -> Answer:
        admission = await self._admit_reader(exchange)
        body = await _body(exchange, {"item": str}, {"quantity": (int, float, str)})
        quote = await self._call(
            self._billing.Quote,
            pb.QuoteRequest(
                org_id=admission.principal.org_id,
                item=body["item"],
                quantity=str(body.get("quantity", 1)),
            ),
        )
        return Answer({"request_id": exchange.request_id, **_line(quote.line)})

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
        admission = await self._admit_reader(exchange)
        month, _, ending = exchange.scope["path_params"]["month"].partition(".")
        form = _parameter(exchange, "format") or ending or "json"
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
            return Answer(_invoice_csv(invoice), 200, name, "text/csv; charset=utf-8")
        return Answer(_invoice(invoice))

    async def _receipt(self, exchange: Exchange) -> Answer:
        admission = await self._admit_reader(exchange)
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
                "deleted_at": _time(receipt.delete_time),
                "audit_sequence": receipt.audit_sequence,
                "audit_hash": receipt.audit_hash,
            }
        )

    async def _token(self, exchange: Exchange) -> Answer:
        form = await _form(exchange)
        if form.get("grant_type") != "client_credentials":
            raise errors.InvalidRequest(
                "The grant type must be client_credentials.",
                oauth_error="unsupported_grant_type",
            )
        client_id, secret = _client_credentials(exchange.scope, form)
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
        admission = await self._policy.admit(exchange.connection, "")
        exchange.headers.update(admission.headers)
        if admission.principal.role < least:
            raise errors.Forbidden(
                f"This needs a signed-in user with the role {_ROLES[least]} or above.",
                suggestion="Sign in at POST /api/session as such a user.",
            )
        return admission

    async def _admit_reader(self, exchange: Exchange) -> Admission:
        admission = await self._policy.admit(exchange.connection, READ_SCOPE)
        exchange.headers.update(admission.headers)
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


Kind = type | tuple[type, ...]


async def _body(
    exchange: Exchange, required: Mapping[str, Kind], optional: Mapping[str, Kind] | None = None
) -> dict[str, Any]:
    """The fields of a JSON object. Raises InvalidRequest naming the one that is wrong."""
    raw = await exchange.body(_LARGEST_BODY)
    content_type = dict(exchange.scope["headers"]).get(b"content-type", b"application/json")
    if not content_type.startswith(b"application/json"):
        raise errors.UnsupportedMedia(
            "The body must be JSON.", suggestion="Send Content-Type: application/json."
        )
    try:
        body = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError as error:
        raise errors.InvalidRequest(
            "The body is not valid JSON.", reason=str(error), suggestion="Send one JSON object."
        ) from None
    if not isinstance(body, dict):
        raise errors.InvalidRequest("The body is not an object.", suggestion="Send a JSON object.")
    kinds = {**required, **(optional or {})}
    for name in required:
        if body.get(name) is None:
            raise _wrong(name, f"{name} is missing.")
    for name, value in body.items():
        if name not in kinds:
            raise _wrong(name, f"There is no field {name[:64]!r}.")
        boolean = isinstance(value, bool) and kinds[name] is not bool
        if value is not None and (boolean or not isinstance(value, kinds[name])):
            raise _wrong(name, f"{name} has the wrong type.")
        if isinstance(value, int) and not -(2**31) <= value < 2**31:
            raise _wrong(name, f"{name} is out of range.")
    return {name: value for name, value in body.items() if value is not None}


def _wrong(field: str, message: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(
        message, field=field[:64], suggestion=f"See the reference of {field[:64]}."
    )


def _texts(field: str, values: list[Any]) -> list[str]:
    if len(values) > 100 or not all(isinstance(value, str | int | float) for value in values):
        raise _wrong(field, f"{field} has the wrong type.")
    return [str(value) for value in values]


def _moment(field: str, value: str | None) -> Timestamp | None:
    if value is None:
        return None
    moment = Timestamp()
    try:
        moment.FromJsonString(value)
    except ValueError:
        raise _wrong(field, f"{field} is not a time of RFC 3339.") from None
    return moment


def _role(name: str) -> pb.Role.ValueType:
    for role, known in _ROLES.items():
        if known == name:
            return role
    raise _wrong("role", f"{name[:32]!r} is not a role.")


def _check_organization(principal: pb.Principal, body: Mapping[str, Any]) -> None:
    if body.get("org_id", principal.org_id) != principal.org_id:
        raise errors.Forbidden(
            "You do not belong to this organisation.",
            field="org_id",
            suggestion=f"Send your own organisation's id, {principal.org_id}.",
        )


def _parameter(exchange: Exchange, name: str) -> str:
    return exchange.connection.query_params.get(name, "")


def _page(exchange: Exchange) -> tuple[int, str]:
    size = _parameter(exchange, "page_size") or "0"
    if not (size.isascii() and size.isdecimal() and len(size) <= 4):
        raise _wrong("page_size", "page_size is not a number.")
    return int(size), _parameter(exchange, "page_token")


def _listed(name: str, entries: Iterator[Mapping[str, Any]], token: str) -> Answer:
    return Answer({name: list(entries), "next_page_token": token or None})


async def _form(exchange: Exchange) -> dict[str, str]:
    raw = await exchange.body(_LARGEST_BODY)
    content_type = dict(exchange.scope["headers"]).get(b"content-type", b"")
    if not content_type.startswith(b"application/x-www-form-urlencoded"):
        raise errors.InvalidRequest("The body must be application/x-www-form-urlencoded.")
    try:
        pairs = parse_qs(raw.decode(), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise errors.InvalidRequest("The form cannot be read.") from None
    if any(len(values) > 1 for values in pairs.values()):
        raise errors.InvalidRequest("A parameter is given twice.")
    return {name: values[0] for name, values in pairs.items()}


def _client_credentials(scope: Mapping[str, Any], form: Mapping[str, str]) -> tuple[str, str]:
    """Of HTTP Basic (RFC 6749, 2.3.1) or of the form."""
    header = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        user, _, password = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise errors.Unauthorized("The client's credentials cannot be read.") from None
    return unquote_plus(user), unquote_plus(password)


def _cookie(connection: HTTPConnection, token: str, life_s: int) -> str:
    secure = "; Secure" if connection.url.scheme in ("https", "wss") else ""
    return f"{SESSION_COOKIE}={token}; Max-Age={life_s}; Path=/; HttpOnly; SameSite=Strict{secure}"


def _number(text: str) -> int | float:
    value = Decimal(text)
    return int(value) if value == value.to_integral_value() else float(value)


def _rate_limit(admission: Admission) -> dict[str, int]:
    headers = admission.headers
    return {
        name.lower(): int(headers[f"X-RateLimit-{name}"])
        for name in ("Limit", "Remaining", "Reset")
        if f"X-RateLimit-{name}" in headers
    }


def _time(moment: Timestamp) -> str:
    return moment.ToJsonString()


def _optional_time(message: Any, name: str) -> str | None:
    return _time(getattr(message, name)) if message.HasField(name) else None


def _user(user: pb.User) -> dict[str, Any]:
    return {
        "user_id": user.user_id,
        "org_id": user.org_id,
        "email": user.email,
        "role": _ROLES[user.role],
        "enabled": user.enabled,
        "created_at": _time(user.create_time),
    }


def _key(key: pb.ApiKey) -> dict[str, Any]:
    own = key.HasField("rate_limit_per_minute")
    return {
        "key_id": key.key_id,
        "org_id": key.org_id,
        "name": key.name,
        "prefix": key.prefix,
        "rate_limit_per_minute": key.rate_limit_per_minute if own else None,
        "scopes": list(key.scopes),
        "test_mode": key.test_mode,
        "created_at": _time(key.create_time),
        "last_used_at": _optional_time(key, "last_used_time"),
        "expires_at": _optional_time(key, "expire_time"),
        "revoked_at": _optional_time(key, "revoke_time"),
    }


def _client(client: pb.OAuthClient) -> dict[str, Any]:
    return {
        "client_id": client.client_id,
        "org_id": client.org_id,
        "name": client.name,
        "scopes": list(client.scopes),
        "created_at": _time(client.create_time),
        "revoked_at": _optional_time(client, "revoke_time"),
    }


def _organization(organization: pb.Organization) -> dict[str, Any]:
    return {
        "org_id": organization.org_id,
        "name": organization.name,
        "plan": organization.plan,
        "jurisdiction": organization.jurisdiction,
        "use_context": organization.use_context,
        "usage_thresholds_usd": list(organization.usage_thresholds_usd),
        "created_at": _time(organization.create_time),
    }


def _audit_entry(entry: pb.AuditEntry) -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "actor": entry.actor,
        "action": entry.action,
        "resource": entry.resource,
        "details": dict(entry.details),
        "time": _time(entry.time),
        "hash": entry.hash,
    }


def _line(line: pb.UsageLine) -> dict[str, Any]:
    return {
        "item": line.item,
        "unit": line.unit,
        "quantity": plain(Decimal(line.quantity)),
        "unit_price_usd": line.unit_price_usd,
        "total_usd": line.total_usd,
        "count": line.count,
    }


def _invoice(invoice: pb.Invoice) -> dict[str, Any]:
    return {
        "number": invoice.number,
        "organization": _organization(invoice.organization),
        "month": invoice.month,
        "currency": "USD",
        "lines": [_line(line) for line in invoice.lines],
        "total_usd": invoice.total_usd,
        "closed": invoice.closed,
    }


def _invoice_csv(invoice: pb.Invoice) -> bytes:
    """One line an item and one for the sum (RFC 4180)."""
    text = io.StringIO()
    writer = csv.writer(text)
    names = ("item", "unit", "quantity", "unit_price_usd", "count", "total_usd")
    writer.writerow(("invoice", "month", *names))
    for line in map(_line, invoice.lines):
        writer.writerow((invoice.number, invoice.month, *(line[name] for name in names)))
    total = ("total", "", "", "", "", invoice.total_usd)
    writer.writerow((invoice.number, invoice.month, *total))
    return text.getvalue().encode()
