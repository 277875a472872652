"""Organisations: their plan, their law, what they use emotions for."""

import json
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation

from sqlalchemy import RowMapping, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing import fields, prices
from services.billing.audit import Audit
from services.billing.plans import MAX_RATE, PLANS, Plan
from services.billing.rules import EU, USE_CONTEXTS
from services.billing.tables import organizations
from services.common import errors
from services.common.database import Database, fetch_first, fetch_one

MAX_THRESHOLDS = 20

Limits = tuple[int, int, int]
"""Requests a minute, burst, requests a day; 0 is without limit."""


class Organizations:
    """The organisations of one installation."""

    def __init__(self, database: Database, audit: Audit, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._audit = audit
        self._now_ms = now_ms

    async def create(
        self,
        connection: AsyncConnection,
        *,
        name: str,
        plan: str,
        jurisdiction: str,
        use_context: str,
        actor: str = "",
    ) -> RowMapping:
        """Makes an organisation within a writing transaction."""
        values = {
            "name": fields.text("name", name, 200),
            "plan": _plan(plan or "free").name,
            "jurisdiction": _jurisdiction(jurisdiction),
            "use_context": _use_context(use_context),
            "thresholds": "[]",
            "created_ms": self._now_ms(),
        }
        query = insert(organizations).values(values).returning(organizations)
        row = await fetch_one(connection, query)
        await self._audit.append(
            connection, row["org_id"], actor, "organization.created", f"org_{row['org_id']}"
        )
        return row

    async def get(self, org_id: int) -> RowMapping:
        """One organisation. Raises NotFound."""
        async with self._database.read() as connection:
            return await find(connection, org_id)

    async def update(
        self,
        org_id: int,
        *,
        plan: str | None = None,
        jurisdiction: str | None = None,
        use_context: str | None = None,
        thresholds: Sequence[str] = (),
        limits: Limits | None = None,
        actor: str = "",
    ) -> RowMapping:
        """Changes what is given. Raises NotFound, InvalidRequest, Forbidden (limits and plan)."""
        changes: dict[str, object] = {}
        if plan is not None:
            changes["plan"] = _plan(plan).name
            if not PLANS[plan].custom_limits:
                changes.update(custom_minute=None, custom_burst=None, custom_day=None)
        if jurisdiction is not None:
            changes["jurisdiction"] = _jurisdiction(jurisdiction)
        if use_context is not None:
            changes["use_context"] = _use_context(use_context)
        if thresholds:
            changes["thresholds"] = json.dumps(_thresholds(thresholds))
        async with self._database.write() as connection:
            row = await find(connection, org_id)
            if limits is not None:
                minute, burst, day = _limits(limits, PLANS[str(changes.get("plan", row["plan"]))])
                changes.update(custom_minute=minute, custom_burst=burst, custom_day=day)
            if not changes:
                return row
            query = (
                update(organizations)
                .where(organizations.c.org_id == org_id)
                .values(changes)
                .returning(organizations)
            )
            row = await fetch_one(connection, query)
            await self._audit.append(
                connection,
                org_id,
                actor,
                "organization.updated",
                f"org_{org_id}",
                {key: str(value) for key, value in changes.items()},
            )
        return row


async def find(connection: AsyncConnection, org_id: int) -> RowMapping:
    """One organisation within a transaction. Raises NotFound."""
    query = select(organizations).where(organizations.c.org_id == org_id)
    row = await fetch_first(connection, query)
    if row is None:
        raise errors.NotFound(
            f"There is no organisation {org_id}.", suggestion="Check the organisation's id."
        )
    return row


def limits_of(organization: RowMapping) -> Limits:
    """The organisation's limits: the plan's, or its own."""
    plan = PLANS[organization["plan"]]
    if organization["custom_minute"] is None:
        return plan.requests_per_minute, plan.burst, plan.requests_per_day
    return organization["custom_minute"], organization["custom_burst"], organization["custom_day"]


def thresholds_of(organization: RowMapping) -> list[Decimal]:
    """The thresholds in USD, rising."""
    return [Decimal(value) for value in json.loads(organization["thresholds"])]


def _plan(name: str) -> Plan:
    if name not in PLANS:
        raise fields.invalid(
            "plan", f"There is no plan {name[:32]!r}.", f"Use one of {', '.join(PLANS)}."
        )
    return PLANS[name]


def _jurisdiction(code: str) -> str:
    code = code.strip().upper()
    if code and not (len(code) == 2 and code.isascii() and code.isalpha()):
        raise fields.invalid(
            "jurisdiction",
            f"{code[:16]!r} is not a jurisdiction.",
            f'Send a country code of ISO 3166 such as "DE", or "{EU}".',
        )
    return code


def _use_context(name: str) -> str:
    name = name.strip().lower().replace("-", "_").replace(" ", "_")
    if name and name not in USE_CONTEXTS:
        raise fields.invalid(
            "use_context",
            f"There is no use context {name[:64]!r}.",
            f"Use one of {', '.join(USE_CONTEXTS)}.",
        )
    return name


def _thresholds(values: Sequence[str]) -> list[str]:
    amounts = set()
    for value in values:
        try:
            amount = Decimal(value)
        except InvalidOperation:
            amount = Decimal("NaN")
        if not amount.is_finite() or not 0 < amount <= 1_000_000_000:
            raise fields.invalid(
                "usage_thresholds_usd",
                f"{value[:32]!r} is not an amount.",
                'Send amounts above 0 such as "100.00".',
            )
        amounts.add(amount.quantize(prices.CENT))
    if len(amounts) > MAX_THRESHOLDS:
        raise fields.invalid(
            "usage_thresholds_usd",
            f"There are more than {MAX_THRESHOLDS} thresholds.",
            "Send fewer.",
        )
    return [str(amount) for amount in sorted(amounts)]


def _limits(limits: Limits, plan: Plan) -> Limits:
    if not plan.custom_limits:
        raise errors.Forbidden(
            f"The {plan.name} plan has fixed limits.",
            suggestion="Change the plan to enterprise first.",
        )
    minute, burst, day = limits
    if not (1 <= minute <= MAX_RATE and 0 <= burst <= MAX_RATE and 0 <= day <= 1_000_000_000):
        raise fields.invalid(
            "custom_limits",
            f"{minute} a minute, burst {burst}, {day} a day are not possible limits.",
            f"Send 1 to {MAX_RATE} a minute, a burst up to that, and a day limit or 0.",
        )
    return minute, burst or minute, day
