"""The audit log: append-only, each entry with the hash of the one before it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import RowMapping, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.tables import audit_entries
from services.common.database import Database, fetch_all

OPERATOR = "operator"
"""Actor of what is done at the command line."""

_START = "0" * 64
_LOCK = 7_204_110_318
_CHUNK = 2000
_MAX_DETAIL = 1000


@dataclass(frozen=True)
class Check:
    """What verifying the chain found. `first_broken` is 0 where every hash fits."""

    checked: int
    first_broken: int
    head: str


class Audit:
    """The log of one installation."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms

    async def append(
        self,
        connection: AsyncConnection,
        org_id: int,
        actor: str,
        action: str,
        resource: str,
        details: Mapping[str, str] | None = None,
    ) -> Mapping[str, object]:
        """Enters an event in the writing transaction that it belongs to."""
        await self._database.lock(connection, _LOCK)
        newest = (
            select(audit_entries.c.sequence, audit_entries.c.hash)
            .order_by(audit_entries.c.sequence.desc())
            .limit(1)
        )
        last = (await connection.execute(newest)).one_or_none()
        entry: dict[str, object] = {
            "sequence": last.sequence + 1 if last else 1,
            "org_id": org_id,
            "actor": (actor or OPERATOR)[:254],
            "action": action[:64],
            "resource": resource[:254],
            "details": _encode({k: v[:_MAX_DETAIL] for k, v in (details or {}).items()}),
            "time_ms": self._now_ms(),
        }
        entry["hash"] = _hash(last.hash if last else _START, entry)
        await connection.execute(insert(audit_entries).values(entry))
        return entry

    async def page(self, org_id: int, before: int | None, size: int) -> list[RowMapping]:
        """Entries of an organisation, newest first, below the sequence number `before`."""
        query = select(audit_entries).where(audit_entries.c.org_id == org_id)
        if before is not None:
            query = query.where(audit_entries.c.sequence < before)
        query = query.order_by(audit_entries.c.sequence.desc()).limit(size)
        async with self._database.read() as connection:
            return await fetch_all(connection, query)

    async def verify(self) -> Check:
        """Checks every hash and that no number is missing."""
        previous, checked = _START, 0
        while True:
            query = (
                select(audit_entries)
                .where(audit_entries.c.sequence > checked)
                .order_by(audit_entries.c.sequence)
                .limit(_CHUNK)
            )
            async with self._database.read() as connection:
                rows = await fetch_all(connection, query)
            for row in rows:
                if row["sequence"] != checked + 1 or row["hash"] != _hash(previous, row):
                    return Check(checked, checked + 1, previous)
                previous, checked = row["hash"], checked + 1
            if len(rows) < _CHUNK:
                return Check(checked, 0, previous)


_HASHED = ("sequence", "org_id", "actor", "action", "resource", "details", "time_ms")


def _encode(details: Mapping[str, str]) -> str:
    return json.dumps(details, sort_keys=True, ensure_ascii=False)


def _hash(previous: str, entry: Mapping[str, object] | RowMapping) -> str:
    content = json.dumps([previous, *(entry[name] for name in _HASHED)], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()
