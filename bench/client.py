"""The load: keep-alive connections that each send a request as soon as the last is answered.

A process of its own, so that its CPU is nobody else's. It reads one Load as JSON from stdin,
prints `begin` when it is warm, waits for a line, and writes one Outcome as JSON to the file it was
named when the last answer is in.
"""

import asyncio
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import httptools
import orjson
import uvloop

WARM_UP_REQUESTS = 4


@dataclass(frozen=True)
class Load:
    """What to send, with how many clients, for how long."""

    host: str
    port: int
    path: str
    key: str
    body: str
    clients: int
    seconds: float
    status: int


@dataclass
class Outcome:
    """What came back. `latencies_ms` of requests answered as expected, and when each answer came
    (`answered_s`, of the clock that all processes of a machine share), `failed` by other status."""

    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    answered_s: list[float] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)
    first_failure: str = ""


class _Connection(asyncio.Protocol):
    """One client: a request at a time over one connection."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._body = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed by the gateway"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._answer:
            self._answer.set_result((self._parser.get_status_code(), self._body))

    async def ask(self) -> tuple[int, bytes]:
        """Status and body of one answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self.transport.write(self._request)
        return await self._answer


async def drive(load: Load) -> Outcome:
    """Warms the mesh up, then drives it."""
    request = _request(load)
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(lambda: _Connection(request), load.host, load.port))[1]
        for _ in range(load.clients)
    ]
    for _ in range(WARM_UP_REQUESTS // min(WARM_UP_REQUESTS, load.clients)):
        await asyncio.gather(*(connection.ask() for connection in connections[:WARM_UP_REQUESTS]))
    print("begin", flush=True)
    sys.stdin.readline()
    outcome = Outcome()
    began = time.monotonic()
    await asyncio.gather(
        *(
            _repeat(connection, began + load.seconds, load.status, outcome)
            for connection in connections
        )
    )
    outcome.seconds = time.monotonic() - began
    for connection in connections:
        connection.transport.close()
    return outcome


async def _repeat(connection: _Connection, until: float, expected: int, outcome: Outcome) -> None:
    while (started := time.monotonic()) < until:
        status, body = await connection.ask()
        if status == expected:
            answered = time.monotonic()
            outcome.latencies_ms.append(1000 * (answered - started))
            outcome.answered_s.append(answered)
        else:
            outcome.failed[str(status)] = outcome.failed.get(str(status), 0) + 1
            outcome.first_failure = outcome.first_failure or body.decode(errors="replace")


def _request(load: Load) -> bytes:
    body = load.body.encode()
    head = (
        f"POST {load.path} HTTP/1.1\r\nHost: {load.host}:{load.port}\r\n"
        f"X-WIA-API-Key: {load.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


if __name__ == "__main__":
    found = uvloop.run(drive(Load(**orjson.loads(sys.stdin.readline()))))
    Path(sys.argv[1]).write_bytes(orjson.dumps(asdict(found)))
