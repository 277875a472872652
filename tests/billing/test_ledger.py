"""The ledger: each request once, money to the cent, thresholds once."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from affectmesh.v1 import billing_pb2 as pb
from services.billing import prices
from services.billing.audit import Audit
from services.billing.ledger import Entry, Ledger
from services.billing.tables import MIGRATIONS
from services.common import errors
from services.common.database import Database
from tests.billing.installation import Installation, entry, installation


def stamp(moment: datetime) -> Timestamp:
    """A time of the contract."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


async def usage(billing: Installation, org_id: int, month: str = "") -> pb.Usage:
    """The sum of a month."""
    found: pb.Usage = await billing.call("GetUsage", pb.GetUsageRequest(org_id=org_id, month=month))
    return found


@pytest.mark.parametrize(
    ("minutes", "unit", "cost"),
    [
        ("5.25", "0.25", "1.31"),
        ("487.5", "0.25", "121.88"),
        ("0.02", "0.25", "0.01"),
        ("0.01", "0.50", "0.01"),
        ("0.019999", "0.25", "0.00"),
        ("0", "0.50", "0.00"),
        ("1000000", "0.50", "500000.00"),
    ],
)
def test_a_cost_is_half_up_to_the_cent(minutes: str, unit: str, cost: str) -> None:
    assert prices.cost(Decimal(minutes), Decimal(unit)) == Decimal(cost)


@given(st.decimals(0, 1_000_000, places=6))
def test_a_quantity_survives_the_database(quantity: Decimal) -> None:
    assert prices.from_micro(prices.to_micro(quantity)) == quantity
    assert prices.quantity_of(prices.plain(quantity)) == quantity


@given(st.lists(st.decimals(0, 500, places=2), min_size=1, max_size=30))
def test_a_sum_costs_within_a_cent_an_entry_of_its_parts(minutes: list[Decimal]) -> None:
    together = prices.cost(sum(minutes, Decimal(0)), Decimal("0.25"))
    apart = sum(prices.cost(m, Decimal("0.25")) for m in minutes)
    assert abs(together - apart) <= Decimal("0.005") * (len(minutes) + 1)


async def test_a_known_request_id_changes_nothing(billing: Installation) -> None:
    org_id = (await billing.organization()).org_id
    first = entry("r1", org_id, quantity="5.25")
    assert await billing.record(first, first) == 1
    assert await billing.record(first, entry("r2", org_id)) == 1
    assert await billing.record(entry("r1", org_id, quantity="100", item="video.advanced")) == 0
    found = await usage(billing, org_id)
    assert (found.total_analyses, found.total_minutes, found.total_usd) == (2, "6.25", "1.56")


async def test_the_same_request_id_of_two_organisations_is_two_requests(
    billing: Installation,
) -> None:
    one, two = (await billing.organization()).org_id, (await billing.organization()).org_id
    assert await billing.record(entry("r1", one), entry("r1", two)) == 2
    assert (await usage(billing, one)).total_analyses == 1


async def test_writers_of_the_same_entries_enter_each_once(billing: Installation) -> None:
    org_id = (await billing.organization()).org_id
    entries = [entry(f"r{number}", org_id) for number in range(50)]
    counts = await asyncio.gather(*(billing.record(*entries) for _ in range(6)))
    assert sum(counts) == 50
    assert (await usage(billing, org_id)).total_minutes == "50"


async def test_two_services_on_one_database_enter_each_once(
    tmp_path: Path, database_url: str
) -> None:
    async with (
        installation(tmp_path, database_url) as one,
        installation(tmp_path, database_url) as two,
    ):
        org_id = (await one.organization()).org_id
        calls = [
            service.record(entry(f"r{number}", org_id), entry(f"s{number % 5}", org_id))
            for number in range(20)
            for service in (one, two)
        ]
        assert sum(await asyncio.gather(*calls)) == 25
        assert (await usage(two, org_id)).total_analyses == 25


@pytest.mark.parametrize(
    "fields",
    [
        {"item": "no.such.item"},
        {"quantity": "-1"},
        {"quantity": "x"},
        {"quantity": ""},
        {"quantity": "NaN"},
        {"quantity": "1000001"},
        {"request_id": ""},
        {"request_id": "r" * 201},
        {"principal_id": ""},
        {"org_id": 4242},
    ],
)
async def test_a_wrong_entry_enters_nothing_of_its_batch(
    billing: Installation, fields: dict[str, object]
) -> None:
    org_id = (await billing.organization()).org_id
    wrong = entry(**{"request_id": "r2", "org_id": org_id, **fields})  # type: ignore[arg-type]
    with pytest.raises((errors.InvalidRequest, errors.NotFound)):
        await billing.record(entry("r1", org_id), wrong)
    assert (await usage(billing, org_id)).total_analyses == 0


async def test_test_entries_cost_nothing(billing: Installation) -> None:
    org_id = (await billing.organization()).org_id
    assert await billing.record(entry("r1", org_id, test_mode=True)) == 1
    assert (await usage(billing, org_id)).total_usd == "0.00"


