"""GET /v1/stream/{stream_id}/events: a running stream as server-sent events."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import orjson

from services.common import errors
from services.gateway.access import Access
from services.gateway.endpoint import Answer, Exchange
from services.gateway.scopes import STREAM_SCOPE
from services.gateway.streaming.closing import said
from services.gateway.streaming.following import Audience
from services.gateway.streaming.standing import Standing
from services.gateway.streaming.stream import Surroundings

ROUTE = "/v1/stream/{stream_id}/events"
MEDIA_TYPE = "text/event-stream"
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
_ALIVE = b": alive\n\n"


class Events:
    """Answers with what the client of a stream is told, as it is told."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    async def __call__(self, exchange: Exchange) -> Answer:
        """A body that lasts as long as the stream.

        Raises what the admission raises, NotFound where no such stream of the caller's
        organisation runs, RateLimited where too many follow it.
        """
        connection = exchange.connection
        policy = self._surroundings.policy
        admission = await Access(policy).admit(exchange, STREAM_SCOPE)
        stream_id = connection.path_params["stream_id"]
        audience = self._surroundings.running.find(admission.principal.org_id, stream_id)
        audience.refuse_crowd()
        standing = Standing(policy, connection, admission)
        return Answer(self._body(audience, standing), 200, _HEADERS, MEDIA_TYPE)

    async def _body(self, audience: Audience, standing: Standing) -> AsyncIterator[bytes]:
        limits = self._surroundings.limits
        number = 0
        looked_s = spoke_s = time.monotonic()
        yield _ALIVE
        with audience.joined() as follower:
            async for message in follower.messages(limits.tick_s):
                now_s = time.monotonic()
                if now_s - looked_s >= limits.tick_s:
                    looked_s = now_s
                    if (refused := await _refused(standing)) is not None:
                        yield _event("error", refused)
                        return
                if follower.dropped:
                    dropped, follower.dropped = follower.dropped, 0
                    yield _event("error", _slow(dropped))
                if message is not None:
                    number += 1
                    spoke_s = now_s
                    yield _event(*message, number)
                elif now_s - spoke_s >= limits.alive_s:
                    spoke_s = now_s
                    yield _ALIVE
        yield _event("end", orjson.dumps({"type": "end"}))


def _event(kind: str, text: bytes, number: int | None = None) -> bytes:
    """HTML, server-sent events, 9.2.6; JSON as orjson writes it has no line breaks."""
    id_line = b"" if number is None else b"id: %d\n" % number
    return b"event: " + kind.encode() + b"\n" + id_line + b"data: " + text + b"\n\n"


async def _refused(standing: Standing) -> bytes | None:
    """The last message to whoever may follow no more."""
    try:
        await standing.check()
    except errors.Unauthorized as error:
        return _error("AUTH_EXPIRED", said(error), False)
    except errors.Forbidden as error:
        return _error(error.code, said(error), False)
    return None


def _slow(dropped: int) -> bytes:
    message = f"{dropped} messages were dropped since they were not read. Read faster."
    return _error("RATE_EXCEEDED", message, True, dropped_count=dropped)


def _error(code: str, message: str, recoverable: bool, **more: int) -> bytes:
    told = {"type": "error", "code": code, "message": message, "frame_number": None}
    return orjson.dumps({**told, "recoverable": recoverable, **more})
