"""Messages of the contract from what the database holds."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping

from affectmesh.v1 import billing_pb2 as pb
from services.billing import fields, organizations, prices
from services.billing.ledger import Line
from services.common.resources import timestamp


def optional(message: Any, name: str) -> Any:
    """A field's value; None where it is not set."""
    return getattr(message, name) if message.HasField(name) else None


def milliseconds(message: Any, name: str) -> int | None:
    """Milliseconds since 1970 of a field; None where it is not set. Raises InvalidRequest."""
    if not message.HasField(name):
        return None
    try:
        return int(getattr(message, name).ToMilliseconds())
    except ValueError:
        raise fields.invalid(name, "This is not a time.", "Send one from 1970 to 9999.") from None


def next_page(rows: list[RowMapping], size: int, *columns: str) -> str:
    """The token of the page after these rows; empty where they are fewer than a page."""
    return fields.page_token(*(rows[-1][name] for name in columns)) if len(rows) == size else ""


def limits(limits: organizations.Limits) -> pb.Limits:
    """Limits."""
    minute, burst, day = limits
    return pb.Limits(requests_per_minute=minute, burst=burst, requests_per_day=day)


def of_organization(row: RowMapping) -> dict[str, Any]:
    """What a principal has of its organisation."""
    return {
        "org_id": row["org_id"],
        "plan": row["plan"],
        "use_context": row["use_context"],
        "jurisdiction": row["jurisdiction"],
    }


def organization(row: RowMapping) -> pb.Organization:
    """An organisation."""
    custom = (row["custom_minute"], row["custom_burst"], row["custom_day"])
    return pb.Organization(
        name=row["name"],
        usage_thresholds_usd=map(str, organizations.thresholds_of(row)),
        create_time=timestamp(row["created_ms"]),
        custom_limits=None if None in custom else limits(custom),
        **of_organization(row),
    )


def user(row: RowMapping) -> pb.User:
    """A user."""
    return pb.User(
        user_id=row["user_id"],
        org_id=row["org_id"],
        email=row["email"],
        role=row["role"],
        enabled=row["enabled"],
        create_time=timestamp(row["created_ms"]),
    )


def key(row: RowMapping, secret: str = "") -> pb.ApiKey:
    """An API key, with its secret where it is new."""
    return pb.ApiKey(
        key_id=row["key_id"],
        org_id=row["org_id"],
        name=row["name"],
        prefix=row["prefix"],
        secret=secret,
        rate_limit_per_minute=row["rate_limit_per_minute"],
        scopes=row["scopes"].split(),
        test_mode=row["test_mode"],
        create_time=timestamp(row["created_ms"]),
        last_used_time=timestamp(row["last_used_ms"]),
        expire_time=timestamp(row["expires_ms"]),
        revoke_time=timestamp(row["revoked_ms"]),
    )


def client(row: RowMapping, secret: str = "") -> pb.OAuthClient:
    """An OAuth client, with its secret where it is new."""
    return pb.OAuthClient(
        client_id=row["client_id"],
        org_id=row["org_id"],
        name=row["name"],
        client_secret=secret,
        scopes=row["scopes"].split(),
        create_time=timestamp(row["created_ms"]),
        revoke_time=timestamp(row["revoked_ms"]),
    )


def line(line: Line) -> pb.UsageLine:
    """A line of an invoice."""
    return pb.UsageLine(
        item=line.item,
        unit=line.unit,
        quantity=prices.plain(line.quantity),
        unit_price_usd=str(line.unit_usd.quantize(prices.CENT)),
        total_usd=str(line.total_usd),
        count=line.count,
    )


def crossing(row: RowMapping) -> pb.UsageCrossing:
    """A crossed threshold."""
    return pb.UsageCrossing(
        sequence=row["sequence"],
        org_id=row["org_id"],
        month=row["month"],
        threshold_usd=str(prices.from_micro(row["threshold"]).quantize(prices.CENT)),
        total_usd=str(prices.from_micro(row["total"]).quantize(prices.CENT)),
        time=timestamp(row["crossed_ms"]),
    )


def receipt(row: RowMapping) -> pb.ErasureReceipt:
    """A receipt."""
    return pb.ErasureReceipt(
        receipt_id=row["receipt_id"],
        resource=row["resource"],
        sha256=row["sha256"].split(),
        delete_time=timestamp(row["deleted_ms"]),
        audit_sequence=row["sequence"],
        audit_hash=row["hash"],
    )


def audit_entry(row: Mapping[str, Any] | RowMapping) -> pb.AuditEntry:
    """An entry of the audit log."""
    return pb.AuditEntry(
        sequence=row["sequence"],
        org_id=row["org_id"],
        actor=row["actor"],
        action=row["action"],
        resource=row["resource"],
        details=json.loads(row["details"]),
        time=timestamp(row["time_ms"]),
        hash=row["hash"],
    )
