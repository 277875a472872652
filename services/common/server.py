"""The one way every gRPC service starts, serves and stops."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import grpc
import structlog
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server
from pydantic import ValidationError

from services.common import caller, drift, errors, metrics, telemetry, tls, tracing
from services.common.channels import OPTIONS, Channels
from services.common.handlers import Answering, Continuation, Details, Streaming, wrapped
from services.common.metering import MeterInterceptor
from services.common.settings import Settings

if TYPE_CHECKING:
    from services.billing.journal import Journal
    from services.common.inference import Inference
    from services.common.media import MediaLoader

log = structlog.get_logger()

VERSION = version("affectmesh")

_RECONNECT = ("grpc.max_connection_age_ms", 300_000)
"""Callers connect anew now and then, and find replicas that were added; calls in flight go on."""

_LOOK_AT_MODELS_EVERY_S = 1.0


@dataclass
class Service:
    """What a service is given to build itself from; what it does not use is not imported."""

    name: str
    settings: Settings
    closers: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """Called in reverse order once the last request is answered."""
    stopping: bool = False
    """Whether it was asked to stop; it still serves for as long as settings.drain_s."""

    @cached_property
    def inference(self) -> Inference:
        """The models."""
        from services.common.inference.open import open_inference

        inference = open_inference(self.settings)
        self.closers.append(inference.close)
        return inference

    @property
    def uses_models(self) -> bool:
        """Whether `inference` was asked for."""
        return "inference" in self.__dict__

    @cached_property
    def channels(self) -> Channels:
        """The other services."""
        channels = Channels(self.settings)
        self.closers.append(channels.close)
        return channels

    @cached_property
    def journal(self) -> Journal:
        """What is metered here."""
        from services.billing.journal import Journal

        journal = Journal(self.settings.data_dir / "usage", self.channels)
        self.closers.append(journal.close)
        return journal

    @cached_property
    def media(self) -> MediaLoader:
        """Bytes of images, audio and video, from requests or URLs."""
        from services.common.media import MediaLoader

        media = MediaLoader(self.settings, self.channels)
        self.closers.append(media.close)
        return media


Register = Callable[[grpc.aio.Server, Service], Awaitable[str]]
"""Adds the servicer to the server and gives the full name of its proto service, or ''."""


def run(name: str, register: Register) -> None:
    """Serves until SIGTERM or SIGINT, finishes what is in flight, then ends."""
    uvloop.run(_serve(Service(name, read_settings()), register))


def read_settings() -> Settings:
    """The settings of the environment; exits 2 naming each that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        for problem in error.errors():
            setting = "AFFECTMESH_" + str(problem["loc"][0]).upper()
            print(f"{setting}: {problem['msg']}", file=sys.stderr)
        raise SystemExit(2) from None


async def _serve(service: Service, register: Register) -> None:
    settings = service.settings
    telemetry.start(service.name, settings.log_level)
    tracing.start(service.name, VERSION)
    server = grpc.aio.server(
        interceptors=[RequestInterceptor(), MeterInterceptor(lambda: service.journal)],
        options=(*OPTIONS, ("grpc.so_reuseport", 0), _RECONNECT),
    )
    checker = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checker, server)
    proto_service = await register(server, service)
    served = (*filter(None, (proto_service,)), health.SERVICE_NAME)
    reflection.enable_server_reflection((*served, reflection.SERVICE_NAME), server)
    address = f"{settings.host}:{settings.port(service.name)}"
    credentials = tls.server_credentials(settings)
    if credentials is None:
        server.add_insecure_port(address)
    else:
        server.add_secure_port(address, credentials)
        await _serve_health(service, checker)
    metrics_server, _ = start_http_server(settings.metrics_port(service.name), settings.host)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await server.start()
    for name in ("", *served):
        await checker.set(name, health_pb2.HealthCheckResponse.SERVING)
    metrics.UP.labels(service.name, VERSION, settings.inference).set(1)
    log.info("serving", address=address)
    watching = asyncio.create_task(_watch_models(service, checker, proto_service))
    await stop.wait()
    watching.cancel()
    log.info("stopping")
    service.stopping = True
    await checker.enter_graceful_shutdown()
    await asyncio.sleep(settings.drain_s)
    await server.stop(settings.stop_grace_s)
    for close in reversed(service.closers):
        await close()
    metrics_server.shutdown()


