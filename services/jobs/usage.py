"""What a job uses: the item of the price table and how much of it, quoted and recorded."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

import structlog
from sqlalchemy import RowMapping, delete, select

from affectmesh.v1 import billing_pb2, billing_pb2_grpc
from affectmesh.v1 import jobs_pb2 as pb
from services.common import errors
from services.common.channels import Channels, call
from services.common.database import Database, fetch_all
from services.common.resources import timestamp
from services.jobs.tables import usage

log = structlog.get_logger()

NOTHING = "0.00"
"""What a job costs that is not billed."""

_TIMEOUT_S = 10.0
_KNOWN = 1000
_AT_ONCE = 500
_MINUTE_MS = Decimal(60_000)
_MICRO = Decimal("0.000001")

_BY_MINUTE: Mapping[int, str] = {
    pb.JOB_KIND_RECORDING_BASIC: "video.basic",
    pb.JOB_KIND_RECORDING_ADVANCED: "video.advanced",
    pb.JOB_KIND_VOICE: "audio.emotion",
}
_BY_JOB: Mapping[int, str] = {
    pb.JOB_KIND_FACE_MULTI: "analyze.face.video",
    pb.JOB_KIND_FACE_SINGLE: "analyze.face.video",
    pb.JOB_KIND_NO_OP: "job",
}


@dataclass(frozen=True)
class Amount:
    """So much of an item of the price table, in the item's unit."""

    item: str
    quantity: str


def amount(kind: int, duration_ms: int | None) -> Amount | None:
    """What a job of this kind uses; None where that depends on a duration not known yet."""
    if kind in _BY_JOB:
        return Amount(_BY_JOB[kind], "1")
    if duration_ms is None:
        return None
    minutes = (duration_ms / _MINUTE_MS).quantize(_MICRO, ROUND_HALF_UP)
    return Amount(_BY_MINUTE[kind], format(minutes, "f"))


class Quotes:
    """Billing's prices, kept for what was asked before."""

    def __init__(self, channels: Channels) -> None:
        self._quote = channels.stub("billing", billing_pb2_grpc.BillingServiceStub).Quote
        self._known: OrderedDict[Amount, str] = OrderedDict()

    async def usd(self, amount: Amount) -> str:
        """The price as a decimal number. Raises Unavailable."""
        if amount not in self._known:
            request = billing_pb2.QuoteRequest(item=amount.item, quantity=amount.quantity)
            answer = await call("billing", self._quote, request, _TIMEOUT_S)
            self._known[amount] = answer.line.total_usd
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        return self._known[amount]


class UsageSender:
    """Sends what ended jobs used to billing, which enters each job once, however often sent."""

    def __init__(self, database: Database, channels: Channels) -> None:
        self._database = database
        self._record = channels.stub("billing", billing_pb2_grpc.BillingServiceStub).RecordUsage

    async def send(self) -> None:
        """Sends all there is. Raises Unavailable, and then what is left is sent the next time."""
        query = select(usage).order_by(usage.c.time_ms).limit(_AT_ONCE)
        while True:
            async with self._database.read() as connection:
                rows = await fetch_all(connection, query)
            if not rows:
                return
            await self._enter(rows)
            sent = delete(usage).where(usage.c.job_id.in_([row["job_id"] for row in rows]))
            async with self._database.write() as connection:
                await connection.execute(sent)

    async def _enter(self, rows: list[RowMapping]) -> None:
        request = billing_pb2.RecordUsageRequest(entries=map(_entry, rows))
        try:
            await call("billing", self._record, request, _TIMEOUT_S)
        except errors.InvalidRequest as error:
            if len(rows) == 1:
                log.error(
                    "usage refused by billing", job_id=rows[0]["job_id"], problem=error.message
                )
                return
            await asyncio.gather(*(self._enter([row]) for row in rows))


def _entry(row: RowMapping) -> billing_pb2.UsageEntry:
    return billing_pb2.UsageEntry(
        request_id=row["job_id"],
        org_id=row["org_id"],
        principal_id=row["principal_id"],
        item=row["item"],
        quantity=row["quantity"],
        test_mode=row["test_mode"],
        consent_reference=row["consent_reference"],
        time=timestamp(row["time_ms"]),
    )
