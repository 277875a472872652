"""One REST endpoint: admit, read, translate, call, translate back, meter."""

import asyncio
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Mapping,
)
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import orjson
import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from services.common import errors, metrics, telemetry, tracing

log = structlog.get_logger()

JSON = "application/json"

T = TypeVar("T")


class Dialect(Protocol):
    """How one public API words its answers."""

    challenge: ClassVar[str] = 'Bearer realm="affectmesh"'
    """WWW-Authenticate of a 401."""

    def error(self, error: errors.AffectMeshError, request_id: str) -> Mapping[str, Any]:
        """The body of an error."""
        ...

    def status(self, error: errors.AffectMeshError) -> int:
        """The HTTP status of an error, where the API documents another than ours."""
        return error.http_status


@dataclass(frozen=True)
class Answer:
    """What a handler gives back."""

    content: Mapping[str, Any] | bytes | AsyncIterator[bytes]
    """An object to be written as JSON, or the body itself, at once or in pieces."""
    status: int = 200
    headers: Mapping[str, str] | None = None
    media_type: str = JSON


Handler = Callable[["Exchange"], Awaitable[Answer]]

STOPPING = "affectmesh.stopping"
"""Where the scope of a request has an event that is set when the server stops."""


@dataclass
class Exchange:
    """One request on its way through the gateway."""

    scope: Scope
    receive: Receive
    request_id: str
    headers: dict[str, str]
    """Headers of the answer; the admission adds the limit's."""

    @property
    def connection(self) -> HTTPConnection:
        """The request without its body."""
        return HTTPConnection(self.scope)

    @property
    def stopping(self) -> asyncio.Event:
        """Set when the server stops: who waits for something then answers with what there is."""
        event: asyncio.Event = self.scope.get(STOPPING) or asyncio.Event()
        return event

    async def json(self, limit_bytes: int) -> Any:
        """The decoded body.

        Raises UnsupportedMedia for another content type, PayloadTooLarge, InvalidRequest.
        """
        content_type = Headers(scope=self.scope).get("content-type", JSON)
        if content_type.partition(";")[0].strip().lower() != JSON:
            raise errors.UnsupportedMedia(
                f"The body is {content_type}, not JSON.",
                suggestion=f"Send JSON with Content-Type: {JSON}.",
            )
        body = await self.body(limit_bytes)
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise errors.InvalidRequest(
                "The body is not valid JSON.",
                reason=str(error),
                suggestion="Send one JSON object in UTF-8.",
            ) from None

    async def body(self, limit_bytes: int) -> bytes:
        """The whole body. Raises as `chunks` does."""
        return b"".join([chunk async for chunk in self.chunks(limit_bytes)])

    async def chunks(
        self,
        limit_bytes: int,
        idle_s: float | None = None,
        over: errors.PayloadTooLarge | None = None,
    ) -> AsyncIterator[bytes]:
        """The body as it comes.

        Raises `over` (by default a PayloadTooLarge that names the limit) when it is too large,
        InvalidRequest when it breaks off, and DeadlineExceeded when nothing comes for idle_s.
        """
        over = over or _over(limit_bytes)
        length = Headers(scope=self.scope).get("content-length", "0")
        if length.isdecimal() and int(length) > limit_bytes:
            raise over
        size = 0
        while True:
            message = await self._next(idle_s)
            if message["type"] == "http.disconnect":
                raise errors.InvalidRequest("The request broke off.", suggestion="Send it whole.")
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > limit_bytes:
                raise over
            if chunk:
                yield chunk
            if not message.get("more_body"):
                return

    async def unless_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of work that may take long, which is cancelled when the client goes away.

        The body must have been read. Raises InvalidRequest where the client is gone.
        """
        task = asyncio.create_task(work)
        gone = asyncio.create_task(self._gone())
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise errors.InvalidRequest(
                    "The client went away.", suggestion="Stay until the answer comes."
                )
            return task.result()
        finally:
            task.cancel()
            gone.cancel()
            await asyncio.wait((task, gone))

    async def _gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def _next(self, idle_s: float | None) -> Message:
        try:
            async with asyncio.timeout(idle_s):
                return await self.receive()
        except TimeoutError:
            raise errors.DeadlineExceeded(
                "The rest of the body did not come.", suggestion="Send it faster."
            ) from None


def _over(limit_bytes: int) -> errors.PayloadTooLarge:
    limit = f"{limit_bytes // 1024 // 1024} MiB"
    return errors.PayloadTooLarge(
        f"The body is larger than {limit}.",
        limit=limit,
        suggestion="Send a smaller file, or a URL of it.",
    )


class Endpoint:
    """An ASGI application for one route of one dialect."""

    def __init__(self, route: str, dialect: Dialect, handler: Handler) -> None:
        self._route = route
        self._dialect = dialect
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        exchange = Exchange(scope, receive, telemetry.client_request_id(scope["headers"]), {})
        telemetry.request_id.set(exchange.request_id)
        exchange.headers["x-request-id"] = exchange.request_id
        span = tracing.begin(
            f"{scope['method']} {self._route}", scope["headers"], exchange.request_id
        )
        try:
            answer = await self._handler(exchange)
            response = _respond(answer)
        except errors.AffectMeshError as error:
            response = refusal(self._dialect, error, exchange.request_id)
        except Exception:
            log.exception("request failed", route=self._route)
            response = refusal(self._dialect, errors.Internal(), exchange.request_id)
        response.headers.update(exchange.headers)
        await response(scope, receive, send)
        seconds = time.perf_counter() - started
        metrics.HTTP_SECONDS.labels(self._route, response.status_code).observe(seconds)
        tracing.finish(span, str(response.status_code), response.status_code >= 500)
        log.info(
            "request", route=self._route, status=response.status_code, ms=round(seconds * 1000, 1)
        )


def _respond(answer: Answer) -> Response:
    content = answer.content
    if isinstance(content, AsyncIterator):
        return _Streaming(content, answer.status, answer.headers, answer.media_type)
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return Response(body, answer.status, answer.headers, media_type=answer.media_type)


class _Streaming(StreamingResponse):
    """A body in pieces. Whoever makes them is told when nobody reads on."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except ClientDisconnect:
            log.info("answer not read to its end")
        finally:
            if isinstance(self.body_iterator, AsyncGenerator):
                await self.body_iterator.aclose()


def refusal(
    dialect: Dialect,
    error: errors.AffectMeshError,
    request_id: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer to a request that is refused."""
    status = dialect.status(error)
    response = Response(
        orjson.dumps(dialect.error(error, request_id)),
        status,
        {"x-request-id": request_id, **(headers or {})},
        media_type=JSON,
    )
    if retry_after := error.details.get("retry_after"):
        response.headers["retry-after"] = retry_after
    for name in ("limit", "remaining", "reset"):
        if isinstance(error, errors.RateLimited) and name in error.details:
            response.headers[f"x-ratelimit-{name}"] = error.details[name]
    if status == 401:
        response.headers["www-authenticate"] = dialect.challenge
    return response
