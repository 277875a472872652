"""How the supervisor asks a process whether it is well."""

import asyncio
from collections.abc import Callable, Coroutine
from http.client import HTTPConnection, HTTPException
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from redis.asyncio import Redis
from redis.exceptions import RedisError

Probe = Callable[[float], Coroutine[Any, Any, bool]]
"""Whether a process serves, asked with a time limit in seconds; never raises."""

_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 250),
)


def grpc_probe(address: str) -> Probe:
    """Asks the standard health service (grpc.health.v1) at an address."""

    async def probe(timeout_s: float) -> bool:
        async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]
            try:
                answer = await check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
            except grpc.aio.AioRpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    return probe


def http_probe(host: str, port: int) -> Probe:
    """Asks GET /healthz of the gateway."""

    def ask(timeout_s: float) -> bool:
        connection = HTTPConnection(host, port, timeout=timeout_s)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    async def probe(timeout_s: float) -> bool:
        return await asyncio.to_thread(ask, timeout_s)

    return probe


def redis_probe(url: str) -> Probe:
    """Asks PING; a server that still loads its file answers an error."""

    async def probe(timeout_s: float) -> bool:
        client = Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
        try:
            return bool(await client.ping())
        except (RedisError, OSError):
            return False
        finally:
            await client.aclose()

    return probe
