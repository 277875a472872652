"""Serves the ASGI application beside the gateway's own health check."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import uvicorn
from starlette.types import ASGIApp

from services.common import allocator
from services.common.server import Service
from services.gateway.app import Health, build
from services.gateway.external_authorization import ExternalAuthorization
from services.gateway.policy import Policy


async def register(_server: grpc.aio.Server, service: Service) -> str:
    """Starts the REST server, and what Envoy asks about gRPC calls.

    Both stop with the service, finishing what is in flight; who only waits for a job is told at
    once how it stands.
    """
    allocator.keep_pages()
    settings = service.settings
    policy = await Policy.open(settings, service.channels)
    service.closers.append(policy.close)
    logging.getLogger("uvicorn.error").addFilter(_is_no_refusal)
    health = Health(lambda: service.stopping)
    stopping = asyncio.Event()
    app = build(settings, service.channels, policy, health, stopping)
    asked = ExternalAuthorization(policy, health)
    await _serve(service, asked, settings.host, settings.authorization_port)
    await _serve(service, app, settings.http_host or settings.host, settings.http_port)

    async def end_waiting() -> None:
        stopping.set()

    service.closers.append(end_waiting)
    return ""


async def _serve(service: Service, app: ASGIApp, host: str, port: int) -> None:
    settings = service.settings
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        lifespan="off",
        server_header=False,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=int(settings.stop_grace_s),
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve())

    async def stop() -> None:
        server.should_exit = True
        await serving

    service.closers.append(stop)
    while not server.started:
        if serving.done():
            serving.result()
            raise SystemExit(f"There is no server on port {port}.")
        await asyncio.sleep(0.01)


def _is_no_refusal(record: logging.LogRecord) -> bool:
    """uvicorn takes every WebSocket that was refused with an HTTP answer for an error of ours."""
    return record.msg != "ASGI callable returned without completing handshake."


class _Server(uvicorn.Server):
    """Leaves the signals to the service."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
