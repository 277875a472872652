"""The journal of usage: nothing billed twice, nothing unbilled."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path

import pytest
from google.api import annotations_pb2
from starlette.requests import HTTPConnection

from affectmesh.v1 import billing_pb2 as pb
from services.billing.journal import Journal
from services.billing.prices import PRICES
from services.common import errors
from services.common.channels import Channels
from services.gateway.dialects import wia
from services.gateway.policy import Admission, Policy
from tests.billing.installation import BOOTSTRAP, Installation, installation
from tests.gateway.gateways import gateway


@pytest.fixture
async def billing(tmp_path: Path) -> AsyncIterator[Installation]:
    """A billing service on SQLite."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    async with installation(tmp_path, url, bootstrap_api_key=BOOTSTRAP) as running:
        yield running


async def count(billing: Installation, org_id: int) -> int:
    """Billed requests of this month."""
    usage = await billing.call("GetUsage", pb.GetUsageRequest(org_id=org_id))
    return int(usage.total_analyses)


async def counted(billing: Installation, org_id: int, wanted: int) -> int:
    """The same, once it is what is wanted or a minute is over."""
    for _ in range(600):
        if await count(billing, org_id) >= wanted:
            break
        await asyncio.sleep(0.1)
    return await count(billing, org_id)


async def admission(policy: Policy, secret: str, **headers: str) -> Admission:
    """A request with this key."""
    given = {"x-api-key": secret, **{k.replace("_", "-"): v for k, v in headers.items()}}
    raw = [(name.encode(), value.encode()) for name, value in given.items()]
    return await policy.admit(HTTPConnection({"type": "http", "headers": raw}), "emotion:analyze")


async def test_usage_reaches_the_ledger_by_itself(billing: Installation) -> None:
    async with gateway(billing.settings) as (client, _):
        for _ in range(5):
            assert (await client.post("/work", headers={"X-API-Key": BOOTSTRAP})).is_success
        assert await counted(billing, 1, 5) == 5
    assert list((billing.settings.data_dir / "usage").glob("*.journal")) == []


async def test_a_request_is_billed_once_however_often_it_is_recorded(
    billing: Installation,
) -> None:
    async with gateway(billing.settings) as (_, policy):
        admitted = await admission(policy, BOOTSTRAP)
        for _ in range(3):
            await policy.record(admitted, "req_1", "analyze.text")
            await policy.flush()
    assert await count(billing, 1) == 1


async def test_a_client_that_repeats_its_request_id_is_billed_for_each_request(
    billing: Installation,
) -> None:
    headers = {"X-API-Key": BOOTSTRAP, "X-Request-ID": "req_mine"}
    async with gateway(billing.settings) as (client, _):
        for _ in range(3):
            assert (await client.post("/work", headers=headers)).is_success
    assert await count(billing, 1) == 3


async def test_a_test_key_is_metered_and_not_billed(billing: Installation) -> None:
    org_id = (await billing.organization()).org_id
    key = await billing.key(org_id, test_mode=True)
    async with gateway(billing.settings) as (client, _):
        assert (await client.post("/work", headers={"X-API-Key": key.secret})).is_success
    assert await count(billing, org_id) == 0


@pytest.mark.parametrize("quantity", ["-1", "NaN", "Infinity", "1000001"])
async def test_an_absurd_quantity_is_refused_at_once(billing: Installation, quantity: str) -> None:
    async with gateway(billing.settings) as (_, policy):
        admitted = await admission(policy, BOOTSTRAP)
        with pytest.raises(errors.InvalidRequest):
            await policy.record(admitted, "req_1", "analyze.text", Decimal(quantity))
        with pytest.raises(errors.InvalidRequest):
            await policy.record(admitted, "req_1", "no.such.item")


