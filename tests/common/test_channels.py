"""Calls are spread over the replicas of a service, and survive the loss of one."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from services.common.channels import Channels, call
from services.common.server import RequestInterceptor
from services.common.settings import Settings


class Replica:
    """A server that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.server = grpc.aio.server(interceptors=[RequestInterceptor()])
        handlers: dict[str, Any] = {"Ask": grpc.unary_unary_rpc_method_handler(self._ask)}
        handler = grpc.method_handlers_generic_handler("test.Test", handlers)
        self.server.add_generic_rpc_handlers((handler,))
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    async def _ask(self, _request: bytes, _context: object) -> bytes:
        self.calls += 1
        return b""


@pytest.fixture
async def replicas() -> AsyncIterator[list[Replica]]:
    found = [Replica(), Replica()]
    for replica in found:
        await replica.server.start()
    yield found
    for replica in found:
        await replica.server.stop(0)


async def test_every_replica_is_called_and_the_last_one_serves_all(
    replicas: list[Replica],
) -> None:
    address = "ipv4:" + ",".join(f"127.0.0.1:{replica.port}" for replica in replicas)
    channels = Channels(Settings(addresses={"text": address}))

    def stub(channel: grpc.aio.Channel) -> Any:
        return channel.unary_unary("/test.Test/Ask")

    ask = channels.stub("text", stub)
    try:
        async with asyncio.timeout(60):
            while not all(replica.calls for replica in replicas):
                await call("text", ask, b"", 60)
        both = [replica.calls for replica in replicas]
        for _ in range(40):
            await call("text", ask, b"", 60)
        assert [replica.calls - one for replica, one in zip(replicas, both, strict=True)] == [
            20,
            20,
        ]
        await replicas[0].server.stop(0)
        before = replicas[1].calls
        for _ in range(20):
            await call("text", ask, b"", 60)
        assert replicas[1].calls == before + 20
    finally:
        await channels.close()
