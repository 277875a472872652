"""The routes of streams: who may, then the stream."""

from __future__ import annotations

from collections.abc import Iterator

import structlog
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from services.common import errors, metrics, telemetry, tracing
from services.common.channels import Channels
from services.gateway.dialects.wia import BASE_PATHS, Wia
from services.gateway.endpoint import Answer, Endpoint, Exchange, refusal
from services.gateway.policy import Policy
from services.gateway.scopes import STREAM_SCOPE
from services.gateway.streaming import events
from services.gateway.streaming.biosignal_stream import BiosignalStream
from services.gateway.streaming.client import Client
from services.gateway.streaming.following import Running
from services.gateway.streaming.limits import Limits
from services.gateway.streaming.resumption import Resumption
from services.gateway.streaming.standing import Standing
from services.gateway.streaming.stream import Stream, Surroundings
from services.gateway.streaming.voice_stream import VoiceStream
from services.gateway.streaming.wia_stream import WiaStream

log = structlog.get_logger()

STREAMS: tuple[type[Stream], ...] = (WiaStream, VoiceStream, BiosignalStream)


def routes(channels: Channels, policy: Policy, limits: Limits | None = None) -> Iterator[BaseRoute]:
    """Every stream under every base path; a plain request there is told to upgrade.

    What runs can be followed as server-sent events.
    """
    limits = limits or Limits()
    surroundings = Surroundings(channels, policy, limits, Resumption(limits.resume_s), Running())
    for base in BASE_PATHS:
        yield Route(base + events.ROUTE, Endpoint(events.ROUTE, Wia(), events.Events(surroundings)))
    for stream in STREAMS:
        for base in BASE_PATHS:
            path = base + stream.route
            yield WebSocketRoute(path, _Upgrade(stream, surroundings))
            yield Route(path, Endpoint(stream.route, Wia(), _plain), methods=["GET", "POST"])


async def _plain(_exchange: Exchange) -> Answer:
    raise errors.InvalidRequest(
        "This is a live stream.", suggestion="Open it as a WebSocket (ws:// or wss://)."
    )


class _Upgrade:
    """Admits a WebSocket, or refuses it with the HTTP answer of a plain request."""

    def __init__(self, stream: type[Stream], surroundings: Surroundings) -> None:
        self._stream = stream
        self._surroundings = surroundings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = telemetry.client_request_id(scope["headers"])
        telemetry.request_id.set(request_id)
        websocket = WebSocket(scope, receive, send)
        policy = self._surroundings.policy
        try:
            admission = await policy.admit(websocket, STREAM_SCOPE)
        except errors.AffectMeshError as error:
            log.info("stream refused", route=self._stream.route, status=error.http_status)
            await websocket.send_denial_response(refusal(Wia(), error, request_id))
            return
        headers = {**admission.headers, "x-request-id": request_id}
        await websocket.accept(headers=[(k.encode(), v.encode()) for k, v in headers.items()])
        client = Client(websocket, self._surroundings.limits.text_bytes)
        standing = Standing(policy, websocket, admission)
        stream = self._stream(client, standing, self._surroundings, request_id)
        span = tracing.begin(f"WebSocket {self._stream.route}", scope["headers"], request_id)
        with metrics.STREAMS_OPEN.labels(self._stream.route).track_inprogress():
            await stream.run()
        tracing.finish(span, "OK")
