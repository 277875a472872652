"""The ASGI application of the gateway."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

from grpc_health.v1 import health_pb2, health_pb2_grpc
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from services.common import errors, telemetry
from services.common.channels import Channels, call
from services.common.settings import SERVICES, Settings
from services.gateway import accounts, openapi
from services.gateway.dialects import affectiva, deepaffects, emovision, phonexia, wia
from services.gateway.endpoint import STOPPING, refusal
from services.gateway.lingering import Lingering
from services.gateway.native import jobs, media, webhooks
from services.gateway.policy import Policy
from services.gateway.streaming import routes as streaming

_PROBE_TIMEOUT_S = 2


def build(
    settings: Settings,
    channels: Channels,
    policy: Policy,
    health: ASGIApp | None = None,
    stopping: asyncio.Event | None = None,
) -> ASGIApp:
    """The application with the routes of every dialect; `stopping` is set when the server stops."""
    readiness = _Readiness(channels)
    analyses = list(wia.routes(settings, channels, policy))
    app: ASGIApp = Starlette(
        routes=[
            Route("/healthz", health or Health()),
            Route("/readyz", readiness),
            *openapi.routes(),
            *analyses,
            *surface(settings, channels, policy),
        ],
        exception_handlers={404: _no_route, 405: _no_route},
    )
    app = _Shortcut({route.path: route.app for route in analyses}, app)
    return Lingering(_Stoppable(app, stopping or asyncio.Event()))


def surface(settings: Settings, channels: Channels, policy: Policy) -> Iterator[BaseRoute]:
    """Every public route that is not made from the contract's annotations."""
    for api in (accounts, emovision, deepaffects, affectiva, phonexia, jobs, media, webhooks):
        yield from api.routes(settings, channels, policy)
    yield from streaming.routes(channels, policy)


class _Shortcut:
    """Takes a POST to a fixed path past the router, which has nothing to add to it."""

    def __init__(self, endpoints: Mapping[str, ASGIApp], router: ASGIApp) -> None:
        self._endpoints = endpoints
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._router
        if scope["type"] == "http" and scope["method"] == "POST":
            app = self._endpoints.get(scope["path"], app)
        await app(scope, receive, send)


class _Stoppable:
    """Lets requests know that the server stops."""

    def __init__(self, app: ASGIApp, stopping: asyncio.Event) -> None:
        self._app = app
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[STOPPING] = self._stopping
        await self._app(scope, receive, send)


class Health:
    """Says that this process answers; 503 once it stops, so that it is sent no more."""

    def __init__(self, is_stopping: Callable[[], bool] = lambda: False) -> None:
        self._is_stopping = is_stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stopping = self._is_stopping()
        content = {"status": "stopping" if stopping else "ok"}
        await JSONResponse(content, 503 if stopping else 200)(scope, receive, send)


class _Readiness:
    """Says which services answer; 503 while one does not."""

    def __init__(self, channels: Channels) -> None:
        self._checks = {
            service: channels.stub(service, health_pb2_grpc.HealthStub).Check  # type: ignore[attr-defined]
            for service in SERVICES
            if service != "gateway"
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = await asyncio.gather(*map(self._state, self._checks))
        states = dict(zip(self._checks, found, strict=True))
        ready = all(state == "SERVING" for state in states.values())
        response = JSONResponse({"ready": ready, "services": states}, 200 if ready else 503)
        await response(scope, receive, send)

    async def _state(self, service: str) -> str:
        request = health_pb2.HealthCheckRequest()
        try:
            answer = await call(service, self._checks[service], request, _PROBE_TIMEOUT_S)
        except errors.AffectMeshError as error:
            return error.code
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


async def _no_route(request: Request, error: Exception) -> Response:
    request_id = telemetry.client_request_id(request.scope["headers"])
    headers = dict(getattr(error, "headers", None) or {})
    if allowed := headers.get("Allow"):
        refused: errors.AffectMeshError = errors.MethodNotAllowed(
            f"{request.method} is not allowed here.", suggestion=f"Use {allowed}."
        )
    else:
        refused = errors.NotFound(
            f"There is nothing at {request.url.path}.",
            suggestion="Check the path; WIA is under /v1 and /emotion-ai/v1, EmoVision under /api.",
        )
    words = emovision.EmoVision() if request.url.path.startswith("/api/") else wia.Wia()
    return refusal(words, refused, request_id, headers)
