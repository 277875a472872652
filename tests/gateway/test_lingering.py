"""Refusals that come before the body was read."""

import asyncio
import http.client
from collections.abc import AsyncIterator, Iterator

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway import lingering
from services.gateway.lingering import Lingering
from tests.gateway.web import web

MIB = 1024 * 1024
BODY = bytes(32 * MIB)


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads nothing."""
    await PlainTextResponse("too large", 413)(scope, receive, send)


async def refuse_late(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads some."""
    await receive()
    await refuse(scope, receive, send)


def pieces() -> Iterator[bytes]:
    for start in range(0, len(BODY), MIB):
        yield BODY[start : start + MIB]


def post(address: str, *, version: int = 11, chunked: bool = False) -> tuple[int, bytes]:
    """Sends the whole body before it reads the answer, and has the connection closed."""
    client = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    client._http_vsn = version  # type: ignore[attr-defined]
    client._http_vsn_str = f"HTTP/{version // 10}.{version % 10}"  # type: ignore[attr-defined]
    body = pieces() if chunked else BODY
    try:
        client.request("POST", "/", body, {"Connection": "close"}, encode_chunked=chunked)
        answer = client.getresponse()
        return answer.status, answer.read()
    finally:
        client.close()


@pytest.mark.parametrize("app", [refuse, refuse_late])
@pytest.mark.parametrize(("version", "chunked"), [(11, False), (11, True), (10, False)])
async def test_a_refusal_is_seen_after_the_whole_body_was_sent(
    app: ASGIApp, version: int, chunked: bool
) -> None:
    async with web(Lingering(app)) as address:
        answer = await asyncio.to_thread(post, address, version=version, chunked=chunked)
    assert answer == (413, b"too large")


@pytest.fixture
async def connection() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with web(Lingering(refuse)) as address:
        host, port = address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        yield reader, writer
        writer.close()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000000\r\n"


async def test_the_answer_does_not_wait_for_the_body(
    connection: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lingering, "QUIET_S", 3600)
    monkeypatch.setattr(lingering, "LONGEST_S", 3600)
    reader, writer = connection
    writer.write(HEAD + b"\r\n")
    async with asyncio.timeout(60):
        assert (await reader.readuntil(b"too large")).startswith(b"HTTP/1.1 413")


async def test_who_asks_first_is_not_told_to_send(connection: Streams) -> None:
    reader, writer = connection
    writer.write(HEAD + b"Expect: 100-continue\r\n\r\n")
    async with asyncio.timeout(60):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("name", ["QUIET_S", "LONGEST_S"])
async def test_the_wait_for_the_rest_has_an_end(
    connection: Streams, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(lingering, name, 0.05)
    reader, writer = connection
    writer.write(HEAD + b"\r\nsome")
    async with asyncio.timeout(60):
        assert (await reader.read()).endswith(b"too large")
