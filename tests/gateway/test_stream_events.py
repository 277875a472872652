"""A running stream followed as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from affectmesh.v1 import billing_pb2 as pb
from services.common import metrics
from services.gateway.streaming.limits import Limits
from services.mesh.temporary import TemporaryMesh
from tests.billing.installation import installation
from tests.common.serving import serving
from tests.gateway.streams import PATIENCE_S, Script, Talk, audio, stream_gateway, talk, until
from tests.gateway.test_stream_services import VOICE, VOICE_CONFIG, speak

QUICK = Limits(tick_s=0.1, alive_s=0.2)


@dataclass
class Follower:
    """One who reads events."""

    response: httpx.Response
    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lines = self.response.aiter_lines()

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next event of this type; others are only remembered."""
        async with asyncio.timeout(PATIENCE_S):
            name = ""
            async for line in self._lines:
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    message: dict[str, Any] = json.loads(line.removeprefix("data: "))
                    assert message["type"] == name
                    self.heard.append((name, message))
                    if name == kind:
                        return message
        raise AssertionError(f"the events ended without {kind}: {self.heard}")

    async def silence(self) -> None:
        """Returns at the next comment."""
        async with asyncio.timeout(PATIENCE_S):
            async for line in self._lines:
                if line.startswith(":"):
                    return
        raise AssertionError("the events ended without a comment")


@asynccontextmanager
async def following(
    address: str, stream_id: str, key: str, base: str = ""
) -> AsyncIterator[Follower]:
    url = f"{address}{base}/v1/stream/{stream_id}/events"
    async with (
        httpx.AsyncClient(timeout=PATIENCE_S) as client,
        client.stream("GET", url, headers={"x-wia-api-key": key}) as response,
    ):
        assert response.status_code == 200, await response.aread()
        yield Follower(response)


@asynccontextmanager
async def ready(address: str, key: str, config: dict[str, Any]) -> AsyncIterator[Talk]:
    """A client of a stream of voice that runs, and so can be followed."""
    async with talk(address, VOICE, key, config) as client:
        await client.hear("ready")
        yield client


@pytest.fixture
async def voice(mesh: TemporaryMesh, tmp_path: Path) -> AsyncIterator[str]:
    """A gateway before a scripted voice service."""
    settings = mesh.settings.model_copy(update={"data_dir": tmp_path})
    async with (
        serving(Script(speak).add_voice) as address,
        stream_gateway(settings, QUICK, voice=address) as (url, _),
    ):
        yield url


@pytest.mark.parametrize("base", ["", "/emotion-ai"])
async def test_followers_get_what_the_client_gets_up_to_the_end(
    voice: str, mesh: TemporaryMesh, base: str
) -> None:
    config = {**VOICE_CONFIG, "stream_id": "call-17"}
    async with (
        ready(voice, mesh.key, config) as client,
        following(voice, "call-17", mesh.key, base) as first,
        following(voice, "call-17", mesh.key) as second,
    ):
        assert first.response.headers["content-type"].startswith("text/event-stream")
        assert first.response.headers["cache-control"] == "no-store"
        assert "x-ratelimit-limit" in first.response.headers
        assert (await first.hear("ready"))["stream_id"] == "call-17"
        assert (await second.hear("ready"))["stream_id"] == "call-17"
        await client.say({"type": "ping"}, bytes(3200))
        told = await client.hear("partial")
        assert await first.hear("partial") == told
        await client.say({"type": "close"})
        assert await client.closed() == 1000
        for follower in (first, second):
            await follower.hear("end")
            kinds = [kind for kind, _ in follower.heard]
            assert kinds == ["ready", "partial", "final", "session_summary", "end"]


async def test_a_stream_of_the_wia_protocol_is_followed_by_the_id_it_was_given(
    voice: str, mesh: TemporaryMesh
) -> None:
    config = {"type": "config", "modalities": ["voice"]}
    async with talk(voice, "/v1/stream", mesh.key, config) as client:
        stream_id = (await client.hear("ready"))["stream_id"]
        async with following(voice, stream_id, mesh.key) as follower:
            await client.say(audio(0.1))
            assert await follower.hear("result") == await client.hear("result")


async def test_silence_is_filled_with_comments(voice: str, mesh: TemporaryMesh) -> None:
    config = {**VOICE_CONFIG, "stream_id": "quiet"}
    async with (
        ready(voice, mesh.key, config) as client,
        following(voice, "quiet", mesh.key) as follower,
    ):
        await follower.hear("ready")
        for _ in range(3):
            await follower.silence()
        await client.say({"type": "close"})
        await follower.hear("end")


async def test_followers_of_a_client_that_vanishes_are_told_the_end(
    voice: str, mesh: TemporaryMesh
) -> None:
    config = {**VOICE_CONFIG, "stream_id": "brief"}
    async with (
        ready(voice, mesh.key, config) as client,
        following(voice, "brief", mesh.key) as follower,
    ):
        client.socket.transport.abort()
        await follower.hear("end")
    await refused(voice, "brief", mesh.key, 404, "NOT_FOUND")


async def test_a_follower_that_goes_leaves_nothing(voice: str, mesh: TemporaryMesh) -> None:
    config = {**VOICE_CONFIG, "stream_id": "left"}
    async with ready(voice, mesh.key, config) as client:
        for _ in range(40):
            async with following(voice, "left", mesh.key) as follower:
                await follower.hear("ready")
        async with following(voice, "left", mesh.key) as follower:
            await client.say(bytes(3200))
            await follower.hear("partial")


async def refused(address: str, stream_id: str, key: str, status: int, code: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        url = f"{address}/v1/stream/{stream_id}/events"
        response = await client.get(url, headers={"x-wia-api-key": key} if key else {})
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    return response


async def test_who_may_not_follow_is_refused(voice: str, mesh: TemporaryMesh) -> None:
    await refused(voice, "any", "", 401, "UNAUTHORIZED")
    await refused(voice, "any", mesh.key, 404, "NOT_FOUND")


async def test_streams_of_others_are_not_found_and_scopes_hold(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'affectmesh.db'}"
    async with (
        installation(tmp_path, url) as billing,
        serving(Script(speak).add_voice) as service,
        stream_gateway(billing.settings, QUICK, voice=service) as (address, _),
    ):
        mine = await billing.key((await billing.organization()).org_id)
        other = await billing.key((await billing.organization()).org_id)
        weak = await billing.key(mine.org_id, scopes=["emotion:analyze"])
        await check_others(address, mine, other, weak)


async def check_others(address: str, mine: pb.ApiKey, other: pb.ApiKey, weak: pb.ApiKey) -> None:
    async with ready(address, mine.secret, {**VOICE_CONFIG, "stream_id": "mine"}):
        await refused(address, "mine", other.secret, 404, "NOT_FOUND")
        await refused(address, "mine", weak.secret, 403, "FORBIDDEN")
        async with following(address, "mine", mine.secret) as follower:
            await follower.hear("ready")


async def test_no_stream_is_left_open(voice: str, mesh: TemporaryMesh) -> None:
    gauge = metrics.STREAMS_OPEN.labels(VOICE)
    async with (
        ready(voice, mesh.key, {**VOICE_CONFIG, "stream_id": "gone"}) as client,
        following(voice, "gone", mesh.key) as follower,
    ):
        await follower.hear("ready")
        client.socket.transport.abort()
        await follower.hear("end")
    await until(lambda: gauge._value.get() == 0)
