"""Usage thresholds that were crossed are told to webhooks, each once."""

import json
from pathlib import Path
from typing import Any

from affectmesh.v1 import billing_pb2, jobs_pb2
from services.common.caller import Caller
from services.jobs.thresholds import Thresholds
from tests.billing.installation import Installation, entry, installation
from tests.jobs.webhook_service import WebhookService, webhook_service

EVENT = "usage.threshold"
NOWHERE = "http://127.0.0.1:9/hook"


async def spending(billing: Installation, *thresholds: str) -> int:
    """A new organisation with thresholds."""
    org_id = (await billing.organization()).org_id
    request = billing_pb2.UpdateOrganizationRequest(org_id=org_id, usage_thresholds_usd=thresholds)
    await billing.call("UpdateOrganization", request)
    return org_id


async def told(jobs: WebhookService, webhook: jobs_pb2.Webhook, by: Caller) -> list[dict[str, Any]]:
    """The data of the events that a webhook was told of, oldest first."""
    events = [json.loads(one.payload) for one in await jobs.log(webhook, by)]
    assert all(one["event"] == EVENT for one in events)
    return [one["data"] for one in reversed(events)]


async def test_each_crossing_is_told_once_to_its_own_organisation(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    async with installation(tmp_path, url) as billing, webhook_service(tmp_path) as jobs:
        org_id, other_id = await spending(billing, "1", "2.50"), await spending(billing, "0.05")
        one, other = (Caller(number, "key_1", "pro") for number in (org_id, other_id))
        hook = await jobs.webhook(NOWHERE, EVENT, by=one)
        other_hook = await jobs.webhook(NOWHERE, EVENT, by=other)
        thresholds = Thresholds(jobs.database, jobs.outbox, billing.channels, jobs.clock)
        await thresholds.tell()
        assert await told(jobs, hook, one) == []

        await billing.record(entry("a", org_id, quantity="5.25"))
        for _ in range(2):
            await thresholds.tell()
            (first,) = await told(jobs, hook, one)
        month = (await billing.call("GetUsage", billing_pb2.GetUsageRequest(org_id=org_id))).month
        assert first == {"month": month, "threshold_usd": 1, "total_cost_usd": 1.31}
        assert await told(jobs, other_hook, other) == []

        await billing.record(entry("b", other_id, quantity="1"), entry("c", org_id, quantity="10"))
        await thresholds.tell()
        assert [data["threshold_usd"] for data in await told(jobs, hook, one)] == [1, 2.5]
        assert [data["threshold_usd"] for data in await told(jobs, other_hook, other)] == [0.05]


async def test_none_is_missed_where_many_were_crossed(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    async with installation(tmp_path, url) as billing, webhook_service(tmp_path) as jobs:
        callers = [Caller(await spending(billing, "0.01"), "key_1", "pro") for _ in range(120)]
        entries = [entry(f"usage-{by.org_id}", by.org_id) for by in callers]
        await billing.record(*entries)
        hooks = [await jobs.webhook(NOWHERE, EVENT, by=by) for by in (callers[0], callers[-1])]
        await Thresholds(jobs.database, jobs.outbox, billing.channels, jobs.clock).tell()
        assert len(await told(jobs, hooks[0], callers[0])) == 1
        assert len(await told(jobs, hooks[1], callers[-1])) == 1
