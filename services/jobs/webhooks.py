"""Webhooks of organisations, and the log of what was sent to them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import RowMapping, delete, func, insert, select, update

from services.billing.vault import Vault
from services.common import errors, resources
from services.common.database import Database, fetch_all, fetch_first, fetch_one
from services.common.resources import invalid, new_id
from services.common.settings import Settings
from services.jobs import webhook_addresses, webhook_body
from services.jobs.media import DAY_MS
from services.jobs.tables import deliveries, webhooks
from services.jobs.webhook_attempts import Attempts, Patience
from services.jobs.webhook_courier import Courier
from services.jobs.webhook_outbox import TRIES, WebhookOutbox
from services.jobs.webhook_sender import WebhookSender

TEST_EVENT = "webhook.test"
EVENTS = (
    "analysis.completed",
    "analysis.failed",
    "usage.threshold",
    "job.completed",
    "job.failed",
    "job.cancelled",
    TEST_EVENT,
)
"""What a webhook may listen to. The test is sent to each that asks for it, whatever it names."""

MAX_WEBHOOKS = 20
"""Of one organisation."""

_SECRET_LENGTHS = (16, 256)
_TEST_TIMEOUT_S = 5.0
_SWEPT_AT_ONCE = 1000
_LOCK = 7_204_110_325


class Webhooks:
    """The webhooks of every organisation."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        sender: WebhookSender,
        settings: Settings,
        now_ms: Callable[[], int] = resources.now_ms,
    ) -> None:
        patience = Patience(settings.webhook_timeout_s, settings.webhook_retry_s)
        self._database = database
        self._vault = vault
        self._sender = sender
        self._attempts = Attempts(database, vault, sender, patience, now_ms)
        self._courier = Courier(database, self._attempts, now_ms)
        self._outbox = WebhookOutbox(now_ms)
        self._now_ms = now_ms
        self._allow_private = settings.fetch_allow_private
        self._retention_ms = settings.retention_days * DAY_MS

    @classmethod
    def open(cls, settings: Settings, database: Database) -> Webhooks:
        """With the vault of the settings; delivers from now on what is due."""
        sender = WebhookSender(settings.fetch_allow_private, settings.webhook_timeout_s)
        opened = cls(database, Vault.open(settings), sender, settings)
        opened.start()
        return opened

    def start(self) -> None:
        """Begins to deliver what is due."""
        self._courier.start()

    def wake(self) -> None:
        """Something may be due: it is looked for at once."""
        self._courier.wake()

    async def close(self) -> None:
        """Ends the tries that are being made; what is left is delivered after the next start."""
        await self._courier.close()
        await self._sender.close()

    async def check_callback(self, url: str) -> None:
        """Raises InvalidRequest and FetchFailed for an address that the end of a job may not be
        sent to."""
        await webhook_addresses.check(url, self._allow_private, field="callback_url", plain=True)

    async def create(
        self, org_id: int, url: str, events: Sequence[str], secret: str
    ) -> tuple[RowMapping, str]:
        """A new webhook and its secret, made here where none is given.

        Raises InvalidRequest, FetchFailed (where the URL leads), Conflict (too many).
        """
        names = _events(events)
        secret = _secret(secret)
        await webhook_addresses.check(url, self._allow_private)
        values = {
            "webhook_id": new_id("whk"),
            "org_id": org_id,
            "url": url,
            "events": " ".join(names),
            "sealed_secret": self._vault.seal(secret),
            "enabled": True,
            "failing_since_ms": None,
            "created_ms": self._now_ms(),
        }
        counting = select(func.count().label("count")).where(webhooks.c.org_id == org_id)
        async with self._database.write() as connection:
            await self._database.lock(connection, _LOCK)
            if (await fetch_one(connection, counting))["count"] >= MAX_WEBHOOKS:
                raise errors.Conflict(
                    f"There are {MAX_WEBHOOKS} webhooks already.", suggestion="Delete one."
                )
            row = await fetch_one(connection, insert(webhooks).values(values).returning(webhooks))
        return row, secret

    async def page(self, org_id: int, after: int | None, size: int) -> list[RowMapping]:
        """Webhooks, oldest first, above the sequence number `after`."""
        query = select(webhooks).where(webhooks.c.org_id == org_id)
        if after is not None:
            query = query.where(webhooks.c.sequence > after)
        async with self._database.read() as connection:
            return await fetch_all(connection, query.order_by(webhooks.c.sequence).limit(size))

    async def update(
        self,
        org_id: int,
        webhook_id: str,
        *,
        url: str | None,
        events: Sequence[str],
        enabled: bool | None,
    ) -> RowMapping:
        """Changes what is given. One that is enabled starts with a clean record.

        Raises NotFound, InvalidRequest, FetchFailed.
        """
        values: dict[str, object] = {}
        if url is not None:
            values["url"] = await webhook_addresses.check(url, self._allow_private)
        if events:
            values["events"] = " ".join(_events(events))
        if enabled is not None:
            values["enabled"] = enabled
        if enabled or url is not None:
            values["failing_since_ms"] = None
        if not values:
            return await self._get(org_id, webhook_id)
        return await self._change(org_id, webhook_id, values)

    async def rotate(self, org_id: int, webhook_id: str) -> tuple[RowMapping, str]:
        """Replaces the secret; what is sent from now on is signed with the new one."""
        secret = _secret("")
        values = {"sealed_secret": self._vault.seal(secret)}
        return await self._change(org_id, webhook_id, values), secret

    async def delete(self, org_id: int, webhook_id: str) -> None:
        """Deletes a webhook with its log. Raises NotFound."""
        query = (
            delete(webhooks)
            .where(webhooks.c.org_id == org_id, webhooks.c.webhook_id == webhook_id)
            .returning(webhooks.c.webhook_id)
        )
        async with self._database.write() as connection:
            found = await fetch_first(connection, query)
        if found is None:
            raise _no_webhook()

    async def test(self, org_id: int, webhook_id: str) -> RowMapping:
        """Sends a test event, once and now; gives the delivery. Raises NotFound, Conflict."""
        await self._enabled(org_id, webhook_id)
        body = webhook_body.body(TEST_EVENT, {"webhook_id": webhook_id}, self._now_ms())
        row = self._outbox.delivery(org_id, TEST_EVENT, body, webhook_id=webhook_id)
        row.update(tries_left=1, due_ms=self._attempts.lease_ms())
        async with self._database.write() as connection:
            taken = await fetch_one(
                connection, insert(deliveries).values(row).returning(deliveries)
            )
        return await self._attempts.make(taken, _TEST_TIMEOUT_S) or taken

    async def deliveries(
        self, org_id: int, webhook_id: str, before: int | None, size: int
    ) -> list[RowMapping]:
        """The log of a webhook, newest first, below the sequence number. Raises NotFound."""
        await self._get(org_id, webhook_id)
        query = select(deliveries).where(deliveries.c.webhook_id == webhook_id)
        if before is not None:
            query = query.where(deliveries.c.sequence < before)
        query = query.order_by(deliveries.c.sequence.desc()).limit(size)
        async with self._database.read() as connection:
            return await fetch_all(connection, query)

    async def redeliver(self, org_id: int, delivery_id: str) -> RowMapping:
        """Has a delivery tried again as often as a new one, under its old id and with its old body.

        Raises NotFound, and Conflict for a disabled webhook.
        """
        mine = (deliveries.c.delivery_id == delivery_id, deliveries.c.org_id == org_id)
        async with self._database.read() as connection:
            row = await fetch_first(connection, select(deliveries).where(*mine))
        if row is None:
            raise errors.NotFound("There is no such delivery.", suggestion="Check its id.")
        if row["webhook_id"] is not None:
            await self._enabled(org_id, row["webhook_id"])
        query = (
            update(deliveries)
            .where(*mine)
            .values(tries_left=TRIES, delivered=False, due_ms=self._now_ms())
            .returning(deliveries)
        )
        async with self._database.write() as connection:
            found = await fetch_first(connection, query)
        self._courier.wake()
        return found or row

    async def sweep(self) -> int:
        """Deletes what is older than the retention from the log; gives how much that was."""
        old = self._now_ms() - self._retention_ms
        swept = 0
        while True:
            some = (
                select(deliveries.c.sequence)
                .where(deliveries.c.created_ms <= old, deliveries.c.due_ms.is_(None))
                .limit(_SWEPT_AT_ONCE)
            )
            query = delete(deliveries).where(deliveries.c.sequence.in_(some))
            async with self._database.write() as connection:
                gone = (await connection.execute(query)).rowcount
            swept += gone
            if gone < _SWEPT_AT_ONCE:
                return swept

    async def _get(self, org_id: int, webhook_id: str) -> RowMapping:
        query = select(webhooks).where(
            webhooks.c.org_id == org_id, webhooks.c.webhook_id == webhook_id
        )
        async with self._database.read() as connection:
            row = await fetch_first(connection, query)
        if row is None:
            raise _no_webhook()
        return row

    async def _enabled(self, org_id: int, webhook_id: str) -> None:
        if not (await self._get(org_id, webhook_id))["enabled"]:
            raise errors.Conflict("The webhook is disabled.", suggestion="Enable it first.")

    async def _change(
        self, org_id: int, webhook_id: str, values: Mapping[str, object]
    ) -> RowMapping:
        query = (
            update(webhooks)
            .where(webhooks.c.org_id == org_id, webhooks.c.webhook_id == webhook_id)
            .values(values)
            .returning(webhooks)
        )
        async with self._database.write() as connection:
            row = await fetch_first(connection, query)
        if row is None:
            raise _no_webhook()
        return row


def _events(names: Sequence[str]) -> list[str]:
    unknown = [name for name in names if name not in EVENTS]
    if unknown or not names:
        problem = f"{unknown[0][:64]!r} is not an event" if unknown else "No event is named"
        raise invalid("events", f"{problem}.", f"Name some of {', '.join(EVENTS)}.")
    return list(dict.fromkeys(names))


def _secret(given: str) -> str:
    if not given:
        return "whsec_" + secrets.token_urlsafe(32)
    shortest, longest = _SECRET_LENGTHS
    if not shortest <= len(given) <= longest or not (given.isascii() and given.isprintable()):
        raise invalid(
            "secret",
            f"The secret must have {shortest} to {longest} printable ASCII characters.",
            "Leave it out: one is made and shown once.",
        )
    return given


def _no_webhook() -> errors.NotFound:
    return errors.NotFound("There is no such webhook.", suggestion="Check its id.")
