"""Ports that the mesh needs and others may hold."""

import secrets
import socket

from services.common.settings import MAX_WORKERS, SERVICES, Settings

_METRICS_OFFSET = 100


def conflicts(settings: Settings) -> list[str]:
    """One message for each port that is taken, naming the setting that moves it."""
    messages = []
    if not is_free(settings.http_host or settings.host, settings.http_port):
        messages.append(
            f"Port {settings.http_port} of the REST API is in use. "
            "Choose another with AFFECTMESH_HTTP_PORT."
        )
    workers = () if "jobs" in settings.addresses else settings.workers
    for service in (*SERVICES, *workers):
        if service in settings.addresses:
            continue
        for use, port in (
            ("gRPC", settings.port(service)),
            ("metrics", settings.metrics_port(service)),
            *([("authorization", settings.authorization_port)] if service == "gateway" else []),
            *([("health", settings.health_port(service))] if settings.tls_ca else []),
        ):
            if not is_free(settings.host, port):
                messages.append(
                    f"Port {port} ({use} of {service}) is in use. "
                    "Move all of them with AFFECTMESH_PORT_BASE."
                )
    return messages


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_ports(host: str) -> tuple[int, int]:
    """A free port for the REST API and a base for all others, below the ephemeral range."""
    while True:
        base = 20_000 + secrets.randbelow(10_000)
        settings = Settings(port_base=base, job_workers=MAX_WORKERS)
        wanted = [settings.port(name) for name in (*SERVICES, *settings.workers)]
        wanted += [port + _METRICS_OFFSET for port in wanted]
        wanted.append(settings.authorization_port)
        http_port = base + 3 * _METRICS_OFFSET
        if all(is_free(host, port) for port in (*wanted, http_port)):
            return http_port, base
