"""An ASGI application behind a real HTTP server in the test's process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp

from tests.jobs.media_service import until


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def web(app: ASGIApp) -> AsyncIterator[str]:
    """Serves the application; gives its address, such as http://127.0.0.1:40000."""
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", ws="none")
    server = _Server(config)
    serving = asyncio.create_task(server.serve())
    await until(lambda: _is_started(server))
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        await serving


async def raw(address: str, request: bytes, *, end: bool = True) -> tuple[int, bytes]:
    """Sends bytes as they are; gives status and body of the answer."""
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        await writer.drain()
        if end:
            writer.write_eof()
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        )
        return int(head.split(b" ")[1]), await reader.readexactly(length)
    finally:
        writer.close()


async def _is_started(server: uvicorn.Server) -> bool:
    return server.started
