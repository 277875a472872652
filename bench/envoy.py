"""The gateway beside Envoy, on a request that no model answers: `python -m bench.envoy`.

Four ways for the same JSON or gRPC, 32 clients: the gateway alone; the edge before it; gRPC at the
edge, admitted by ext_authz; and what the gateway is there instead of: Envoy's JSON transcoder with
ext_authz in Python.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import psutil
import yaml

from affectmesh.v1 import text_pb2, text_pb2_grpc
from bench.__main__ import GATEWAY
from bench.measure import measure
from bench.usage import cpu_seconds, difference
from services.gateway.envoy.listeners import authorization
from services.gateway.envoy.render import bootstrap
from services.mesh.temporary import TemporaryMesh
from tests.envoy.servers import Envoy

CLIENTS = 32
TARGET = 1.5
"""Times the throughput of the transcoder."""


@dataclass
class _Behind:
    """A mesh whose REST API is reached at another address."""

    mesh: TemporaryMesh
    address: str

    def __getattr__(self, name: str) -> Any:
        return getattr(self.mesh, name)


class _Guarded(Envoy):
    """Its internal listener asks ext_authz, once JSON is gRPC: the gateway is asked by method."""

    def configuration(self) -> str:
        config = bootstrap(self.settings, ("edge", "internal"))
        _, internal = config["static_resources"]["listeners"]
        manager = internal["filter_chains"][0]["filters"][0]["typed_config"]
        transcoder, router = manager["http_filters"]
        manager["http_filters"] = [transcoder, authorization(), router]
        return str(yaml.safe_dump(config))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.envoy")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    seconds = parser.parse_args().seconds
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before", flush=True)
    with (
        TemporaryMesh() as mesh,
        Envoy(mesh.settings) as envoy,
        _Guarded(mesh.settings) as guarded,
    ):
        print(f"{'way':42} {'requests/s':>10} {'mesh, ms':>9} {'Envoy, ms':>9}")
        direct = _row("gateway", mesh, mesh.address, None, seconds)
        _row("edge, gateway", mesh, envoy.url, envoy, seconds)
        _grpc_row("edge, gRPC, ext_authz", mesh, envoy, seconds)
        transcoded = _row("transcoder, ext_authz", mesh, guarded.internal_url, guarded, seconds)
    verdict = "met" if direct >= TARGET * transcoded else "missed"
    print(f"gateway against transcoder: {direct / transcoded:.2f} ×, target {TARGET:g}: {verdict}")


def _row(
    name: str, mesh: TemporaryMesh, address: str, envoy: Envoy | None, seconds: float
) -> float:
    before = _cpu_s(envoy)
    behind: Any = _Behind(mesh, address)
    row = measure(behind, GATEWAY, CLIENTS, seconds)
    spent = _cpu_s(envoy) - before
    if row.failed:
        raise RuntimeError(f"{name}: {row.failed} {row.first_failure}")
    _print(name, row.requests_per_s, row.cpu_ms, 1000 * spent / row.requests)
    return row.requests_per_s


def _grpc_row(name: str, mesh: TemporaryMesh, envoy: Envoy, seconds: float) -> None:
    spent, before = _cpu_s(envoy), cpu_seconds(mesh)
    count, elapsed = asyncio.run(_grpc_load(envoy.edge, mesh.key, seconds))
    by_process: Mapping[str, float] = difference(before, cpu_seconds(mesh))
    cpu_ms = 1000 * _sum(by_process.values()) / count
    _print(name, count / elapsed, cpu_ms, 1000 * (_cpu_s(envoy) - spent) / count)


def _sum(values: Iterable[float]) -> float:
    return sum(values)


async def _grpc_load(address: str, key: str, seconds: float) -> tuple[int, float]:
    """Requests answered, and the seconds that they took."""
    request = text_pb2.AnalyzeTextRequest()
    metadata = (("x-wia-api-key", key),)
    count = 0

    async def client(stub: text_pb2_grpc.TextServiceStub, until: float) -> None:
        nonlocal count
        while time.perf_counter() < until:
            try:
                await stub.AnalyzeText(request, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                    raise
            count += 1

    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = text_pb2_grpc.TextServiceStub(channel)
        started = time.perf_counter()
        await asyncio.gather(*(client(stub, started + seconds) for _ in range(CLIENTS)))
        return count, time.perf_counter() - started


def _cpu_s(envoy: Envoy | None) -> float:
    if envoy is None:
        return 0.0
    times = psutil.Process(envoy.process.pid).cpu_times()
    return float(times.user + times.system)


def _print(name: str, per_s: float, cpu_ms: float, envoy_ms: float) -> None:
    print(f"{name:42} {per_s:>10.0f} {cpu_ms:>9.2f} {envoy_ms:>9.2f}", flush=True)


if __name__ == "__main__":
    main()
