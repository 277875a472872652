"""What the account routes answer, as JSON and CSV."""

import csv
import io
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from affectmesh.v1 import billing_pb2 as pb
from services.billing.prices import plain
from services.gateway.policy import Admission

ROLES = {
    pb.ROLE_ANALYST: "analyst",
    pb.ROLE_MANAGER: "manager",
    pb.ROLE_ADMIN: "admin",
    pb.ROLE_OWNER: "owner",
}


def listed(name: str, entries: Iterable[Mapping[str, Any]], token: str) -> dict[str, Any]:
    """A page of a list."""
    return {name: list(entries), "next_page_token": token or None}


def number(text: str) -> int | float:
    """A decimal number as JSON's, whole where it is whole."""
    value = Decimal(text)
    return int(value) if value == value.to_integral_value() else float(value)


def rate_limit(admission: Admission) -> dict[str, int]:
    """EmoVision's `rate_limit`."""
    headers = admission.headers
    return {
        name.lower(): int(headers[f"X-RateLimit-{name}"])
        for name in ("Limit", "Remaining", "Reset")
        if f"X-RateLimit-{name}" in headers
    }


def time_text(moment: Timestamp) -> str:
    """A time as RFC 3339 has it."""
    return moment.ToJsonString()


def optional_time(message: Any, name: str) -> str | None:
    """A time where it is set, otherwise None."""
    return time_text(getattr(message, name)) if message.HasField(name) else None


def user(user: pb.User) -> dict[str, Any]:
    """A user."""
    return {
        "user_id": user.user_id,
        "org_id": user.org_id,
        "email": user.email,
        "role": ROLES[user.role],
        "enabled": user.enabled,
        "created_at": time_text(user.create_time),
    }


def key(key: pb.ApiKey) -> dict[str, Any]:
    """An API key, without its secret."""
    own = key.HasField("rate_limit_per_minute")
    return {
        "key_id": key.key_id,
        "org_id": key.org_id,
        "name": key.name,
        "prefix": key.prefix,
        "rate_limit_per_minute": key.rate_limit_per_minute if own else None,
        "scopes": list(key.scopes),
        "test_mode": key.test_mode,
        "created_at": time_text(key.create_time),
        "last_used_at": optional_time(key, "last_used_time"),
        "expires_at": optional_time(key, "expire_time"),
        "revoked_at": optional_time(key, "revoke_time"),
    }


def client(client: pb.OAuthClient) -> dict[str, Any]:
    """An OAuth client, without its secret."""
    return {
        "client_id": client.client_id,
        "org_id": client.org_id,
        "name": client.name,
        "scopes": list(client.scopes),
        "created_at": time_text(client.create_time),
        "revoked_at": optional_time(client, "revoke_time"),
    }


def organization(organization: pb.Organization) -> dict[str, Any]:
    """An organisation."""
    return {
        "org_id": organization.org_id,
        "name": organization.name,
        "plan": organization.plan,
        "jurisdiction": organization.jurisdiction,
        "use_context": organization.use_context,
        "usage_thresholds_usd": list(organization.usage_thresholds_usd),
        "created_at": time_text(organization.create_time),
    }


def audit_entry(entry: pb.AuditEntry) -> dict[str, Any]:
    """An entry of the audit log."""
    return {
        "sequence": entry.sequence,
        "actor": entry.actor,
        "action": entry.action,
        "resource": entry.resource,
        "details": dict(entry.details),
        "time": time_text(entry.time),
        "hash": entry.hash,
    }


def line(line: pb.UsageLine) -> dict[str, Any]:
    """A line of an invoice."""
    return {
        "item": line.item,
        "unit": line.unit,
        "quantity": plain(Decimal(line.quantity)),
        "unit_price_usd": line.unit_price_usd,
        "total_usd": line.total_usd,
        "count": line.count,
    }


def invoice(invoice: pb.Invoice) -> dict[str, Any]:
    """An invoice."""
    return {
        "number": invoice.number,
        "organization": organization(invoice.organization),
        "month": invoice.month,
        "currency": "USD",
        "lines": list(map(line, invoice.lines)),
        "total_usd": invoice.total_usd,
        "closed": invoice.closed,
    }


def invoice_csv(invoice: pb.Invoice) -> bytes:
    """One line an item and one for the sum (RFC 4180)."""
    text = io.StringIO()
    writer = csv.writer(text)
    names = ("item", "unit", "quantity", "unit_price_usd", "count", "total_usd")
    writer.writerow(("invoice", "month", *names))
    for shown in map(line, invoice.lines):
        writer.writerow((invoice.number, invoice.month, *(shown[name] for name in names)))
    total = ("total", "", "", "", "", invoice.total_usd)
    writer.writerow((invoice.number, invoice.month, *total))
    return text.getvalue().encode()
