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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from affectmesh.v1 import billing_pb2 as pb
from services.common.settings import Settings
from services.mesh import ports
from tests.billing.installation import Installation, installation
from tests.gateway.gateways import redis_server

REQUESTS, CLIENTS = 20_000, 50
HOST = "127.0.0.1"
TEXT = {"text": "Hi.", "language": "en"}


@dataclass(frozen=True)
class Served:
    """Where a process answers; only a gateway has `http`."""

    http: str
    grpc: str


@asynccontextmanager
async def process(service: str, settings: Settings) -> AsyncIterator[Served]:
    """A service of the mesh."""
    port, base = ports.free_ports(HOST)
    environment = {
        **os.environ,
        "AFFECTMESH_DATA_DIR": str(settings.data_dir),
        "AFFECTMESH_ADDRESSES": json.dumps(settings.addresses),
        "AFFECTMESH_REDIS_URL": str(settings.redis_url),
        "AFFECTMESH_HTTP_PORT": str(port),
        "AFFECTMESH_PORT_BASE": str(base),
        "AFFECTMESH_LOG_LEVEL": "warning",
    }
    command = (sys.executable, "-m", f"services.{service}")
    started = await asyncio.create_subprocess_exec(*command, env=environment)
    served = Settings(host=HOST, port_base=base).address(service)
    try:
        await until_serving(served)
        yield Served(f"http://{HOST}:{port}", served)
    finally:
        started.send_signal(signal.SIGTERM)
        await started.wait()


async def until_serving(address: str) -> None:
    """Waits for a service's health check."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=60)


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

            async def client(session: aiohttp.ClientSession, gateway: Served) -> None:
                url = f"{gateway.http}/v1/analyze/text"
                for number in numbers:
                    key = keys[number % 3]
                    headers = {"X-API-Key": key.secret}
                    async with session.post(url, headers=headers, json=TEXT) as answer:
                        assert answer.status in (200, 429)
                        (accepted if answer.status == 200 else refused)[key.key_id] += 1

            async with process("text", billing.settings) as text:
                addresses = {**billing.settings.addresses, "text": text.grpc}
                settings = billing.settings.model_copy(update={"addresses": addresses})
                async with (
                    process("gateway", settings) as one,
                    process("gateway", settings) as two,
                    aiohttp.ClientSession() as session,
                ):
                    started = time.monotonic()
                    clients = (client(session, (one, two)[i % 2]) for i in range(CLIENTS))
                    await asyncio.gather(*clients)
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
