"""Entries a second that one ledger takes on SQLite: `python -m bench.ledger`."""

import asyncio
import tempfile
import time
from decimal import Decimal
from pathlib import Path

from services.billing.audit import Audit
from services.billing.ledger import Entry, Ledger
from services.billing.organizations import Organizations
from services.billing.tables import MIGRATIONS
from services.common.database import Database

BATCH, BATCHES = 500, 40
"""What a gateway sends at once, and how often."""


async def measure(folder: Path) -> float:
    """Entries a second, each in a transaction with the others of its batch."""
    url = f"sqlite+aiosqlite:///{folder / 'records.db'}"
    database = await Database.open(url, MIGRATIONS)
    audit = Audit(database, _now_ms)
    ledger = Ledger(database, audit, _now_ms)
    async with database.write() as connection:
        row = await Organizations(database, audit, _now_ms).create(
            connection, name="bench", plan="pro", jurisdiction="", use_context=""
        )
    began = time.perf_counter()
    for batch in range(BATCHES):
        await ledger.record(
            [
                Entry(
                    f"{batch}-{number}",
                    row["org_id"],
                    "key_1",
                    "analyze.text",
                    Decimal(1),
                    False,
                    _now_ms(),
                )
                for number in range(BATCH)
            ]
        )
    seconds = time.perf_counter() - began
    await database.close()
    return BATCH * BATCHES / seconds


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="affectmesh-") as folder:
        print(f"ledger: {asyncio.run(measure(Path(folder))):,.0f} entries a second")
