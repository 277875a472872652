"""Limits, credentials and ends of live streams: a gateway in this process, the mesh's services."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from affectmesh.v1 import billing_pb2 as pb
from services.common import metrics
from services.common.settings import Settings
from services.gateway.streaming import client, stream
from services.gateway.streaming.limits import Limits
from services.mesh.temporary import TemporaryMesh
from tests.billing.installation import Installation, installation
from tests.gateway.streams import (
    FACIAL_CONFIG,
    PHOTOGRAPH,
    calls_in_flight,
    frame,
    stream_gateway,
    talk,
    until,
)

STREAM = "/v1/stream"
QUICK = Limits(tick_s=0.05)


@pytest.fixture
async def billing(tmp_path: Path) -> AsyncIterator[Installation]:
    """A billing service on SQLite."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    async with installation(tmp_path, url) as running:
        yield running


@pytest.fixture
async def key(billing: Installation) -> pb.ApiKey:
    """A key with every scope."""
    return await billing.key((await billing.organization()).org_id)


@pytest.fixture
def settings(billing: Installation, mesh: TemporaryMesh) -> Settings:
    """The mesh's services with this billing."""
    addresses = {"face": mesh.settings.address("face"), **billing.settings.addresses}
    return billing.settings.model_copy(update={"addresses": addresses})


async def test_no_config_within_its_time_ends_the_stream(
    settings: Settings, key: pb.ApiKey
) -> None:
    async with (
        stream_gateway(settings, Limits(config_s=0.2)) as (address, _),
        talk(address, STREAM, key.secret) as client,
    ):
        assert "No config" in (await client.hear("error"))["message"]
        assert await client.closed() == 4408


