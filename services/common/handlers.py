"""What interceptors put around a method of a service, whatever it streams."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import grpc

Details = grpc.HandlerCallDetails
Continuation = Callable[[Details], Awaitable[Any]]
"""Gives the handler of a call, None where there is no such method."""

Answering = Callable[[Any, Any], Awaitable[Any]]
"""A method with one answer, of a request or an iterator of them, and the context."""

Streaming = Callable[[Any, Any], AsyncGenerator[Any, None]]
"""A method that streams its answers, likewise."""


def wrapped(
    handler: Any, answering: Callable[[Answering], Any], streaming: Callable[[Streaming], Any]
) -> Any:
    """The handler with its method in what one of the two makes of it."""
    kind = "_".join(
        "stream" if streams else "unary"
        for streams in (handler.request_streaming, handler.response_streaming)
    )
    wrap = streaming if handler.response_streaming else answering
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    method = wrap(getattr(handler, kind))
    return make(method, handler.request_deserializer, handler.response_serializer)
