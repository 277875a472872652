"""Every service is restarted under load, with two replicas behind Envoy, and no request fails."""

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from services.cli.samples import sample_requests
from services.common.settings import AUTHORIZATION, SERVICES, Settings
from services.mesh import ports
from tests.envoy.servers import HOST, Envoy, Replica, free_port
from tests.envoy.test_edge import analyze, key
from tests.mesh.waiting import wait_until

pytestmark = pytest.mark.slow

KEY = "sk_test_0123456789abcdef0123456789abcdef"
PAUSE_S = 0.1
PATIENCE_S = 600
"""No deadline here: on a machine without time left it would fail requests that have
nothing to do with a restart."""

SAMPLES = {sample.kind: sample for sample in sample_requests()}
REQUESTS: Mapping[str, tuple[str, Any]] = {
    **{kind: (SAMPLES[kind].path, SAMPLES[kind].body) for kind in ("text", "biosignal", "face")},
    "voice": (
        SAMPLES["voice"].path,
        {"audio_base64": SAMPLES["voice"].body["audio_base64"]},
    ),
    "multimodal": (
        SAMPLES["multimodal"].path,
        {"modalities": {"text": SAMPLES["multimodal"].body["modalities"]["text"]}},
    ),
}
"""Light ones: speech to text would take all the time there is."""


class Pair:
    """Two replicas of every service, each of which reaches the others through Envoy."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        internal = free_port()
        settings = []
        for _ in range(2):
            http_port, port_base = ports.free_ports(HOST)
            settings.append(Settings(http_port=http_port, port_base=port_base))
        through = {name: f"{HOST}:{internal}" for name in SERVICES if name != "gateway"}
        self.envoy = Envoy(
            settings[0],
            envoy_backends={
                **{name: [one.address(name) for one in settings] for name in through},
                "gateway": [f"{HOST}:{one.http_port}" for one in settings],
                AUTHORIZATION: [f"{HOST}:{one.authorization_port}" for one in settings],
            },
            envoy_internal_port=internal,
            request_timeout_s=float(PATIENCE_S),
        )
        environment = {
            "PATH": "/usr/bin:/bin",
            "AFFECTMESH_DATA_DIR": str(folder),
            "AFFECTMESH_ADDRESSES": json.dumps(through),
            "AFFECTMESH_REDIS_URL": redis_url,
            "AFFECTMESH_BOOTSTRAP_API_KEY": KEY,
            "AFFECTMESH_DRAIN_S": "5",
            "AFFECTMESH_REQUEST_TIMEOUT_S": str(PATIENCE_S),
            "AFFECTMESH_STOP_GRACE_S": str(PATIENCE_S),
            "AFFECTMESH_LOG_LEVEL": "warning",
        }
        self.replicas = [
            [Replica(name, environment, one.port_base, one.http_port) for name in SERVICES]
            for one in settings
        ]

    def wait(self, count: int) -> None:
        """Until so many replicas of every service get requests."""
        for name in (*SERVICES, AUTHORIZATION):
            wait_until(
                lambda name=name: self.envoy.healthy(name) == count,  # type: ignore[misc]
                f"{count} replicas of {name} serve",
            )


@pytest.fixture
def pair(tmp_path: Path, redis_url: str) -> Iterator[Pair]:
    """Both replicas of everything, serving."""
    pair = Pair(tmp_path, redis_url)
    first, second = pair.replicas
    try:
        for replica in first:
            replica.start()
        with pair.envoy:
            pair.wait(1)
            for replica in second:
                replica.start()
            pair.wait(2)
            yield pair
    finally:
        for replica in (*first, *second):
            replica.end(signal.SIGKILL)


class Load:
    """Requests of every kind, one after the other, by several clients."""

    def __init__(self, envoy: Envoy) -> None:
        self._envoy = envoy
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []

    async def rest(self, kind: str, stop: asyncio.Event) -> None:
        """One client of REST."""
        path, body = REQUESTS[kind]
        async with httpx.AsyncClient(
            base_url=self._envoy.url, headers={"x-wia-api-key": KEY}, timeout=PATIENCE_S
        ) as client:
            while not stop.is_set():
                await self._ask(kind, client.post(path, json=body))

    async def read(self, stop: asyncio.Event) -> None:
        """One client that reads its account: gateway and billing."""
        async with httpx.AsyncClient(
            base_url=self._envoy.url, headers={"x-wia-api-key": KEY}, timeout=PATIENCE_S
        ) as client:
            while not stop.is_set():
                await self._ask("usage", client.get("/api/v1/usage"))

    async def grpc(self, stop: asyncio.Event) -> None:
        """One client of gRPC."""
        async with grpc.aio.insecure_channel(self._envoy.edge) as channel:
            while not stop.is_set():
                try:
                    await analyze(channel, key(KEY))
                except grpc.aio.AioRpcError as error:
                    await self._note("grpc", f"{error.code()} {error.details()}")
                else:
                    await self._note("grpc", "")

    async def _ask(self, kind: str, asked: Awaitable[httpx.Response]) -> None:
        try:
            answer = await asked
        except httpx.HTTPError as error:
            await self._note(kind, repr(error))
        else:
            await self._note(kind, "" if answer.status_code == 200 else answer.text)

    async def _note(self, kind: str, failure: str) -> None:
        self.answers[kind] += 1
        if failure:
            self.failures.append(f"{time.strftime('%X')} {kind}: {failure[:300]}")
        await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def loaded(envoy: Envoy) -> AsyncIterator[Load]:
    """Under load, until the block ends."""
    load, stop = Load(envoy), asyncio.Event()
    clients: list[Any] = [load.rest(kind, stop) for kind in REQUESTS]
    clients += [load.read(stop), load.grpc(stop), load.grpc(stop)]
    tasks = [asyncio.create_task(client) for client in clients]
    try:
        yield load
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def test_no_request_fails_while_every_service_restarts(pair: Pair) -> None:
    async with loaded(pair.envoy) as load:
        for replicas in zip(*pair.replicas, strict=True):
            for replica in replicas:
                await asyncio.to_thread(replica.end)
                await asyncio.to_thread(replica.start)
                await asyncio.to_thread(pair.wait, 2)
    assert not load.failures, "\n".join(load.failures)
    assert load.answers.keys() == {*REQUESTS, "usage", "grpc"}
    assert load.answers.total() > 100