async def _serve_health(service: Service, checker: health.aio.HealthServicer) -> None:
    """Health checks, and nothing else, without a certificate: Kubernetes' probes have none."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    health_pb2_grpc.add_HealthServicer_to_server(checker, server)
    server.add_insecure_port(service.settings.health_address(service.name))
    await server.start()

    async def stop() -> None:
        await server.stop(0)

    service.closers.append(stop)


async def _watch_models(service: Service, checker: Any, proto_service: str) -> None:
    """Has the contract's health follow the models where they are on Triton; the health of the
    process, under the empty name, does not: starting it again would not help."""
    if service.settings.inference != "triton" or not service.uses_models:
        return
    states = health_pb2.HealthCheckResponse
    while True:
        await asyncio.sleep(_LOOK_AT_MODELS_EVERY_S)
        ready = await service.inference.ready()
        await checker.set(proto_service, states.SERVING if ready else states.NOT_SERVING)


class RequestInterceptor(grpc.aio.ServerInterceptor):
    """Gives every call its request id, its metrics, its log line, and its errors their status."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: Details
    ) -> Any:
        handler: Any = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith("/grpc."):
            return handler
        call = _Call(handler_call_details)
        return wrapped(handler, call.answering, call.streaming)


class _Call:
    """One call of one method."""

    def __init__(self, details: Details) -> None:
        self._method = details.method
        metadata = dict(details.invocation_metadata or ())
        given = str(metadata.get(telemetry.REQUEST_ID_KEY, ""))
        self._request_id = telemetry.accept_request_id(given.encode())
        self._caller = caller.decode(str(metadata.get(caller.KEY, "")))
        self._metadata = metadata
        self._observe = drift.observer(details.method)

    def answering(self, method: Answering) -> Answering:
        async def serve(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            started = self._start()
            try:
                response = await method(request, context)
            except BaseException as error:
                await self._fail(error, started, context)
                raise
            self._observe(response)
            self._end("OK", started)
            return response

        return serve

    def streaming(self, method: Streaming) -> Answering:
        """Writes the answers: gRPC would leave a generator that it yields to, and all it holds, to
        the garbage collector when the client goes."""

        async def serve(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            started = self._start()
            open_streams = metrics.RPC_STREAMS_OPEN.labels(self._method)
            open_streams.inc()
            try:
                async with aclosing(method(request, context)) as responses:
                    async for response in responses:
                        self._observe(response)
                        await context.write(response)
            except BaseException as error:
                await self._fail(error, started, context)
                raise
            finally:
                open_streams.dec()
            self._end("OK", started)

        return serve

    def _start(self) -> float:
        telemetry.request_id.set(self._request_id)
        caller.current.set(self._caller)
        self._span = tracing.begin(
            self._method[1:],
            self._metadata.items(),
            self._request_id,
            continued=self._caller is not None,
        )
        metrics.RPC_IN_FLIGHT.inc()
        return time.perf_counter()

    def _end(self, code: str, started: float, failed: bool = False) -> None:
        seconds = time.perf_counter() - started
        metrics.RPC_IN_FLIGHT.dec()
        metrics.RPC_SECONDS.labels(self._method, code).observe(seconds)
        tracing.finish(self._span, code, failed)
        log.debug("rpc", method=self._method, code=code, ms=round(seconds * 1000, 1))

    async def _fail(
        self, error: BaseException, started: float, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        if isinstance(error, asyncio.CancelledError):
            self._end("CANCELLED", started)
            return
        if not isinstance(error, Exception):
            return
        if isinstance(error, NotImplementedError):
            error = errors.NotBuilt(
                f"{self._method} is part of the contract and not built in this version."
            )
        if not isinstance(error, errors.AffectMeshError):
            log.exception("rpc failed", method=self._method)
            error = errors.Internal()
        self._end(error.code, started, failed=error.http_status >= 500)
        await context.abort_with_status(errors.to_status(error))
