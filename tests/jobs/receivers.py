"""Receivers of webhooks: real HTTP servers that behave well and badly."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers each request as `answers` say, the last of which holds for all that follow.

    An answer is the bytes to be sent; None never answers. The first line of a status may be
    written as a number.
    """

    answers: list[int | bytes | None] = field(default_factory=lambda: [200])
    requests: list[Received] = field(default_factory=list)
    open_at_once: int = 0
    most_at_once: int = 0
    address: str = ""
    pause_s: float = 0.0
    """Before each byte of an answer of bytes."""
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        self.writers.add(writer)
        self.open_at_once += 1
        self.most_at_once = max(self.most_at_once, self.open_at_once)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open_at_once -= 1
            self.writers.discard(writer)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.requests.append(Received(head[0].split(" ")[1], headers, body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            await reader.read()
            return
        if isinstance(answer, int):
            answer = f"HTTP/1.1 {answer} X\r\nContent-Length: 0\r\n\r\n".encode()
        if not self.pause_s:
            writer.write(answer)
            await writer.drain()
            return
        for byte in answer:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(self.pause_s)


@contextlib.asynccontextmanager
async def receiving(*answers: int | bytes | None, pause_s: float = 0.0) -> AsyncIterator[Receiver]:
    """A receiver on a port of its own."""
    receiver = Receiver(list(answers) or [200], pause_s=pause_s)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    receiver.address = f"http://{host}:{port}"
    try:
        yield receiver
    finally:
        server.close()
        receiver.answers = [503]
        for writer in list(receiver.writers):
            writer.close()
