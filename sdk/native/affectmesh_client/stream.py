"""A live stream over WebSocket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from affectmesh_client import errors

Message = dict[str, Any]


class Stream:
    """Binary input in, messages out; docs/streaming.md names both.

    Entering opens it and sends the configuration; raises Refused where it is not admitted. Leaving
    closes the connection at once; `close` lets what is pending be answered first.
    """

    def __init__(self, url: str, headers: Mapping[str, str], config: Message) -> None:
        self._url = url
        self._headers = headers
        self._config = config
        self._connection: ClientConnection | None = None

    async def __aenter__(self) -> Stream:
        try:
            self._connection = await connect(self._url, additional_headers=self._headers)
        except InvalidStatus as refused:
            response = refused.response
            request_id = response.headers.get("x-request-id", "")
            body = _json(response.body)
            raise errors.of_answer(response.status_code, body, request_id) from None
        await self.tell(self._config)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._open.close()

    async def send(self, data: bytes) -> None:
        """Sends audio, a frame, or samples."""
        await self._open.send(data)

    async def tell(self, message: Message) -> None:
        """Sends a message such as {"type": "pause"}."""
        await self._open.send(json.dumps(message))

    async def close(self) -> None:
        """Asks for what is pending and the summary; the messages end after it."""
        await self.tell({"type": "close"})

    async def __aiter__(self) -> AsyncIterator[Message]:
        async for message in self._open:
            found: Message = json.loads(message)
            if found.get("type") == "ping":
                await self.tell({"type": "pong"})
            else:
                yield found

    @property
    def _open(self) -> ClientConnection:
        if self._connection is None:
            raise RuntimeError("The stream is not open: use it in an `async with` statement.")
        return self._connection


def _json(body: bytes | bytearray | None) -> Any:
    try:
        return json.loads(body or b"")
    except ValueError:
        return None
