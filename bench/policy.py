"""CPU of the gateway's policy alone: `python -m bench.policy`.

Starts Redis and the billing service, and asks one gateway's policy in this process, with 32 clients
of one key: who is asking, may they, where does the limit stand; and, apart, the metering.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from starlette.requests import HTTPConnection

from services.common import errors, telemetry
from services.common.channels import Channels
from services.common.settings import Settings
from services.gateway.policy import Policy
from services.mesh import ports
from services.mesh.plans import redis_plan

CLIENTS, REQUESTS, ROUNDS = 32, 8_000, 3
PER_SECOND = 2_000
"""About what a gateway serves: how often a lease is renewed depends on it."""

TARGET_MS = 0.15
KEY = "sk_live_" + "b" * 40
HOST = "127.0.0.1"


def main() -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory(prefix="affectmesh-") as folder, ExitStack() as stack:
        redis = redis_plan(Path(folder), Path(folder))
        _, port_base = ports.free_ports(HOST)
        settings = Settings(data_dir=Path(folder), redis_url=redis.url, port_base=port_base)
        environment = {
            **os.environ,
            "AFFECTMESH_DATA_DIR": folder,
            "AFFECTMESH_REDIS_URL": redis.url,
            "AFFECTMESH_PORT_BASE": str(port_base),
            "AFFECTMESH_BOOTSTRAP_API_KEY": KEY,
            "AFFECTMESH_LOG_LEVEL": "error",
        }
        stack.enter_context(_process(list(redis.plan.command), environment))
        stack.enter_context(_process([sys.executable, "-m", "services.billing"], environment))
        asyncio.run(_measure(settings))


@contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdout=quiet) as process:
        try:
            yield
        finally:
            process.terminate()


async def _measure(settings: Settings) -> None:
    telemetry.start("bench", "error")
    channels = Channels(settings)
    policy = await Policy.open(settings, channels)
    scope = {
        "type": "http",
        "headers": [
            (b"host", b"localhost:8080"),
            (b"user-agent", b"bench"),
            (b"content-type", b"application/json"),
            (b"content-length", b"120"),
            (b"x-wia-api-key", KEY.encode()),
        ],
        "query_string": b"",
    }

    async def admit() -> None:
        await policy.admit(HTTPConnection(scope), "emotion:analyze")

    await _until_ready(admit)
    admission = await policy.admit(HTTPConnection(scope), "emotion:analyze")

    async def record() -> None:
        await policy.record(admission, "req_0123456789abcdef", "analyze.text")

    idle = await _cost_ms(_nothing)
    cost = await _cost_ms(admit) - idle
    verdict = "met" if cost <= TARGET_MS else "missed"
    print(f"{CLIENTS} clients, {PER_SECOND} requests a second, CPU a request:")
    print(f"  authentication and limit {cost:.3f} ms (target {TARGET_MS} ms: {verdict})")
    print(f"  metering                 {await _cost_ms(record) - idle:.3f} ms")
    await policy.close()
    await channels.close()


async def _nothing() -> None:
    """What the load itself costs."""


async def _cost_ms(work: Callable[[], Awaitable[None]]) -> float:
    """CPU of this process for one request, the median of a few rounds."""

    async def client() -> None:
        for _ in range(REQUESTS // CLIENTS):
            await work()
            await asyncio.sleep(CLIENTS / PER_SECOND)

    costs = []
    for _ in range(ROUNDS):
        started = time.process_time()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        costs.append((time.process_time() - started) / REQUESTS * 1000)
    return sorted(costs)[ROUNDS // 2]


async def _until_ready(work: Callable[[], Awaitable[None]]) -> None:
    for _ in range(200):
        try:
            return await work()
        except errors.Unavailable:
            await asyncio.sleep(0.1)
    raise SystemExit("the billing service did not start")


if __name__ == "__main__":
    main()
