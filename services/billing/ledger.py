"""The usage ledger: one entry for each billable request, and what a month comes to."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import structlog
from sqlalchemy import RowMapping, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing import fields, organizations, prices
from services.billing.audit import Audit
from services.billing.tables import usage_crossings, usage_days, usage_entries
from services.common import metrics
from services.common.database import Database, fetch_all

log = structlog.get_logger()

CLOSING = timedelta(days=2)
"""How long after its end a month takes late entries; later ones are booked when they come."""

MAX_ENTRIES = 1000
"""Entries of one call."""

_AHEAD = timedelta(days=1)
_LOCK = 1 << 40


@dataclass(frozen=True)
class Entry:
    """One billable request."""

    request_id: str
    org_id: int
    principal_id: str
    item: str
    quantity: Decimal
    test_mode: bool
    time_ms: int
    consent_reference: str = ""


@dataclass(frozen=True)
class Line:
    """The sum of one item at one price."""

    item: str
    unit: str
    quantity: Decimal
    unit_usd: Decimal
    total_usd: Decimal
    count: int


@dataclass(frozen=True)
class Month:
    """The sum of a month."""

    month: str
    lines: tuple[Line, ...]
    closed: bool

    @property
    def total_usd(self) -> Decimal:
        """Sum of the lines, each half up to the cent."""
        return sum((line.total_usd for line in self.lines), Decimal("0.00"))

    @property
    def minutes(self) -> Decimal:
        """Minutes of media."""
        return sum((line.quantity for line in self.lines if line.unit == "minute"), Decimal(0))

    @property
    def count(self) -> int:
        """Billable requests."""
        return sum(line.count for line in self.lines)


class Ledger:
    """The ledger of one installation."""

    def __init__(self, database: Database, audit: Audit, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._audit = audit
        self._now_ms = now_ms

    async def record(self, entries: Sequence[Entry]) -> int:
        """Enters all of them in one transaction; one whose request is known changes nothing.

        Gives how many were new. Raises InvalidRequest, and then none is entered.
        """
        if len(entries) > MAX_ENTRIES:
            raise fields.invalid("entries", f"More than {MAX_ENTRIES} entries.", "Send fewer.")
        rows = [self._row(entry) for entry in entries]
        if not rows:
            return 0
        consents = {
            (entry.org_id, entry.request_id): entry for entry in entries if entry.consent_reference
        }
        async with self._database.write() as connection:
            for org_id in sorted({entry.org_id for entry in entries}):
                await self._database.lock(connection, _LOCK + org_id)
            thresholds = await _thresholds(connection, {entry.org_id for entry in entries})
            insertion = _insert(connection, usage_entries).on_conflict_do_nothing()
            query = insertion.returning(usage_entries)
            new = await fetch_all(connection, query, rows)
            await _sum_up(connection, new)
            for row in new:
                if (consented := consents.get((row["org_id"], row["request_id"]))) is not None:
                    await self._audit.append(
                        connection,
                        row["org_id"],
                        row["principal_id"],
                        "consent.recorded",
                        row["request_id"],
                        {"reference": consented.consent_reference},
                    )
            billed = {(row["org_id"], _day(row["time_ms"])[:7]) for row in new}
            for org_id, month in sorted(billed):
                await self._cross(connection, org_id, month, thresholds[org_id])
        _count(new)
        return len(new)

    async def month(self, org_id: int, month: str) -> Month:
        """The sum of a month ("YYYY-MM", UTC)."""
        month = fields.month(month)
        async with self._database.read() as connection:
            lines = await _lines(connection, org_id, month)
        return Month(month, lines, self._closed(month))

    async def crossings(self, org_id: int, before: int | None, size: int) -> list[RowMapping]:
        """Crossed thresholds, newest first, of one organisation or, for 0, of all."""
        query = select(usage_crossings)
        if org_id:
            query = query.where(usage_crossings.c.org_id == org_id)
        if before is not None:
            query = query.where(usage_crossings.c.sequence < before)
        query = query.order_by(usage_crossings.c.sequence.desc()).limit(size)
        async with self._database.read() as connection:
            return await fetch_all(connection, query)

    def _row(self, entry: Entry) -> dict[str, object]:
        price = prices.price_of(entry.item)
        return {
            "org_id": entry.org_id,
            "request_id": fields.text("request_id", entry.request_id, 200),
            "principal_id": fields.text("principal_id", entry.principal_id, 32),
            "item": entry.item,
            "quantity": prices.to_micro(entry.quantity),
            "unit_price": prices.to_micro(price.usd),
            "test_mode": entry.test_mode,
            "time_ms": self._booked(entry.time_ms),
        }

    def _booked(self, time_ms: int) -> int:
        now = self._now_ms()
        ahead = time_ms > now + _AHEAD.total_seconds() * 1000
        return now if time_ms <= 0 or ahead or self._closed(_day(time_ms)[:7]) else time_ms

    def _closed(self, month: str) -> bool:
        begun = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
        end = (begun + timedelta(days=32)).replace(day=1)
        return self._now_ms() >= (end + CLOSING).timestamp() * 1000

    async def _cross(
        self, connection: AsyncConnection, org_id: int, month: str, thresholds: Sequence[Decimal]
    ) -> None:
        if not thresholds:
            return
        lines = await _lines(connection, org_id, month)
        total = Month(month, lines, False).total_usd
        for threshold in thresholds:
            if threshold > total:
                continue
            row = {
                "org_id": org_id,
                "month": month,
                "threshold": prices.to_micro(threshold),
                "total": prices.to_micro(total),
                "crossed_ms": self._now_ms(),
            }
            query = _insert(connection, usage_crossings).on_conflict_do_nothing()
            done = await connection.execute(query.values(row).returning(usage_crossings.c.sequence))
            if done.one_or_none() is not None:
                log.info("usage threshold", org_id=org_id, month=month, usd=str(threshold))


def line(item: str, quantity: Decimal) -> Line:
    """What a quantity costs today. Raises InvalidRequest for an unknown item."""
    price = prices.price_of(item)
    return Line(item, price.unit, quantity, price.usd, prices.cost(quantity, price.usd), 1)


def _count(entries: Iterable[RowMapping]) -> None:
    for entry in entries:
        item = entry["item"]
        mode = "test" if entry["test_mode"] else "live"
        metrics.LEDGER_ENTRIES.labels(item, mode).inc()
        if mode == "live":
            quantity = prices.from_micro(entry["quantity"])
            price = prices.from_micro(entry["unit_price"])
            metrics.LEDGER_QUANTITY.labels(item).inc(float(quantity))
            metrics.LEDGER_USD.labels(item).inc(float(quantity * price))


async def _thresholds(
    connection: AsyncConnection, org_ids: Iterable[int]
) -> dict[int, list[Decimal]]:
    return {
        org_id: organizations.thresholds_of(await organizations.find(connection, org_id))
        for org_id in org_ids
    }


async def _sum_up(connection: AsyncConnection, entries: Iterable[RowMapping]) -> None:
    sums: defaultdict[tuple[int, str, str, int], list[int]] = defaultdict(lambda: [0, 0])
    for entry in entries:
        if not entry["test_mode"]:
            key = (entry["org_id"], _day(entry["time_ms"]), entry["item"], entry["unit_price"])
            sums[key][0] += entry["quantity"]
            sums[key][1] += 1
    if not sums:
        return
    names = ("org_id", "day", "item", "unit_price")
    rows = [
        dict(zip((*names, "quantity", "count"), (*key, *values), strict=True))
        for key, values in sorted(sums.items())
    ]
    query = _insert(connection, usage_days)
    query = query.on_conflict_do_update(
        index_elements=names,
        set_={
            "quantity": usage_days.c.quantity + query.excluded.quantity,
            "count": usage_days.c.count + query.excluded.count,
        },
    )
    await connection.execute(query, rows)


async def _lines(connection: AsyncConnection, org_id: int, month: str) -> tuple[Line, ...]:
    days = usage_days.c
    query = (
        select(
            days.item,
            days.unit_price,
            func.sum(days.quantity).label("units"),
            func.sum(days.count).label("entries"),
        )
        .where(days.org_id == org_id, days.day >= f"{month}-01", days.day <= f"{month}-31")
        .group_by(days.item, days.unit_price)
        .order_by(days.item, days.unit_price)
    )
    return tuple(
        _line(row.item, row.unit_price, int(row.units), int(row.entries))
        for row in await connection.execute(query)
    )


def _line(item: str, unit_price: int, quantity: int, count: int) -> Line:
    unit = prices.PRICES[item].unit if item in prices.PRICES else ""
    units, usd = prices.from_micro(quantity), prices.from_micro(unit_price)
    return Line(item, unit, units, usd, prices.cost(units, usd), count)


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")


def _insert(connection: AsyncConnection, table: Table) -> sqlite.Insert | postgresql.Insert:
    make = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    return make(table)
