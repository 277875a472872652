"""Servers that a test scripts."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.Response]]


class Scripted:
    """A server on loopback that answers every request by a handler, and counts them."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._heard = asyncio.Condition()
        self.count = 0
        self.url = ""

    async def __aenter__(self) -> "Scripted":
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._runner.cleanup()

    async def heard(self, count: int) -> None:
        """Returns once so many requests were answered."""
        async with asyncio.timeout(60), self._heard:
            await self._heard.wait_for(lambda: self.count >= count)

    async def _answer(self, request: web.Request) -> web.Response:
        answer = await self._handler(request)
        async with self._heard:
            self.count += 1
            self._heard.notify_all()
        return answer
