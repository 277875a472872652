"""The client's end of a stream."""

from __future__ import annotations

import time
from typing import Any

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from services.common import errors
from services.gateway.streaming.closing import Gone
from services.gateway.streaming.following import Audience

_LONGEST_REASON_BYTES = 120


class Client:
    """Sends and receives the messages of one accepted WebSocket."""

    def __init__(self, websocket: WebSocket, text_bytes: int) -> None:
        self._websocket = websocket
        self._text_bytes = text_bytes
        self.audience = Audience()
        """Who else gets what the client gets."""
        self.heard = time.monotonic()
        """When the last message came."""

    async def receive(self) -> bytes | str:
        """The next message. Raises Gone."""
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise Gone(message.get("code") or 1005)
        self.heard = time.monotonic()
        data: bytes | None = message.get("bytes")
        return data if data is not None else str(message["text"])

    def read(self, text: str) -> tuple[str, dict[str, Any]]:
        """The type of a JSON message, and its other fields. Raises InvalidRequest."""
        if len(text) > self._text_bytes:
            raise errors.InvalidRequest(
                "The message is too long.",
                suggestion=f"Send at most {self._text_bytes} bytes in one text message.",
            )
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise errors.InvalidRequest(
                f"The message is not valid JSON: {error}.",
                suggestion="Send JSON as text, and media as binary messages.",
            ) from None
        kind = message.pop("type", None) if type(message) is dict else None
        if type(kind) is not str:
            raise errors.InvalidRequest(
                "The message is not an object with a type.",
                field="type",
                suggestion='Send objects such as {"type": "ping"}.',
            )
        return kind, message

    async def send(self, kind: str, **fields: Any) -> None:
        """Sends a JSON message. Raises Gone."""
        text = orjson.dumps({"type": kind, **fields})
        self.audience.tell(kind, text)
        try:
            await self._websocket.send({"type": "websocket.send", "text": text.decode()})
        except WebSocketDisconnect as error:
            raise Gone(error.code) from None
        except RuntimeError:
            if self._websocket.application_state is WebSocketState.CONNECTED:
                raise
            raise Gone(1006) from None

    async def error(
        self, code: str, message: str, recoverable: bool, number: int | None = None, **more: Any
    ) -> None:
        """Sends an error of the streaming protocol. Raises Gone."""
        await self.send(
            "error",
            code=code,
            message=message,
            frame_number=number,
            recoverable=recoverable,
            **more,
        )

    async def close(self, code: int, reason: str) -> None:
        """Closes the socket. Raises Gone."""
        reason = reason.encode()[:_LONGEST_REASON_BYTES].decode(errors="ignore")
        try:
            await self._websocket.close(code, reason)
        except (WebSocketDisconnect, RuntimeError):
            raise Gone(code) from None