class Later:
    """The module `time`, which a test moves on."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s

    def time_ns(self) -> int:
        return time.time_ns()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """The time by which streams end."""
    later = Later()
    for module in (stream, client):
        monkeypatch.setattr(module, "time", later)
    return later


async def test_an_idle_stream_ends_with_its_summary(
    settings: Settings, key: pb.ApiKey, later: Later
) -> None:
    async with (
        stream_gateway(settings, QUICK) as (address, _),
        talk(address, STREAM, key.secret, FACIAL_CONFIG) as client,
    ):
        await client.running()
        later.ahead_s += QUICK.idle_s / 2
        await client.hear("ping")
        await client.say({"type": "pong"})
        await client.running()
        later.ahead_s += QUICK.idle_s / 2
        error = await client.hear("error")
        assert (error["code"], error["recoverable"]) == ("STREAM_LIMIT", False)
        await client.hear("session_summary")
        assert await client.closed() == 4408


async def test_a_stream_ends_after_its_longest_time(
    settings: Settings, key: pb.ApiKey, later: Later
) -> None:
    async with (
        stream_gateway(settings, QUICK) as (address, _),
        talk(address, STREAM, key.secret, FACIAL_CONFIG) as client,
    ):
        await client.say(frame(PHOTOGRAPH))
        await client.running()
        later.ahead_s += QUICK.duration_s
        assert (await client.hear("error"))["code"] == "STREAM_LIMIT"
        assert (await client.hear("session_summary"))["frames_processed"] == 1
        assert await client.closed() == 4429


async def test_a_stream_ends_after_its_last_frame(settings: Settings, key: pb.ApiKey) -> None:
    async with (
        stream_gateway(settings, Limits(frames=3)) as (address, _),
        talk(address, STREAM, key.secret, FACIAL_CONFIG) as client,
    ):
        for number in range(3):
            await client.say(frame(PHOTOGRAPH, at_ms=40 * number))
            await client.hear("result")
        await client.say(frame(PHOTOGRAPH, at_ms=120))
        assert "after 3 frames" in (await client.hear("error"))["message"]
        assert (await client.hear("session_summary"))["frames_processed"] == 3
        assert await client.closed() == 4429


async def revoke(billing: Installation, key: pb.ApiKey) -> None:
    request = pb.RevokeApiKeyRequest(key_id=key.key_id, org_id=key.org_id)
    await billing.call("RevokeApiKey", request)


async def test_a_revoked_key_stops_the_analysis_until_a_new_one_comes(
    billing: Installation, settings: Settings, key: pb.ApiKey
) -> None:
    other = await billing.key(key.org_id)
    foreign = await billing.key((await billing.organization()).org_id)
    async with (
        stream_gateway(settings, QUICK) as (address, _),
        talk(address, STREAM, key.secret, FACIAL_CONFIG) as client,
    ):
        await client.say(frame(PHOTOGRAPH))
        await client.hear("result")
        await revoke(billing, key)
        expired = await client.hear("error")
        assert (expired["code"], expired["recoverable"]) == ("AUTH_EXPIRED", True)
        await client.say(frame(PHOTOGRAPH, at_ms=40))
        await client.say({"type": "auth_refresh", "token": "ek_live_" + "0" * 40})
        assert (await client.hear("error"))["code"] == "AUTH_EXPIRED"
        await client.say({"type": "auth_refresh", "token": foreign.secret})
        assert "another organisation" in (await client.hear("error"))["message"]
        await client.say({"type": "auth_refresh", "token": other.secret})
        await client.say(frame(PHOTOGRAPH, at_ms=80))
        assert (await client.hear("result"))["frame_number"] == 3
        await client.say({"type": "close"})
        assert (await client.hear("session_summary"))["frames_dropped"] == 1


async def test_an_expired_stream_ends_after_its_grace(
    billing: Installation, settings: Settings, key: pb.ApiKey
) -> None:
    async with (
        stream_gateway(settings, Limits(tick_s=0.05, auth_grace_s=0.3)) as (address, _),
        talk(address, STREAM, key.secret, FACIAL_CONFIG) as client,
    ):
        await client.running()
        await revoke(billing, key)
        await client.hear("error", code="AUTH_EXPIRED")
        assert await client.closed() == 4401


@pytest.mark.parametrize(
    ("fields", "organization", "status", "code"),
    [
        ({"scopes": ["emotion:analyze"]}, {}, 403, "FORBIDDEN"),
        ({}, {"jurisdiction": "EU", "use_context": "workplace"}, 403, "FORBIDDEN"),
        ({"rate_limit_per_minute": 1}, {}, 429, "RATE_LIMITED"),
    ],
)
async def test_a_client_that_may_not_is_refused_before_the_handshake(
    billing: Installation,
    settings: Settings,
    fields: dict[str, object],
    organization: dict[str, str],
    status: int,
    code: str,
) -> None:
    key = await billing.key((await billing.organization(**organization)).org_id, **fields)
    async with stream_gateway(settings, QUICK) as (address, _):
        url = f"{address.replace('http', 'ws')}{STREAM}?token={key.secret}"
        if status == 429:
            async with connect(url):
                pass
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url):
                pass
    response = refused.value.response
    assert response.status_code == status
    error = json.loads(response.body or b"")["error"]
    assert error["code"] == code
    if status == 429:
        assert int(response.headers["retry-after"]) > 0


async def test_a_stopping_gateway_closes_its_streams_and_their_calls(
    settings: Settings, key: pb.ApiKey, mesh: TemporaryMesh
) -> None:
    async def idle() -> bool:
        return await calls_in_flight(mesh.settings, "face") == 0

    await until(idle)
    gauge = metrics.STREAMS_OPEN.labels(STREAM)
    async with (
        stream_gateway(settings, QUICK) as (address, server),
        talk(address, STREAM, key.secret, FACIAL_CONFIG) as client,
    ):
        await client.say(frame(PHOTOGRAPH))
        await client.hear("result")
        assert gauge._value.get() == 1
        server.should_exit = True
        assert await client.closed() == 1012
        await until(lambda: gauge._value.get() == 0)
        await until(idle)


async def test_a_stream_enters_the_ledger_once_with_its_minutes_and_consent(
    billing: Installation, settings: Settings, key: pb.ApiKey
) -> None:
    config = {**FACIAL_CONFIG, "consent_token": "consent-17"}
    async with stream_gateway(settings, QUICK) as (address, _):
        async with talk(address, STREAM, key.secret, config) as client:
            await client.running()
            await asyncio.sleep(0.1)
            await client.say({"type": "close"})
            await client.closed()

        async def lines() -> list[pb.UsageLine]:
            usage = await billing.call("GetUsage", pb.GetUsageRequest(org_id=key.org_id))
            return list(usage.lines)

        async def entered() -> bool:
            return bool(await lines())

        await until(entered)
        (line,) = await lines()
        assert line.item == "stream"
        assert 0 < float(line.quantity) < 0.5
