"""Real gRPC servers in the test's own process, with the interceptor every service has."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc

from services.common.channels import OPTIONS
from services.common.server import RequestInterceptor


@asynccontextmanager
async def serving(
    add: Callable[[grpc.aio.Server], Awaitable[object]], *interceptors: grpc.aio.ServerInterceptor
) -> AsyncIterator[str]:
    """Serves what `add` adds to the server, with further interceptors; gives its address."""
    server = grpc.aio.server(interceptors=[RequestInterceptor(), *interceptors], options=OPTIONS)
    await add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
