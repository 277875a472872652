"""Twenty thousand requests of fifty clients over three keys across two gateways."""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from affectmesh.v1 import billing_pb2 as pb
from services.common.settings import Settings
from services.mesh import ports
from tests.billing.installation import Installation, installation
from tests.gateway.gateways import redis_server

REQUESTS, CLIENTS = 20_000, 50
HOST = "127.0.0.1"


@asynccontextmanager
async def gateway_process(settings: Settings) -> AsyncIterator[str]:
    """A gateway; gives its address."""
    port, _ = ports.free_ports(HOST)
    environment = {
        **os.environ,
        "AFFECTMESH_DATA_DIR": str(settings.data_dir),
        "AFFECTMESH_ADDRESSES": json.dumps(settings.addresses),
        "AFFECTMESH_REDIS_URL": str(settings.redis_url),
        "AFFECTMESH_HTTP_PORT": str(port),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.gateway.serving"), env=environment
    )
    try:
        yield f"http://{HOST}:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def until_served(session: aiohttp.ClientSession, address: str) -> None:
    """Waits for the gateway."""
    for _ in range(300):
        try:
            async with session.get(f"{address}/v1/prices"):
                return
        except aiohttp.ClientError:
            await asyncio.sleep(0.1)
    raise TimeoutError(address)


async def limited(billing: Installation, **limits: int) -> pb.ApiKey:
    """A key of an organisation of its own with these limits."""
    org_id = (await billing.organization(plan="enterprise")).org_id
    if limits:
        change = pb.UpdateOrganizationRequest(org_id=org_id, custom_limits=pb.Limits(**limits))
        await billing.call("UpdateOrganization", change)
    return await billing.key(org_id)


@pytest.mark.slow
async def test_what_is_accepted_is_the_allowance_and_what_is_billed_is_accepted(
    tmp_path: Path,
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    with redis_server() as redis:
        async with installation(tmp_path, url, redis_url=redis.url) as billing:
            daily = await limited(billing, requests_per_minute=1_000_000, requests_per_day=5000)
            burst = await limited(billing, requests_per_minute=1, burst=3000)
            free = await limited(billing)
            keys = (daily, burst, free)
            accepted: Counter[str] = Counter()
            refused: Counter[str] = Counter()
            numbers = iter(range(REQUESTS))

            async def client(session: aiohttp.ClientSession, address: str) -> None:
                for number in numbers:
                    key = keys[number % 3]
                    headers = {"X-API-Key": key.secret}
                    async with session.post(f"{address}/work", headers=headers) as answer:
                        assert answer.status in (200, 429)
                        (accepted if answer.status == 200 else refused)[key.key_id] += 1

            async with (
                gateway_process(billing.settings) as one,
                gateway_process(billing.settings) as two,
                aiohttp.ClientSession() as session,
            ):
                await until_served(session, one)
                await until_served(session, two)
                started = time.monotonic()
                await asyncio.gather(*(client(session, (one, two)[i % 2]) for i in range(CLIENTS)))
                elapsed = time.monotonic() - started
            print(f"{REQUESTS} requests in {elapsed:.1f} s: {accepted}, refused {refused}")
            asked = {key.key_id: len(range(i, REQUESTS, 3)) for i, key in enumerate(keys)}
            assert accepted + refused == Counter(asked)
            assert accepted[daily.key_id] == 5000
            assert accepted[free.key_id] == asked[free.key_id]
            refilled = accepted[burst.key_id] - 3000
            assert 0 <= refilled <= elapsed // 60
            for key in keys:
                request = pb.GetUsageRequest(org_id=key.org_id)
                usage = await billing.call("GetUsage", request)
                assert usage.total_analyses == accepted[key.key_id]