async def test_a_consent_reference_is_kept_in_the_audit_log(billing: Installation) -> None:
    org_id = (await billing.organization()).org_id
    key = await billing.key(org_id)
    async with gateway(billing.settings) as (client, _):
        for reference, status in (("consent-42", 200), ("x" * 129, 400), ("a\x7fb", 400)):
            headers = {"X-API-Key": key.secret, "X-Consent-Reference": reference}
            assert (await client.post("/work", headers=headers)).status_code == status
    found = await billing.call("ListAudit", pb.ListAuditRequest(org_id=org_id))
    assert found.entries[0].action == "consent.recorded"
    assert found.entries[0].actor == key.key_id
    assert dict(found.entries[0].details) == {"reference": "consent-42"}


async def test_usage_waits_while_billing_is_gone(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    async with AsyncExitStack() as stack:
        async with installation(tmp_path, url, bootstrap_api_key=BOOTSTRAP) as billing:
            client, _ = await stack.enter_async_context(gateway(billing.settings))
            headers = {"X-API-Key": BOOTSTRAP}
            assert (await client.post("/work", headers=headers)).is_success
        for _ in range(10):
            assert (await client.post("/work", headers=headers)).is_success
    async with installation(tmp_path, url) as billing, gateway(billing.settings):
        assert await counted(billing, 1, 11) == 11


async def test_nothing_is_lost_when_a_gateway_is_killed(billing: Installation) -> None:
    environment = {
        **os.environ,
        "AFFECTMESH_DATA_DIR": str(billing.settings.data_dir),
        "AFFECTMESH_ADDRESSES": f'{{"billing": "{billing.settings.addresses["billing"]}"}}',
    }
    died = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "tests.gateway.metering", "500", BOOTSTRAP],
        env=environment,
        stdout=subprocess.PIPE,
    )
    assert died.returncode == -signal.SIGKILL
    assert len(died.stdout.splitlines()) == 500
    async with gateway(billing.settings):
        assert await counted(billing, 1, 500) == 500
    assert list((billing.settings.data_dir / "usage").glob("*.journal")) == []


async def test_gateways_of_one_folder_leave_each_others_files_alone(
    billing: Installation,
) -> None:
    async with gateway(billing.settings) as (one, _), gateway(billing.settings) as (two, _):
        for client in (one, two) * 20:
            assert (await client.post("/work", headers={"X-API-Key": BOOTSTRAP})).is_success
            await asyncio.sleep(0.02)
        assert await counted(billing, 1, 40) == 40


async def test_an_entry_that_the_ledger_refuses_holds_up_no_other(billing: Installation) -> None:
    org_id = (await billing.organization()).org_id
    journal = Journal(billing.settings.data_dir / "usage", Channels(billing.settings))
    for number in range(7):
        known = number != 3
        principal = pb.Principal(org_id=org_id if known else 4242, principal_id="key_x")
        journal.write(principal, f"r{number}", "analyze.text", Decimal(1), "")
    await journal.flush()
    await journal.close()
    assert await count(billing, org_id) == 6
    aside = (billing.settings.data_dir / "usage" / "rejected.jsonl").read_text()
    assert '"r3"' in aside


async def test_a_torn_line_holds_up_no_other(billing: Installation) -> None:
    folder = billing.settings.data_dir / "usage"
    folder.mkdir(exist_ok=True)
    whole = b'["r1",1,"key_x","analyze.text","1",false,0,""]\n'
    (folder / "1.journal").write_bytes(whole + b'["r2",1,"key')
    async with gateway(billing.settings):
        assert await counted(billing, 1, 1) == 1
        await asyncio.sleep(0.5)
    assert list(folder.glob("*.journal")) == []


def test_everything_that_the_contract_serves_has_a_price() -> None:
    paths = [
        method.GetOptions().Extensions[annotations_pb2.http].post
        for file in wia.SERVICES.values()
        for service in file.services_by_name.values()
        for method in service.methods
    ]
    items = {path.removeprefix("/v1/").replace("/", ".") for path in paths if path}
    assert items
    assert items <= set(PRICES)