async def test_the_lines_of_a_month_add_up(billing: Installation) -> None:
    org_id = (await billing.organization()).org_id
    await billing.record(
        entry("r1", org_id, quantity="487.5"),
        entry("r2", org_id, item="video.advanced", quantity="0.01"),
        entry("r3", org_id, item="analyze.face"),
    )
    invoice = await billing.call("GetInvoice", pb.GetInvoiceRequest(org_id=org_id))
    lines = {line.item: (line.unit, line.quantity, line.total_usd) for line in invoice.lines}
    assert lines == {
        "analyze.face": ("request", "1", "0.00"),
        "video.advanced": ("minute", "0.01", "0.01"),
        "video.basic": ("minute", "487.5", "121.88"),
    }
    assert invoice.total_usd == "121.89"
    assert not invoice.closed
    assert invoice.number == f"INV-{org_id}-{invoice.month.replace('-', '')}"


async def test_an_entry_belongs_to_the_month_of_its_time(tmp_path: Path, database_url: str) -> None:
    now = [int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp() * 1000)]
    async with installation(tmp_path, database_url) as billing:
        org_id = (await billing.organization()).org_id
    database = await Database.open(database_url, MIGRATIONS)
    ledger = Ledger(database, Audit(database, lambda: now[0]), lambda: now[0])

    def at(request_id: str, moment: datetime) -> Entry:
        milliseconds = int(moment.timestamp() * 1000)
        return Entry(request_id, org_id, "key", "video.basic", Decimal(1), False, milliseconds)

    late = at("r1", datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC))
    await ledger.record([late, at("r2", datetime(2026, 3, 1, tzinfo=UTC))])
    assert (await ledger.month(org_id, "2026-02")).count == 1
    assert not (await ledger.month(org_id, "2026-02")).closed

    now[0] += 2 * 86_400_000
    february = await ledger.month(org_id, "2026-02")
    assert february.closed
    too_late = at("r3", datetime(2026, 2, 10, tzinfo=UTC))
    from_a_jumping_clock = at("r4", datetime(2031, 1, 1, tzinfo=UTC))
    await ledger.record([too_late, from_a_jumping_clock])
    assert await ledger.month(org_id, "2026-02") == february
    assert (await ledger.month(org_id, "2026-03")).count == 3
    assert (await ledger.month(org_id, "2031-01")).count == 0
    await database.close()


async def test_a_threshold_is_crossed_once(billing: Installation) -> None:
    org_id = (await billing.organization()).org_id
    change = pb.UpdateOrganizationRequest(
        org_id=org_id, usage_thresholds_usd=["1", "10.00", "1.0", "1000"]
    )
    organization = await billing.call("UpdateOrganization", change)
    assert list(organization.usage_thresholds_usd) == ["1.00", "10.00", "1000.00"]

    async def crossed() -> list[str]:
        request = pb.ListUsageCrossingsRequest(org_id=org_id)
        found = await billing.call("ListUsageCrossings", request)
        return [crossing.threshold_usd for crossing in found.crossings]

    await billing.record(entry("r1", org_id, quantity="3.97"))
    assert await crossed() == []
    await asyncio.gather(*(billing.record(entry(f"s{i}", org_id)) for i in range(8)))
    assert await crossed() == ["1.00"]
    await billing.record(entry("r2", org_id, quantity="30"), entry("r3", org_id))
    await billing.record(entry("r2", org_id, quantity="30"))
    assert await crossed() == ["10.00", "1.00"]


@pytest.mark.parametrize("threshold", ["0", "-1", "x", "NaN", "1e30"])
async def test_an_absurd_threshold_is_refused(billing: Installation, threshold: str) -> None:
    org_id = (await billing.organization()).org_id
    with pytest.raises(errors.InvalidRequest):
        await billing.call(
            "UpdateOrganization",
            pb.UpdateOrganizationRequest(org_id=org_id, usage_thresholds_usd=[threshold]),
        )


async def test_a_quote_is_what_the_invoice_will_say(billing: Installation) -> None:
    org_id = (await billing.organization()).org_id
    request = pb.QuoteRequest(org_id=org_id, item="video.advanced", quantity="12.345")
    quote = await billing.call("Quote", request)
    await billing.record(entry("r1", org_id, item="video.advanced", quantity="12.345"))
    invoice = await billing.call("GetInvoice", pb.GetInvoiceRequest(org_id=org_id))
    assert list(invoice.lines) == [quote.line]


@pytest.mark.slow
async def test_a_month_of_a_million_entries_is_summed_up(tmp_path: Path) -> None:
    """Prints the time of it; the target is 50 ms."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    async with installation(tmp_path, url) as billing:
        org_id = (await billing.organization()).org_id
        start = datetime.now(UTC).replace(day=1, hour=0, minute=0)
        for batch in range(1000):
            time_ = stamp(start + timedelta(minutes=batch))
            await billing.record(
                *(entry(f"r{batch}-{i}", org_id, quantity="0.1", time=time_) for i in range(1000))
            )
        timings = []
        for _ in range(21):
            started = time.perf_counter()
            found = await usage(billing, org_id)
            timings.append((time.perf_counter() - started) * 1000)
    assert found.total_analyses == 1_000_000
    assert found.total_usd == "25000.00"
    print(f"month of 1,000,000 entries: {sorted(timings)[10]:.1f} ms, median over gRPC")
