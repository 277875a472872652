"""Refusals that come before the body was read, seen also by clients that are still sending it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LONGEST_S, QUIET_S = 10.0, 2.0
"""How long is read on in all, and without a byte coming."""


class Lingering:
    """Sends an early refusal at once, and reads on for a while before the exchange ends.

    Where the connection is to be closed, bytes of the body that nobody has read make the system
    reset it, and what the client has not read by then is lost (RFC 9112, 9.6). What is read here
    is thrown away as it comes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _has_body(scope):
            await _Exchange(scope, receive, send).serve(self._app)
        else:
            await self._app(scope, receive, send)


class _Exchange:
    """One request with a body."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._coming = (b"expect", b"100-continue") not in scope["headers"]
        """Whether more of the body may be on its way; who expects 100 waits until it is read."""
        self._held = False

    async def serve(self, app: ASGIApp) -> None:
        await app(self._scope, self._read, self._write)
        if self._held:
            with suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_S):
                    while self._coming:
                        async with asyncio.timeout(QUIET_S):
                            await self._read()
            await self._send({"type": "http.response.body"})

    async def _read(self) -> Message:
        message = await self._receive()
        self._coming = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def _write(self, message: Message) -> None:
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        self._held = last and self._coming
        await self._send({**message, "more_body": True} if self._held else message)


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )
