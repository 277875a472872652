"""A server that is told things, and shows what it was told."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True)
class Told:
    """One request."""

    headers: Mapping[str, str]
    body: bytes


class Receiver:
    """What came, by path."""

    def __init__(self) -> None:
        self.address = ""
        self._told: defaultdict[str, asyncio.Queue[Told]] = defaultdict(asyncio.Queue)

    async def next(self, path: str) -> Told:
        """The next request to a path; waits for it, five minutes at most."""
        return await asyncio.wait_for(self._told[path].get(), 300)

    async def receive(self, request: web.Request) -> web.Response:
        """Takes a request."""
        told = Told({k.lower(): v for k, v in request.headers.items()}, await request.read())
        self._told[request.path].put_nowait(told)
        return web.Response()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{name:.*}", receiver.receive)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    receiver.address = f"http://{host}:{port}"
    yield receiver
    await runner.cleanup()
